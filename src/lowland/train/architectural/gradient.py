"""Find the best code, then take a gradient step with it held fixed."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland.capabilities import RestartsUnused, SolvesParameters
from lowland.energy import Energy
from lowland.infer import check_beta, eliminate, find_codes
from lowland.latent import Normal
from lowland.train.architectural.shards import Sums
from lowland.train.architectural.sweep import accumulate
from lowland.train.strategy import GradientStrategy, Outcome


class Window(NamedTuple):
    """What the codes of the last batches add up to.

    Attributes:
        statistics: sums since unused parts were last looked for, float64.
    """

    statistics: Sums


@dataclass(frozen=True)
class GradientDescent(GradientStrategy):
    r"""Push the free energy of the data down, and nothing up.

    $$L = \frac1n \sum_i F_\beta(x_i, y_i), \qquad
      \nabla_W F_\infty = \nabla_W E(x, y, z^*) \text{ with } z^* \text{ held fixed}$$

    Only for energies whose architecture limits the volume of low energy (K-means, a narrow
    autoencoder, least squares). On a free network the energy falls everywhere: use a contrastive
    strategy there.

    Atoms of a dictionary that none of enough items has used start again where most is unexplained
    (`RestartsUnused`), and are counted in `reseeded`; at beta = inf, where there are codes to tell.

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

    def kept(self, state: Window | None) -> Sums | None:
        """The sums so far."""
        return None if state is None else state.statistics

    def restored(self, kept: Sums) -> Window:
        """The sums that were kept."""
        return Window(kept)

    def step(
        self,
        energy: Energy,
        state: Window | None,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Window | None, Outcome]:
        """One step of the optimizer, then unused parts start again where the energy offers it.

        Raises:
            DivergedError: the loss or its gradient is not finite; no parameter has been changed.
        """
        if not (
            math.isinf(self.beta)
            and isinstance(energy, RestartsUnused)
            and isinstance(energy, SolvesParameters)
        ):
            return super().step(energy, state, y, x, optimizer=optimizer, generator=generator)
        z = find_codes(energy, y, x)
        loss = energy(y, x=x, z=z).mean()
        outcome = self.descend(energy, Outcome(loss, data_energy=loss.detach()), optimizer)
        statistics = {} if state is None else dict(state.statistics)
        accumulate(statistics, energy.statistics(y, z, x=x))
        if energy.unused(statistics) is None:
            return Window(statistics), outcome
        return None, outcome._replace(reseeded=energy.restart_unused(statistics))
