"""The one sampling loop: with kept draws (`run`), or only forward (`advance`)."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lowland._errors import DivergedError, DomainError, ShapeError
from lowland.sample._compiled import refuse
from lowland.sample._threads import threads_for, weighed
from lowland.sample.draws import Diagnostics, Draws
from lowland.sample.target import Potential, Target

# So many of a chain's slopes are kept for the virial ratio.
_SLOPES_KEPT = 100
# So many steps are made in one stride.
_STRIDE = 512
# So many numbers of a stride's states are held before they are put where they are kept.
_HELD = 1 << 20


@runtime_checkable
class State(Protocol):
    """What the loop reads of any sampler's state: a NamedTuple of tensors, to save and continue.

    A state may also have `gradient`, like y, and `divergent`, `(chains,)` int64.
    """

    @property
    def y(self) -> Tensor:
        """Where the chains are, `(chains, *event)`."""
        ...

    @property
    def energy(self) -> Tensor:
        """Their energies, `(chains,)`."""
        ...

    @property
    def rejected(self) -> Tensor:
        """How many proposals each chain refused, `(chains,)` int64."""
        ...

    @property
    def nonfinite(self) -> Tensor:
        """How many of them because a value was not finite, `(chains,)` int64."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A Markov chain: where it starts, and one step of all chains at once.

    A sampler draws its noise with `target.noise`, looks at `target.slope` or `target.energy`, and
    refuses what is not finite; then masks and bounds are honoured without further code. One that
    learns may name how many steps that takes, `warmup`, for who does not say. One that takes no
    derivatives of its own may say that it is `graphless`: then torch notes nothing for them; one
    whose stride goes by `target.walk` and `target.tour` that it `compiles`. It may
    have a `stride(target, state, steps, beta, generator, trail=None)` that is faster than so many
    steps that do not adapt, and leads to the very same state. To a list `trail` it appends the
    states on the way, whose counts nobody looks at.
    """

    def init(self, target: Target, y: Tensor, like: Any = None) -> Any:
        """The state at the points `(chains, *event)`, with nothing counted.

        Args:
            target: what to aim at.
            y: where the chains are.
            like: a state of before, whose step sizes and scales are taken over; the number of
                chains may differ.
        """
        ...

    def step(
        self,
        target: Target,
        state: Any,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> Any:
        """The state after one step towards exp(-beta F); steps and scales learn only if `adapt`."""
        ...


def run(
    sampler: Sampler,
    potential: Potential | Target,
    start: Tensor,
    *,
    steps: int,
    warmup: int = 0,
    thin: int = 1,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Draws:
    """Run a sampler and keep its draws.

    Where a step is so small that threads would spend their time waiting for one another, there is
    only one for as long as this lasts, whatever torch is set to.

    Args:
        sampler: how to move.
        potential: a `Target`, or what `Target` takes: an energy without a latent, or any function
            from `(chains, *event)` to `(chains,)`; the chains aim at exp(-beta potential).
        start: `(chains, *event)`.
        steps: steps after the warm-up.
        warmup: steps made first and not kept, in which the sampler adapts.
        thin: keep every so many-th of the later steps.
        beta: inverse temperature.
        generator: all randomness; torch's default generator if None.

    Returns:
        Draws: `steps // thin` draws a chain.

    Raises:
        DomainError: steps, warmup or thin are out of range.
        DivergedError: a start has no finite energy, or no chain ever made a finite proposal.
        ShapeError: there is no chain.

    Example:
        >>> from lowland.sample import Langevin
        >>> g = torch.Generator().manual_seed(0)
        >>> draws = run(
        ...     Langevin(0.1),
        ...     lambda y: y.square().sum(-1) / 2,
        ...     torch.zeros(8, 2),
        ...     steps=50,
        ...     generator=g,
        ... )
        >>> draws.y.shape
        torch.Size([8, 50, 2])
    """
    if steps < 1 or warmup < 0 or not 1 <= thin <= steps:
        raise DomainError(
            f"A chain needs steps of at least 1, a warmup of at least 0 and a thin between 1 and "
            f"steps. Got steps={steps}, warmup={warmup}, thin={thin}."
        )
    target = potential if isinstance(potential, Target) else Target(potential)
    already = target.evaluations
    draws = steps // thin
    energies: list[Tensor] = []
    levels: list[Tensor] = []
    slopes: dict[int, Tensor] = {}
    every = max(1, draws // _SLOPES_KEPT)
    at_once = max(1, min(_STRIDE, _HELD // max(1, start.numel()))) if thin == 1 else 1
    step = partial(_steps, sampler, target, beta=beta, generator=generator, adapt=False)
    with torch.no_grad():
        state = _begin(sampler, target, start, None, warmup + steps)
        state = _steps(sampler, target, state, warmup, beta, generator, adapt=True)
        settled = state = _ordinary(state)
        kept = state.y.new_empty(len(start), draws, *start.shape[1:])
        for first in range(0, draws, at_once):
            state = step(state, thin - 1)
            trail = [state]
            state = step(state, min(at_once, draws - first), trail=trail)
            for i, (before, after) in enumerate(pairwise(trail), first):
                gradient = getattr(after, "gradient", None)
                if gradient is not None and i % every == 0:
                    slopes[i] = gradient
                if hasattr(after, "momentum_energy"):
                    levels.append(beta * before.energy + after.momentum_energy)
                energies.append(after.energy)
            kept[:, first : first + at_once] = torch.stack([each.y for each in trail[1:]], 1)
        state = _ordinary(step(state, steps % thin))
    _check_moved(state, warmup + steps)
    _check_observed(target, start, state.y)
    # A refused proposal leaves the very same numbers: a chain that never moved has one position.
    diagnostics = Diagnostics(
        y=kept,
        energy=torch.stack(energies, 1),
        acceptance=1 - (state.rejected - settled.rejected).to(kept.dtype) / steps,
        nonfinite=state.nonfinite,
        exact=False,
        stuck=(state.rejected - settled.rejected) == steps,
        divergent=_count(state, settled, "divergent"),
        start=start,
        beta=beta,
        gradients=(target.evaluations - already) / len(start),
        slopes=torch.stack(list(slopes.values()), 1) if slopes else None,
        slope_at=tuple(slopes),
        dimension=target.dimension(start),
        bounded=target.constraint.bounded,
        hamiltonian=torch.stack(levels, 1) if levels else None,
        effective_temperature=_temperature(sampler, state, beta),
        provider=target.explain(),
    )
    return Draws(kept, diagnostics)


def advance(
    sampler: Sampler,
    target: Target,
    start: Any,
    steps: int,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    adapt: bool = True,
    like: Any = None,
) -> Any:
    """Move the chains and keep nothing but where they are: negatives, persistent chains.

    The energy at the start is looked at anew, for the weights may have changed since.

    Args:
        sampler: how to move.
        target: what to aim at.
        start: points `(chains, *event)`, or a state to continue: its counts go on.
        steps: how many steps, at least 0.
        beta: inverse temperature.
        generator: all randomness; torch's default generator if None.
        adapt: whether steps and scales go on learning.
        like: with points to start from, a state whose steps and scales are taken over.

    Returns:
        The sampler's state; `.y` are the points, `.rejected` and `.nonfinite` count refusals.

    Raises:
        DomainError: steps is negative.
        DivergedError: a start has no finite energy.
        ShapeError: there is no chain.

    Example:
        >>> from lowland.sample import MALA, Target
        >>> target = Target(lambda y: y.square().sum(-1) / 2)
        >>> g = torch.Generator().manual_seed(0)
        >>> state = advance(MALA(), target, torch.zeros(8, 2), 10, generator=g)
        >>> state = advance(MALA(), target, state, 10, generator=g)
        >>> state.y.shape
        torch.Size([8, 2])
    """
    if steps < 0:
        raise DomainError(f"'steps' of advance must be at least 0. Got {steps}.")
    with torch.no_grad():
        if isinstance(start, Tensor):
            state = _begin(sampler, target, start, like, steps)
        else:
            state = _begin(sampler, target, start.y, start, steps)
            counts = ("rejected", "nonfinite", "divergent")
            state = state._replace(**{n: getattr(start, n) for n in counts if n in state._fields})
        state = _steps(sampler, target, state, steps, beta, generator, adapt=adapt)
    return _ordinary(state)


def _steps(
    sampler: Sampler,
    target: Target,
    state: Any,
    steps: int,
    beta: float,
    generator: torch.Generator | None,
    *,
    adapt: bool,
    trail: list[Any] | None = None,
) -> Any:
    """The state after so many steps, noting nothing for derivatives where nobody takes any."""
    graphless = getattr(sampler, "graphless", False)
    learns = adapt and hasattr(sampler, "warmup")
    stride = None if learns else getattr(sampler, "stride", None)
    with threads_for(target.works, state.y):
        while steps:
            quiet = graphless and target.graphless(state.y)
            with torch.inference_mode() if quiet else nullcontext():
                # Without a trace there may be one after the next step.
                count = min(steps, _STRIDE) if quiet or target.closed else 1
                if stride is not None and count > 1:
                    state = stride(target, state, count, beta, generator, trail)
                else:
                    for _ in range(count):
                        state = sampler.step(target, state, beta, generator, adapt=adapt)
                        if trail is not None:
                            trail.append(state)
            steps -= count
    return state


def _ordinary(state: Any) -> Any:
    """The state with tensors that derivatives can be taken at."""
    if isinstance(state, Tensor):
        return state.clone() if state.is_inference() else state
    if isinstance(state, tuple):
        parts = map(_ordinary, state)
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def _begin(sampler: Sampler, target: Target, y: Tensor, like: Any, steps: int) -> Any:
    if target.compiled and not getattr(sampler, "compiles", False):
        refuse(f"{type(sampler).__name__} has none that could be, only Langevin has")
    if len(y) == 0:
        raise ShapeError(
            f"'start' holds no chain: its shape is {tuple(y.shape)}. Give one point or more, "
            f"(chains, *event)."
        )
    target.refresh(steps)
    with weighed(target.works, y):
        state: Any = sampler.init(target, y.detach(), like)
    # One sum is looked at before each element is.
    if not math.isfinite(float(state.energy.sum())):
        finite = torch.isfinite(state.energy)
        if not bool(finite.all()):
            bad = int(torch.nonzero(~finite)[0])
            raise DivergedError(
                f"Chain {bad} of {len(y)} starts where the energy is {state.energy[bad].item()}. "
                f"Start it where the energy is finite.",
                step=0,
            )
    return state


def _check_moved(state: State, total: int) -> None:
    if bool((state.nonfinite >= total).all()):
        raise DivergedError(
            f"No chain made a finite proposal in {total} steps: the step is too large for the "
            f"slopes of this energy, or the energy is not finite near the start. Reduce the step.",
            step=total,
        )


def _check_observed(target: Target, start: Tensor, end: Tensor) -> None:
    """A sampler that draws noise of its own could move what was given."""
    moved = start - target.constraint.release(start) != end - target.constraint.release(end)
    if bool(moved.any()):
        raise DomainError(
            "The sampler moved observed elements of y. Draw its noise with target.noise(y)."
        )


def _count(state: Any, settled: Any, name: str) -> Tensor:
    if not hasattr(state, name):
        return torch.zeros_like(state.rejected)
    counted: Tensor = getattr(state, name) - getattr(settled, name)
    return counted


def _temperature(sampler: Sampler, state: Any, beta: float) -> float:
    """The temperature that the noise stands for; a sampler may decouple it from beta."""
    says: Callable[[Any, float], float] | None = getattr(sampler, "effective_temperature", None)
    return 1 / beta if says is None else says(state, beta)
