"""Mixtures of energies, blended by the free energy."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError
from lowland.energy import Energy, common_latent
from lowland.latent import NoLatent, OneHot


class Mixture(Energy):
    r"""A mixture of energies: z says which component speaks, and F_beta blends them.

    $$E(x, y, z) = E_z(x, y) - \log w_z, \qquad
      e^{-F_1(x, y)} = \sum_z w_z e^{-E_z(x, y)} \quad (\text{measure "sum"})$$

    Args:
        components: energies without a latent variable, of one event and domain.
        weights: positive, `(k,)`; equal if None. They need not sum to 1: it is for the components
            to be normalised if the mixture is to be.

    Raises:
        DomainError: the weights are not positive, or not one for each component.
        CapabilityError: a component has a latent variable.
    """

    log_weights: Tensor

    def __init__(
        self, components: Sequence[Energy] | nn.ModuleList, weights: Tensor | None = None
    ) -> None:
        latent = common_latent(list(components), "Mixture")
        if not isinstance(latent, NoLatent):
            raise CapabilityError(
                f"The components of a Mixture must have no latent variable of their own. Got "
                f"{latent}. Eliminate it first: lowland.FreeEnergy(component, beta=...)."
            )
        first: Energy = components[0]  # type: ignore[assignment]
        k = len(components)
        super().__init__(first.event, OneHot(k), first.domain)
        self.components = nn.ModuleList(components)
        if weights is None:
            weights = torch.full((k,), 1 / k, dtype=first.dtype or torch.get_default_dtype())
        weights = weights.to(first.dtype or weights.dtype)
        if tuple(weights.shape) != (k,) or not bool((weights > 0).all()):
            raise DomainError(
                f"The 'weights' of Mixture must be {k} positive numbers. Got {weights.tolist()}."
            )
        self.register_buffer("weights", weights)

    def tabulate(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The energy under each component, `(*batch, k)`."""
        table = torch.stack([component(y, x=x) for component in self.components], dim=-1)
        return table - torch.log(self.get_buffer("weights")).to(table)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The energy under component z, `(*batch,)`."""
        z = self.given(z)
        return self.tabulate(y, x=x).gather(-1, z.unsqueeze(-1)).squeeze(-1)
