"""Find the best code, then take a gradient step with it held fixed."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowland.energy import Energy
from lowland.infer import check_beta, eliminate
from lowland.latent import Normal
from lowland.train.strategy import GradientStrategy, Outcome


@dataclass(frozen=True)
class GradientDescent(GradientStrategy):
    r"""Push the free energy of the data down, and nothing up.

    $$L = \frac1n \sum_i F_\beta(x_i, y_i), \qquad
      \nabla_W F_\infty = \nabla_W E(x, y, z^*) \text{ with } z^* \text{ held fixed}$$

    Only for energies whose architecture limits the volume of low energy (K-means, a narrow
    autoencoder, least squares). On a free network the energy falls everywhere: use a contrastive
    strategy there.

    Args:
        beta: inverse temperature of the free energy; inf takes the best code alone.

    Raises:
        DomainError: beta is not in [0, inf].

    Reference:
        A Tutorial on Energy-Based Learning (LeCun et al., 2006),
        http://yann.lecun.com/exdb/publis/pdf/lecun-06.pdf
    """

    beta: float = math.inf

    kind: ClassVar[str] = "architectural"

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def unsuited(self, energy: Energy) -> str | None:
        """Why not: with the best code alone, a decoder may buy shorter codes by growing."""
        if math.isinf(self.beta) and isinstance(energy.latent, Normal):
            return (
                f"GradientDescent(beta=inf) would let the decoder of {type(energy).__name__} grow "
                f"without end, for that shortens the codes which its Normal latent charges for. "
                f"Use GradientDescent(beta=1.0), which is maximum likelihood."
            )
        return super().unsuited(energy)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """The mean free energy of the batch."""
        loss = eliminate(energy, y, x, beta=self.beta).mean()
        return Outcome(loss, data_energy=loss.detach() if math.isinf(self.beta) else None)
