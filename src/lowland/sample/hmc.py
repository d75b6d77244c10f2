"""Hamiltonian Monte Carlo: many leapfrog steps to a proposal, step, scale and length learned."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.sample._adapt import Ascent, DualAverage, Moments, halton
from lowland.sample._leapfrog import Arrival, Leapfrog
from lowland.sample._metropolis import choose, counted, dot, judge, like, probability
from lowland.sample.target import Target

# From so many chains on the best length is measured across them.
MANY = 32
# An energy error of so much is no rounding: the trajectory has left the surface.
DIVERGENT = 1000.0
# A quarter of a period in scaled units, where a trajectory has forgotten its start.
_QUARTER = math.pi / 2
_LENGTH_RATE = 0.05


class HMCState(NamedTuple):
    """Where the chains are, and what was learned of the surface.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        rejected: refused proposals so far, `(chains,)` int64.
        nonfinite: those refused for a value that was not finite, `(chains,)` int64.
        divergent: those whose energy error was beyond all bounds, `(chains,)` int64.
        momentum_energy: the kinetic energy with which each last trajectory began, `(chains,)`.
        scale: the scale of each element, like one y; the inverse mass is its square.
        moments: what the next scale is measured from.
        step: how the step learns.
        length: how the length of a trajectory learns, in time.
        made: how many proposals were made, a scalar.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    rejected: Tensor
    nonfinite: Tensor
    divergent: Tensor
    momentum_energy: Tensor
    scale: Tensor
    moments: Moments
    step: DualAverage
    length: Ascent
    made: Tensor

    @property
    def step_size(self) -> Tensor:
        """The leapfrog step that is used after the warm-up, a scalar."""
        return self.step.log_average.exp()


class _Outcome(NamedTuple):
    """One proposal of every chain, judged.

    Attributes:
        y: where the chains are after it, `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        square: the squared norm of the momentum it began with, `(chains,)`.
        end: what was proposed.
        log_ratio: the logarithm of the ratio that it was judged by, `(chains,)`.
        taken: which chains took it, `(chains,)` bool.
        finite: which had a finite ratio, `(chains,)` bool; None where all had.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    square: Tensor
    end: Arrival
    log_ratio: Tensor
    taken: Tensor
    finite: Tensor | None

    def after(self, state: HMCState) -> HMCState:
        """That state moved to there."""
        return state._replace(
            y=self.y,
            energy=self.energy,
            gradient=self.gradient,
            momentum_energy=self.square / 2,
        )


@dataclass(frozen=True)
class HMC:
    r"""Hamiltonian Monte Carlo with leapfrog steps.

    $$p \leftarrow p - \tfrac{\epsilon}{2} \beta S \nabla F(y), \quad
      y \leftarrow y + \epsilon S p, \quad
      p \leftarrow p - \tfrac{\epsilon}{2} \beta S \nabla F(y)$$

    with p standard normal at first, and the end taken with probability
    $\min(1, e^{-\Delta(\beta F + \|p\|^2 / 2)})$. All chains make the same number of leapfrog steps
    in one proposal, jittered from one to the next; a proposal of L steps costs L gradients.

    In the warm-up the step is tuned by dual averaging, the scale S to
    $(\mathrm{var}\, y / \mathrm{var}\, \beta \nabla F)^{1/4}$ pooled over the chains in windows
    that double, and, with 32 chains or more, the length so that the squared distance from the
    centre changes most in a gradient's time (ChEES). With fewer chains the length is a quarter
    period in scaled units.

    Args:
        step_size: the first ε, positive; None for one tenth of the quarter period. It is kept if
            nothing is learned.
        leapfrogs: how many leapfrog steps a proposal has; None learns it.
        acceptance: the mean probability of taking a proposal, between 0 and 1.
        most: a proposal never has more leapfrog steps.

    Raises:
        DomainError: an argument is out of range.

    Reference:
        An Adaptive-MCMC Scheme for Setting Trajectory Lengths in Hamiltonian Monte Carlo (Hoffman
        et al., 2021), https://proceedings.mlr.press/v130/hoffman21a.html

    Example:
        >>> from lowland.sample import run
        >>> g = torch.Generator().manual_seed(0)
        >>> gaussian = ll.energies.Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
        >>> draws = run(HMC(), gaussian, torch.zeros(64, 2), steps=100, warmup=200, generator=g)
        >>> bool((draws.y.flatten(0, 1).T.cov()[0, 1] - 0.9).abs() < 0.1)
        True
    """

    step_size: float | None = None
    leapfrogs: int | None = None
    acceptance: float = 0.8
    most: int = 1000

    graphless: ClassVar[bool] = True
    # How many steps the tuning takes, for who does not say.
    warmup: ClassVar[int] = 300

    def __post_init__(self) -> None:
        if self.step_size is not None and not (
            math.isfinite(self.step_size) and self.step_size > 0
        ):
            raise DomainError(f"The 'step_size' of HMC must be positive. Got {self.step_size!r}.")
        for name, count in (("leapfrogs", self.leapfrogs), ("most", self.most)):
            if count is not None and count < 1:
                raise DomainError(f"The '{name}' of HMC must be at least 1. Got {count!r}.")
        if not 0 < self.acceptance < 1:
            raise DomainError(
                f"The 'acceptance' of HMC must lie between 0 and 1. Got {self.acceptance!r}."
            )

    def init(self, target: Target, y: Tensor, like: HMCState | None = None) -> HMCState:
        """The state at the start points `(chains, *event)`."""
        energy, gradient = target.slope(y)
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        if like is None:
            zero = y.new_zeros(())
            step = DualAverage.start(zero + math.log(self.step_size or 0.1 * _QUARTER))
            length = Ascent.start(zero + math.log(_QUARTER))
            scale, moments = torch.ones_like(y[0]), Moments.start(y)
        else:
            step, length, scale, moments = like.step, like.length, like.scale, like.moments
        return HMCState(
            y=y,
            energy=energy,
            gradient=gradient,
            rejected=none,
            nonfinite=none,
            divergent=none,
            momentum_energy=torch.zeros_like(energy),
            scale=scale,
            moments=moments,
            step=step,
            length=length,
            made=none.new_zeros(()) if like is None else like.made,
        )

    def step(
        self,
        target: Target,
        state: HMCState,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> HMCState:
        """One proposal for every chain."""
        log_step = state.step.log_step if adapt else state.step.log_average
        epsilon = math.exp(float(log_step))
        count = self._leapfrogs(state, epsilon, int(state.made) + 1, adapt=adapt)
        leapfrog = Leapfrog(target, state.y, state.scale, epsilon, beta, count - 1)
        found = self._propose(target, state, leapfrog, count, beta, generator)
        rejected, nonfinite = counted(state, found.taken, found.finite)
        after = found.after(state)._replace(
            rejected=rejected,
            nonfinite=nonfinite,
            divergent=state.divergent + (found.log_ratio < -DIVERGENT),
            made=state.made + 1,
        )
        if not adapt:
            return after
        likely = probability(found.log_ratio, found.finite)
        length = state.length
        if self.leapfrogs is None and len(state.y) >= MANY:
            slope = _change(state, found.end.y, found.end.momentum, likely) * epsilon * count
            length = length.climb(slope, _LENGTH_RATE)
        return self._learn(after, likely, length, beta)

    def stride(
        self,
        target: Target,
        state: HMCState,
        steps: int,
        beta: float,
        generator: torch.Generator | None,
        trail: list[HMCState] | None = None,
    ) -> HMCState:
        """So many proposals that teach nothing, with refusals counted at the end."""
        epsilon, made = math.exp(float(state.step.log_average)), int(state.made)
        counts = [self._leapfrogs(state, epsilon, made + i + 1, adapt=False) for i in range(steps)]
        leapfrog = Leapfrog(target, state.y, state.scale, epsilon, beta, sum(counts) - steps)
        at: HMCState | _Outcome = state
        taken, ratios, nonfinite = [], [], state.nonfinite
        for count in counts:
            at = found = self._propose(target, at, leapfrog, count, beta, generator)
            taken.append(found.taken)
            ratios.append(found.log_ratio)
            if found.finite is not None:
                nonfinite = nonfinite + ~found.finite
            if trail is not None:
                trail.append(found.after(state))
        return found.after(state)._replace(
            rejected=state.rejected + (steps - torch.stack(taken).sum(0)),
            nonfinite=nonfinite,
            divergent=state.divergent + (torch.stack(ratios) < -DIVERGENT).sum(0),
            made=state.made + steps,
        )

    def _leapfrogs(self, state: HMCState, epsilon: float, made: int, *, adapt: bool) -> int:
        if self.leapfrogs is not None:
            return min(self.leapfrogs, self.most)
        log_length = state.length.log_value if adapt else state.length.log_average
        # Twice a number in (0, 1): one length would suit no direction whose period it meets.
        time = math.exp(float(log_length)) * 2 * halton(made)
        return max(1, min(self.most, math.ceil(time / epsilon)))

    def _propose(
        self,
        target: Target,
        at: HMCState | _Outcome,
        leapfrog: Leapfrog,
        count: int,
        beta: float,
        generator: torch.Generator | None,
    ) -> _Outcome:
        """One proposal of so many leapfrog steps, judged, with nothing counted."""
        momentum = target.noise(at.y, generator)
        end = leapfrog.go(at.y, at.gradient, momentum, count)
        log_ratio = at.energy - end.energy
        if beta != 1:
            log_ratio.mul_(beta)
        square = dot(momentum, momentum)
        log_ratio.add_(square, alpha=0.5).sub_(dot(end.momentum, end.momentum), alpha=0.5)
        taken, finite = judge(log_ratio, generator)
        # A ratio that is finite has a finite momentum in it, and so a finite slope.
        y, energy, gradient = choose(
            taken, end[:3], (at.y, at.energy, at.gradient), finite=finite is None
        )
        return _Outcome(y, energy, gradient, square, end, log_ratio, taken, finite)

    def _learn(self, state: HMCState, likely: Tensor, length: Ascent, beta: float) -> HMCState:
        step = state.step.learn(likely.mean(), self.acceptance)
        moments, scale = state.moments.add(state.y, state.gradient), state.scale
        if moments.full():
            scale = moments.scale(beta)
            moments = Moments.start(state.y, 2 * moments.due)
        return state._replace(step=step, length=length, moments=moments, scale=scale)


def _change(state: HMCState, y: Tensor, p: Tensor, likely: Tensor) -> Tensor:
    """How fast the squared distance from the centre changes when trajectories are lengthened.

    The slope of the ChEES criterion, half the mean squared change of that distance, in scaled
    units, for each unit of time; proposals count as likely as they were to be taken.
    """
    before = (state.y - state.y.mean(0)) / state.scale
    weight = torch.where(likely > 0, likely, 0.0)
    total = weight.sum()
    point = torch.where(like(weight > 0, y), y, state.y) / state.scale
    after = point - (like(weight, y) * point).sum(0) / total
    speed = torch.where(like(weight > 0, y), p, 0.0)
    change = dot(after, after) - dot(before, before)
    return (weight * change * dot(after, speed)).sum() / total
