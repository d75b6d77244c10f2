"""Langevin dynamics with an accept test: exact, and with a step that tunes itself."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._random import normal, source, uniform
from lowland.sample._flight import RATE, Aim, Luggage, paced
from lowland.sample._metropolis import choose, counted, dot, judge, like, probability
from lowland.sample._threads import threads_for
from lowland.sample.target import Target

# The first step is no larger, however flat the start.
_FIRST = 0.1


class MALAState(NamedTuple):
    """Where the chains are, and how far they step.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        rejected: refused proposals so far, `(chains,)` int64.
        nonfinite: those refused for a value that was not finite, `(chains,)` int64.
        log_step: the logarithm of η, `(1,)` if it is shared, else `(chains,)`.
        learned: how many steps it has learned from, a scalar.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    rejected: Tensor
    nonfinite: Tensor
    log_step: Tensor
    learned: Tensor

    @property
    def step_size(self) -> Tensor:
        """η, `(1,)` or `(chains,)`."""
        return self.log_step.exp()


@dataclass(frozen=True)
class MALA:
    r"""The Metropolis-adjusted Langevin algorithm, with cached energies and slopes.

    $$y' = y - \eta \nabla F(y) + \sqrt{2 \eta / \beta} \, \epsilon, \qquad
      y \leftarrow y' \text{ with probability }
      \min\left(1, \frac{e^{-\beta F(y')} \, q(y \mid y')}{e^{-\beta F(y)} \, q(y' \mid y)}\right)$$

    The energy and the slope at the new point are needed at the next step anyway, so the accept test
    costs no evaluation: one gradient a step. While it adapts (in a warm-up, and in `advance` unless
    told not to) the step grows when more proposals than `acceptance` are taken, and shrinks when
    fewer are: chains that refuse everything do not stay frozen.

    Args:
        step_size: the first η, positive, in the energy's own (scaled) units; None guesses it from
            the slopes at the start.
        acceptance: the share of proposals to be taken, between 0 and 1; .574 is best for many
            dimensions.
        shared: whether all chains share one step; else each tunes its own.
        largest: η is never more; None for no limit.

    Raises:
        DomainError: a step is not positive, or the acceptance is not between 0 and 1.

    Reference:
        Optimal Scaling of Discrete Approximations to Langevin Diffusions (Roberts and Rosenthal,
        1998), https://doi.org/10.1111/1467-9868.00123

    Example:
        >>> from lowland.sample import run
        >>> g = torch.Generator().manual_seed(0)
        >>> ring = ll.energies.Ring((2,), width=0.2)
        >>> draws = run(MALA(), ring, torch.ones(64, 2), steps=200, warmup=200, generator=g)
        >>> bool((draws.diagnostics.acceptance.mean() - 0.574).abs() < 0.1)
        True
    """

    step_size: float | None = None
    acceptance: float = 0.574
    shared: bool = True
    largest: float | None = None

    graphless: ClassVar[bool] = True
    # How many steps the tuning takes, for who does not say.
    warmup: ClassVar[int] = 300

    def __post_init__(self) -> None:
        for name, value in (("step_size", self.step_size), ("largest", self.largest)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise DomainError(f"The '{name}' of MALA must be positive. Got {value!r}.")
        if not 0 < self.acceptance < 1:
            raise DomainError(
                f"The 'acceptance' of MALA must lie between 0 and 1. Got {self.acceptance!r}."
            )

    def init(
        self,
        target: Target,
        y: Tensor,
        like: MALAState | None = None,
        *,
        known: tuple[Tensor, Tensor] | None = None,
    ) -> MALAState:
        """The state at the start points `(chains, *event)`; what `target.slope` gives there."""
        energy, gradient = target.slope(y) if known is None else known
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        if like is None:
            log_step, learned = self._first(gradient), torch.zeros((), device=y.device)
        else:
            log_step, learned = like.log_step, like.learned
            if len(log_step) not in (1, len(y)):
                log_step = log_step.mean().expand(len(y))
        return MALAState(y, energy, gradient, none, none, log_step, learned)

    def _first(self, gradient: Tensor) -> Tensor:
        size = 1 if self.shared else len(gradient)
        if self.step_size is not None:
            return gradient.new_full((size,), math.log(self.step_size))
        # At equilibrium the mean square of a slope is the curvature, whose inverse bounds the step.
        steep = gradient.square().mean() if self.shared else gradient.square().flatten(1).mean(1)
        scale = gradient[0].numel() ** (-1 / 3)
        guess = (scale / steep).clamp(max=min(_FIRST, self.largest or _FIRST))
        guess = torch.where(torch.isfinite(guess) & (guess > 0), guess, 1e-3 * _FIRST)
        return guess.log().reshape(-1)[:size]

    def step(
        self,
        target: Target,
        state: MALAState,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> MALAState:
        """One proposal for every chain; one gradient."""
        if len(state.log_step) == 1:  # a number takes fewer operations than a tensor of one
            eta: float | Tensor = math.exp(float(state.log_step))
            noise = target.noise(state.y, generator).mul_(math.sqrt(2 / beta * eta))
        else:
            eta = like(state.log_step.exp(), state.y)
            noise = target.noise(state.y, generator).mul_((2 / beta * eta).sqrt_())
        proposal = state.y + noise
        _add(proposal, eta, state.gradient, -1.0)
        energy, gradient = target.slope(proposal)
        # Both Gaussian densities of the proposal, with what they share cancelled by hand.
        both = state.gradient + gradient
        _add(noise, eta, both, -0.5)
        work = dot(both, noise)
        log_ratio = (state.energy - energy).add_(work, alpha=0.5)
        if beta != 1:
            log_ratio.mul_(beta)
        taken, finite = judge(log_ratio, generator)
        # A ratio that is finite has the slope in it, which then is finite too.
        y, energy, gradient = choose(
            taken,
            (proposal, energy, gradient),
            (state.y, state.energy, state.gradient),
            finite=finite is None,
        )
        rejected, nonfinite = counted(state, taken, finite)
        log_step, learned = state.log_step, state.learned
        if adapt:
            log_step, learned = self._learn(state, probability(log_ratio, finite))
        return MALAState(y, energy, gradient, rejected, nonfinite, log_step, learned)

    def flight(
        self,
        target: Target,
        state: MALAState,
        steps: int,
        beta: float,
        generator: torch.Generator | None,
    ) -> MALAState:
        """As many steps that learn, with their noise drawn at once and nobody looking on the way.

        The law is that of `step`, and so is the cost but for half of the small operations. Where a
        ratio is not finite all is made again, step by step.
        """
        noise = source(generator, like=state.y)
        before = noise.get_state()
        with threads_for(target.works, state.y):
            end = self._unseen(target, state, steps, beta, generator) if self.shared else None
            if end is not None:
                return end
            noise.set_state(before)
            with torch.no_grad():
                for _ in range(steps):
                    state = self.step(target, state, beta, generator, adapt=True)
            return state

    def _unseen(
        self,
        target: Target,
        state: MALAState,
        steps: int,
        beta: float,
        generator: torch.Generator | None,
    ) -> MALAState | None:
        """The end of the steps, in tensors of its own; None if a ratio on the way is not finite."""
        # What is made outside inference mode stays ordinary, though it is changed inside.
        y, energy, gradient = (part.clone() for part in state[:3])
        ratios, weights = (energy.new_empty((steps, len(energy))) for _ in range(2))
        fly = target.flight(y, steps)
        with torch.inference_mode() if target.traced(y) else torch.no_grad():
            units = target.released(normal((steps, *y.shape), generator, like=y))
            levels = uniform((steps, len(y)), generator, like=energy).log_()
            luggage = Luggage(units, levels, y, energy, gradient, ratios, weights)
            numbers = float(state.log_step), float(state.learned)
            log_step, learned = fly(luggage, self._aim(beta), *numbers)
            if not math.isfinite(float(ratios.sum())):
                return None
        return state._replace(
            y=y,
            energy=energy,
            gradient=gradient,
            rejected=state.rejected + weights.sum(0).neg_().add_(steps).to(torch.int64),
            log_step=torch.full_like(state.log_step, log_step),
            learned=torch.full_like(state.learned, learned),
        )

    def _aim(self, beta: float) -> Aim:
        largest = math.inf if self.largest is None else math.log(self.largest)
        return Aim(beta, self.acceptance, largest)

    def _learn(self, state: MALAState, likely: Tensor) -> tuple[Tensor, Tensor]:
        learned = state.learned + 1
        if len(state.log_step) == 1:
            mean = float(likely.sum()) / len(likely)
            shared = paced(float(state.log_step), float(learned), mean, self._aim(1.0))
            return torch.full_like(state.log_step, shared), learned
        rate = max(RATE, 1 / math.sqrt(float(learned)))
        largest = math.inf if self.largest is None else math.log(self.largest)
        log_step = state.log_step.add(likely - self.acceptance, alpha=rate)
        return log_step.clamp_(max=largest), learned


def _add(total: Tensor, eta: float | Tensor, term: Tensor, weight: float) -> None:
    """Add `weight * eta * term` in place, with one step for all chains or one for each."""
    if isinstance(eta, Tensor):
        total.addcmul_(eta, term, value=weight)
    else:
        total.add_(term, alpha=weight * eta)
