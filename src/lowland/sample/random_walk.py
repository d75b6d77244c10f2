"""Random-walk Metropolis: a step in any direction, and an accept test. No slopes needed."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.sample._metropolis import choose, counted, judge, probability
from lowland.sample.target import Target


class RandomWalkState(NamedTuple):
    """Where the chains are, and how far they step.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        rejected: refused proposals so far, `(chains,)` int64.
        nonfinite: those refused for a value that was not finite, `(chains,)` int64.
        log_step: the logarithm of the step, `(1,)`.
        learned: how many steps it has learned from, a scalar.
    """

    y: Tensor
    energy: Tensor
    rejected: Tensor
    nonfinite: Tensor
    log_step: Tensor
    learned: Tensor

    @property
    def step_size(self) -> Tensor:
        """The standard deviation of a step in each direction, `(1,)`."""
        return self.log_step.exp()


@dataclass(frozen=True)
class RandomWalk:
    r"""Random-walk Metropolis: what is left when an energy has no slopes.

    $$y' = y + s \epsilon, \qquad y \leftarrow y' \text{ with probability }
      \min\left(1, e^{-\beta (F(y') - F(y))}\right)$$

    Args:
        step_size: the first s, positive; None for 2.38 / √d.
        acceptance: the share of proposals that s is tuned to in a warm-up, between 0 and 1.

    Raises:
        DomainError: an argument is out of range.

    Reference:
        Equation of State Calculations by Fast Computing Machines (Metropolis et al., 1953),
        https://doi.org/10.1063/1.1699114

    Example:
        >>> from lowland.sample import run
        >>> g = torch.Generator().manual_seed(0)
        >>> walk = RandomWalk(step_size=1.0)
        >>> draws = run(walk, lambda y: y.abs().sum(-1), torch.zeros(8, 1), steps=50, generator=g)
        >>> draws.y.shape
        torch.Size([8, 50, 1])
    """

    step_size: float | None = None
    acceptance: float = 0.3

    # How many steps the tuning takes, for who does not say.
    warmup: ClassVar[int] = 300

    def __post_init__(self) -> None:
        if self.step_size is not None and not (
            math.isfinite(self.step_size) and self.step_size > 0
        ):
            raise DomainError(
                f"The 'step_size' of RandomWalk must be positive. Got {self.step_size!r}."
            )
        if not 0 < self.acceptance < 1:
            raise DomainError(
                f"The 'acceptance' of RandomWalk must lie between 0 and 1. Got {self.acceptance!r}."
            )

    def init(
        self, target: Target, y: Tensor, like: RandomWalkState | None = None
    ) -> RandomWalkState:
        """The state at the start points `(chains, *event)`."""
        energy = target.energy(y)
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        if like is not None:
            return RandomWalkState(y, energy, none, none, like.log_step, like.learned)
        first = self.step_size or 2.38 / math.sqrt(max(1, y[0].numel()))
        log_step = y.new_full((1,), math.log(first))
        return RandomWalkState(y, energy, none, none, log_step, y.new_zeros(()))

    def step(
        self,
        target: Target,
        state: RandomWalkState,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> RandomWalkState:
        """One proposal for every chain; one energy."""
        move = target.noise(state.y, generator).mul_(state.log_step.exp())
        # Mirrors at the bounds leave the proposal symmetric.
        proposal = target.reflect(state.y + move)
        energy = target.energy(proposal)
        log_ratio = beta * (state.energy - energy)
        taken, finite = judge(log_ratio, generator)
        y, energy = choose(taken, (proposal, energy), (state.y, state.energy))
        rejected, nonfinite = counted(state, taken, finite)
        log_step, learned = state.log_step, state.learned
        if adapt:
            learned = learned + 1
            excess = probability(log_ratio, finite).mean() - self.acceptance
            log_step = log_step + learned.rsqrt().clamp(min=0.1) * excess
        return RandomWalkState(y, energy, rejected, nonfinite, log_step, learned)
