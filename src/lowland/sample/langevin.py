"""Unadjusted Langevin dynamics: downhill, with as much noise as the temperature says."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._random import normal_like


class LangevinState(NamedTuple):
    """Where the chains are.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        rejected: refused proposals so far, `(chains,)` int64.
        nonfinite: those refused for a value that was not finite, `(chains,)` int64.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    rejected: Tensor
    nonfinite: Tensor


@dataclass(frozen=True)
class Langevin:
    r"""Unadjusted Langevin dynamics.

    $$y \leftarrow y - \eta \nabla F(y) + \sqrt{2 \eta / \beta} \, \epsilon$$

    Its stationary law is exp(-beta F) up to an error of the order of η, for no proposal is refused;
    except that a chain does not move to where the energy or its slope is not finite. Such
    proposals are counted for each chain.

    Args:
        step_size: η, positive, in the energy's own (scaled) units.

    Raises:
        DomainError: the step size is not positive.

    Reference:
        Exponential Convergence of Langevin Distributions and Their Discrete Approximations (Roberts
        and Tweedie, 1996), https://doi.org/10.2307/3318418

    Example:
        >>> Langevin(step_size=0.01)
        Langevin(step_size=0.01)
    """

    step_size: float = 0.01

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise DomainError(
                f"The 'step_size' of Langevin must be positive. Got {self.step_size!r}."
            )

    def init(self, potential: Callable[[Tensor], Tensor], y: Tensor) -> LangevinState:
        """The state at the start points `(chains, *event)`."""
        energy, gradient = _slope(potential, y)
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        return LangevinState(y.detach(), energy, gradient, none, none)

    def step(
        self,
        potential: Callable[[Tensor], Tensor],
        state: LangevinState,
        beta: float,
        generator: torch.Generator | None,
    ) -> LangevinState:
        """One step of every chain; one gradient."""
        noise = normal_like(state.y, generator) * math.sqrt(2 * self.step_size / beta)
        proposal = state.y - self.step_size * state.gradient + noise
        energy, gradient = _slope(potential, proposal)
        finite = torch.isfinite(energy) & torch.isfinite(gradient.flatten(1).sum(1))
        if bool(finite.all()):
            return LangevinState(proposal, energy, gradient, state.rejected, state.nonfinite)
        keep = finite.reshape(-1, *[1] * (proposal.dim() - 1))
        refused = (~finite).to(torch.int64)
        return LangevinState(
            torch.where(keep, proposal, state.y),
            torch.where(finite, energy, state.energy),
            torch.where(keep, gradient, state.gradient),
            state.rejected + refused,
            state.nonfinite + refused,
        )


def _slope(potential: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        energy = potential(y)
        if not energy.requires_grad:  # a plain: no slope, so that noise alone moves the chain
            return energy, torch.zeros_like(y)
        (gradient,) = torch.autograd.grad(energy.sum(), y, allow_unused=True)
    return energy.detach(), torch.zeros_like(y) if gradient is None else gradient
