"""Block Gibbs sampling: hidden units given y, then y given them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland.capabilities import Conditionals, refuse
from lowland.sample._metropolis import choose, counted, judge
from lowland.sample.target import Target


class GibbsState(NamedTuple):
    """Where the chains are.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        drive: what y says to the hidden units, `(chains, m)`.
        rejected: refused proposals so far, `(chains,)` int64; none at beta = 1.
        nonfinite: those refused for a value that was not finite, `(chains,)` int64.
    """

    y: Tensor
    energy: Tensor
    drive: Tensor
    rejected: Tensor
    nonfinite: Tensor


@dataclass(frozen=True)
class Gibbs:
    r"""Block Gibbs sampling, for an energy that `SamplesConditionals`.

    $$h \sim e^{-\beta E(y, h)}, \qquad y \sim e^{-\beta E(y, h)}$$

    It is exact. Observed elements of y stay. At another beta than 1 a sweep aims at the joint
    energy at that temperature, U, which is not the temperature of F; an accept test makes up for
    the difference:

    $$y \leftarrow y' \text{ with probability }
      \min\left(1, e^{-\beta F(y') + U(y') + \beta F(y) - U(y)}\right)$$

    Reference:
        Stochastic Relaxation, Gibbs Distributions, and the Bayesian Restoration of Images (Geman
        and Geman, 1984), https://doi.org/10.1109/TPAMI.1984.4767596

    Example:
        >>> from lowland.sample import run
        >>> g = torch.Generator().manual_seed(0)
        >>> energy = ll.energies.RestrictedBoltzmann(
        ...     5 * torch.eye(2), torch.zeros(2), -torch.ones(2)
        ... )
        >>> draws = run(Gibbs(), energy, torch.zeros(500, 2), steps=20, generator=g)
        >>> chance = (energy.encode(torch.eye(2)[:1]) > 0.5).tolist()
        >>> draws.last.mean() > 0.9
        tensor(True)
    """

    def init(self, target: Target, y: Tensor, like: Any = None) -> GibbsState:
        """The state at the start points `(chains, *event)`."""
        view = self._view(target, 1.0)
        drive = view.drive(y)
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        return GibbsState(y, view.potential(y, drive), drive, none, none)

    def step(
        self,
        target: Target,
        state: GibbsState,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> GibbsState:
        """One sweep of every chain: all hidden units, then all of y that is not observed."""
        view = self._view(target, beta)
        y = self._sweep(target, view, state.y, state.drive, generator)
        drive = view.drive(y)
        if beta == 1:
            return state._replace(y=y, energy=view.potential(y, drive), drive=drive)
        energy = self._view(target, 1.0).potential(y, drive)
        behind = view.potential(state.y, state.drive) - beta * state.energy
        taken, finite = judge(view.potential(y, drive) - beta * energy - behind, generator)
        old = (state.y, state.energy, state.drive)
        y, energy, drive = choose(taken, (y, energy, drive), old)
        rejected, nonfinite = counted(state, taken, finite)
        return GibbsState(y, energy, drive, rejected, nonfinite)

    def sweeps(
        self, target: Target, y: Tensor, steps: int, generator: torch.Generator | None
    ) -> Tensor:
        """Where so many steps at beta = 1 lead from `(chains, *event)`: to the same points.

        Nothing is refused there, so that no energy has to be looked at on the way.
        """
        view = self._view(target, 1.0)
        for _ in range(steps):
            y = self._sweep(target, view, y, view.drive(y), generator)
        return y

    def _sweep(
        self,
        target: Target,
        view: Conditionals,
        y: Tensor,
        drive: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        moved = view.sample_visible(view.sample_hidden(drive, generator), generator)
        if not target.constraint:
            return moved
        moving = target.constraint.release(torch.ones_like(moved))
        return torch.where(moving > 0, moved, y)

    def _view(self, target: Target, beta: float) -> Conditionals:
        found = target.conditionals(beta)
        if found is None:
            raise refuse(
                target.potential,
                "Gibbs",
                "an energy that SamplesConditionals, such as RestrictedBoltzmann, given as it is",
                "For other discrete energies use GibbsWithGradients or SingleSite.",
            )
        if target.constraint.bounded:
            raise CapabilityError(
                "Gibbs draws y from its conditional, which knows no bounds. Leave 'bounds' out, or "
                "use another sampler."
            )
        return found
