"""Negatives that a Markov chain brings: how it is started, moved, remembered and watched."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowland._errors import DivergedError, DomainError
from lowland._modes import evaluating
from lowland._offers import offers
from lowland._random import integers, normal_like, uniform
from lowland.capabilities import (
    Conditionals,
    ParameterSlopes,
    RecentredSlopes,
    Recentres,
    SamplesConditionals,
)
from lowland.domain import Binary, Categorical, Domain, Real
from lowland.energy import Energy
from lowland.infer import FreeEnergy, eliminate
from lowland.latent import NoLatent
from lowland.sample import MALA, Gibbs, Sampler, Target, advance, sampler_for
from lowland.train.contrastive.halves import Begun
from lowland.train.recorded import recorded

# The least share of a step in the smoothed acceptance and gap: they average over some 20 steps.
_SLOWEST = 0.05
# Smoothed acceptance below which chains are as good as frozen.
STALE = 0.02
# A gap of so many nats, or so many for each element of y, is a surface that runs away.
_RUNAWAY, _RUNAWAY_EACH = 50.0, 5.0
# What a sampler's state holds for each chain, which the next chains do not take over.
_OF_CHAINS = ("y", "energy", "gradient", "rejected", "nonfinite")
_PREFIX = "sampler."
# The longest step of the default sampler, as a part of the mean variance of the data's elements.
_WIDEST = 1.0

Memory = dict[str, Tensor]


class Moved(NamedTuple):
    """Where chains ended.

    Attributes:
        y: `(chains, *event)`.
        acceptance: the share of proposals taken, a scalar.
        memory: what the sampler learned, for the next chains.
        conditionals: those that the chains were moved by, if it was by Gibbs sampling alone.
    """

    y: Tensor
    acceptance: Tensor
    memory: Memory
    conditionals: Conditionals | None = None


class Clipped(Target):
    """A target whose slopes are shortened to a largest norm for each chain.

    The energy stays what it is: a sampler with an accept test, which corrects for the drift that
    it used, still aims at exp(-beta F).
    """

    def __init__(self, potential: Any, largest: float, **options: Any) -> None:
        super().__init__(potential, **options)
        self.largest = largest

    def slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """F(y), `(n,)`, and its gradient, no longer than allowed, `(n, *event)`."""
        energy, gradient = super().slope(y)
        return energy, self._shortened(gradient)

    def gradient(self, y: Tensor) -> Tensor:
        """The gradient, no longer than allowed, `(n, *event)`."""
        return self._shortened(super().gradient(y))

    def _shortened(self, gradient: Tensor) -> Tensor:
        norm = gradient.flatten(1).norm(dim=1)
        # Where it is not finite it stays so, for the sampler to refuse.
        factor = torch.where(norm > self.largest, self.largest / norm, 1.0)
        return gradient * factor.reshape(-1, *[1] * (gradient.dim() - 1))


def measured(energy: Energy, y: Tensor) -> Memory:
    """What `default_sampler` must know of the data `(n, *event)`."""
    if not isinstance(energy.domain, Real):
        return {}
    return {"variance": y.var(0, correction=0).mean().clamp(min=torch.finfo(y.dtype).tiny)}


def default_sampler(energy: Energy, state: Mapping[str, Tensor], y: Tensor) -> Sampler:
    """The sampler that suits the energy: exact conditionals if it has them, else by its domain.

    For real y that is MALA with a step that tunes itself, but does not grow beyond the data's own
    width. An untrained surface is flat, so that every proposal is taken and a free step would grow
    for ever: the chains would be gone before the surface could hold them.
    """
    if isinstance(energy.latent, NoLatent) and offers(energy, SamplesConditionals):
        return Gibbs()
    if "variance" not in state:
        return sampler_for(Target(potential_of(energy, 1.0)), y)
    # The step that suits a normal distribution shrinks with the dimension like this.
    room = _WIDEST * y[0].numel() ** (-1 / 3)
    return MALA(largest=room * float(state["variance"]))


def potential_of(energy: Energy, beta: float) -> Energy:
    """The energy of y alone."""
    return energy if isinstance(energy.latent, NoLatent) else FreeEnergy(energy, beta)


def move(
    energy: Energy,
    sampler: Sampler,
    start: Tensor,
    x: Tensor | None,
    steps: int,
    *,
    beta: float = 1.0,
    clip: float | None = None,
    memory: Mapping[str, Tensor] = MappingProxyType({}),
    begun: Begun | None = None,
    generator: torch.Generator | None,
) -> Moved:
    """Move chains from the points `(chains, *event)` towards exp(-beta F), still learning.

    What is known of the surface at the start, `begun`, spares MALA a look at it.

    Raises:
        DivergedError: a start has no finite energy.
    """
    potential = potential_of(energy, beta)
    with evaluating(energy):  # dropout must not shake the surface under a chain
        target = Target(potential, x=x) if clip is None else Clipped(potential, clip, x=x)
        if type(sampler) is Gibbs and beta == 1:
            y = sampler.sweeps(target, start, steps, generator)
            return Moved(y, y.new_ones(()), {}, target.conditionals(1.0))
        like = _recall(sampler, target, start, memory)
        if type(sampler) is MALA:
            if begun is None:
                state = advance(sampler, target, start, 0, beta, generator, like=like)
            else:
                state = sampler.init(target, start, like, known=begun)
            end: Any = sampler.flight(target, state, steps, beta, generator)
        else:
            end = advance(sampler, target, start, steps, beta, generator, like=like)
    taken = end.rejected.to(end.energy.dtype).mean().div_(-max(steps, 1)).add_(1.0)
    return Moved(end.y, taken, _keep(end))


# The class of each sampler's states, for a state read from a file is tensors by name.
_STATES: dict[type, type] = {}


def _keep(state: Any) -> Memory:
    fields = state._asdict()
    # Nothing of the chains themselves: the next ones begin elsewhere.
    return {
        _PREFIX + name: value[:0] if name in _OF_CHAINS else value for name, value in fields.items()
    }


def _recall(sampler: Sampler, target: Target, start: Tensor, memory: Mapping[str, Tensor]) -> Any:
    fields = {k.removeprefix(_PREFIX): v for k, v in memory.items() if k.startswith(_PREFIX)}
    if not fields:
        return None
    kind = _STATES.get(type(sampler))
    if kind is None:
        with torch.no_grad():
            kind = _STATES[type(sampler)] = type(sampler.init(target, start))
    return kind(**fields)


def kicked(domain: Domain, y: Tensor, size: float, generator: torch.Generator | None) -> Tensor:
    """Y with normal noise of standard deviation `size`, or each symbol changed with that chance."""
    if size == 0:
        return y
    match domain:
        case Real():
            return y + size * normal_like(y, generator)
        case Binary():
            return torch.where(uniform(tuple(y.shape), generator, like=y) < size, 1 - y, y)
        case Categorical(n):
            other = (y + 1 + integers(n - 1, tuple(y.shape), generator, like=y)) % n
            drawn = uniform(tuple(y.shape), generator, like=floats(y))
            return torch.where(drawn < size, other, y)
        case _:
            raise DomainError(f"No kick is known on {domain}. Leave it out.")


def floats(y: Tensor) -> Tensor:
    """Y, or a floating-point number on its device if y is of whole numbers."""
    return y if y.is_floating_point() else torch.zeros((), device=y.device)


class Contrast(NamedTuple):
    """The loss of a contrastive step.

    Attributes:
        loss: F of the data less F of the negatives, and alpha times their squares, a scalar.
        gap: the difference alone, without a graph.
        data_energy: the mean energy of the data, without a graph.
        negative_energy: that of the negatives.
        gradients: those of the loss in the parameters, where the energy offers them or they are
            recorded; the loss then has no graph.
    """

    loss: Tensor
    gap: Tensor
    data_energy: Tensor
    negative_energy: Tensor
    gradients: dict[str, Tensor | None] | None = None


def contrast(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    negatives: Tensor,
    negatives_x: Tensor | None,
    *,
    alpha: float,
    beta: float = 1.0,
    recentred: bool = False,
    conditionals: Conditionals | None = None,
) -> Contrast:
    r"""The difference whose gradient is that of maximum likelihood, if the negatives are its draws.

    $$L = \frac1n \sum_i F(y_i) - \frac1m \sum_j F(\bar y_j)
      + \alpha \left( \frac1n \sum_i F(y_i)^2 + \frac1m \sum_j F(\bar y_j)^2 \right)$$

    An energy that `Recentres` is first moved to y if asked to be `recentred`. The `conditionals`
    are the energy's own with its parameters of the moment, if they are at hand.
    """
    plain = isinstance(energy.latent, NoLatent)
    if recentred and plain and offers(energy, RecentredSlopes):
        slopes = partial(energy.recentred_slopes, conditionals=conditionals)
        return _closed(slopes, y, x, negatives, negatives_x, alpha)
    if recentred and offers(energy, Recentres):
        energy.recentre(y, x=x)
    if plain and offers(energy, ParameterSlopes):
        return _closed(energy.parameter_slopes, y, x, negatives, negatives_x, alpha)

    def loss(y: Tensor, negatives: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """Loss, gap and the mean energies, all scalars."""
        value = eliminate(
            energy, torch.cat([y, negatives]), torch.cat(given) if given else None, beta=beta
        )
        data, pushed = value.split([len(y), len(negatives)])
        data_energy, negative_energy = data.mean(), pushed.mean()
        gap = data_energy - negative_energy
        if not alpha:
            return gap, gap, data_energy, negative_energy
        squares = data.square().mean() + pushed.square().mean()
        return gap + alpha * squares, gap, data_energy, negative_energy

    inputs = (y, negatives) if x is None or negatives_x is None else (y, negatives, x, negatives_x)
    found = recorded(energy, ("contrast", alpha), loss, *inputs) if plain else None
    if found is not None:
        total, gap, data_energy, negative_energy = found.values
        return Contrast(total, gap, data_energy, negative_energy, found.gradients)
    total, *rest = loss(*inputs)
    gap, data_energy, negative_energy = (value.detach() for value in rest)
    return Contrast(total, gap, data_energy, negative_energy)


def _closed(
    slopes: Callable[..., tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]],
    y: Tensor,
    x: Tensor | None,
    negatives: Tensor,
    negatives_x: Tensor | None,
    alpha: float,
) -> Contrast:
    """The same by the gradient in closed form that the energy offers."""
    both_x = None if x is None or negatives_x is None else torch.cat([x, negatives_x])
    value, weighted = slopes(y, negatives, x=both_x)
    n, m = len(y), len(negatives)
    data, pushed = value.split([n, m])
    data_energy, negative_energy = data.mean(), pushed.mean()
    loss = gap = data_energy - negative_energy
    weights = torch.full_like(value, 1 / n)
    weights[n:].fill_(-1 / m)
    if alpha:
        loss = gap + alpha * (data.square().mean() + pushed.square().mean())
        weights += 2 * alpha * weights.abs() * value
    gradients = weighted(weights)
    return Contrast(loss, gap, data_energy, negative_energy, {**gradients})


def watch(
    state: Memory, acceptance: Tensor, gap: Tensor, limit: float, owner: str
) -> dict[str, Tensor]:
    """The smoothed acceptance and gap after one more step.

    Raises:
        DivergedError: the smoothed gap is beyond the limit.
    """
    watched = state["watched"] if "watched" in state else torch.zeros_like(gap)
    share = max(_SLOWEST, 1 / (float(watched) + 1))
    now = {"acceptance": acceptance.to(gap), "gap": gap}
    smooth = {
        name: value if name not in state else torch.lerp(state[name], value, share)
        for name, value in now.items()
    }
    if abs(float(smooth["gap"])) > limit:  # one that is not finite is the loss's to tell
        raise DivergedError(
            f"the surface runs away: data and negatives of {owner} differ by "
            f"{float(smooth['gap']):.4g} in energy, beyond the limit of {limit:g}, while "
            f"{float(smooth['acceptance']):.0%} of the proposals are taken. More steps a chain, "
            f"another sampler, input noise or 'alpha' help"
        )
    return {**smooth, "watched": watched + 1}


def runaway_limit(runaway: float | None, y: Tensor) -> float:
    """The gap at which training ends, for items like y."""
    if runaway is not None:
        return runaway
    return max(_RUNAWAY, _RUNAWAY_EACH * y[0].numel())


def remarks(state: Memory, owner: str) -> str | None:
    """A sentence if the chains stood still at the end; None if they moved."""
    acceptance = state.get("acceptance")
    if acceptance is None or float(acceptance) >= STALE:
        return None
    return (
        f"The chains of {owner} are stale: over the last steps {float(acceptance):.1%} of the "
        f"proposals were taken, so that the negatives stay where they are and the gap near 0 says "
        f"nothing. Use a sampler whose step tunes itself, such as MALA(), or start afresh with "
        f"gentler training."
    )


def check_options(owner: Any, *, above: tuple[str, ...], at_least: tuple[str, ...]) -> None:
    """Raise `DomainError` unless numbers are positive, or at least 0, or None where that is it."""
    name = type(owner).__name__
    for option, strict in [(o, True) for o in above] + [(o, False) for o in at_least]:
        value = getattr(owner, option)
        if value is None:
            continue
        if math.isnan(value) or value < 0 or (strict and value == 0):
            bound = "positive" if strict else "at least 0"
            raise DomainError(f"The '{option}' of {name} must be {bound}. Got {value!r}.")


def check_count(owner: Any, option: str, least: int) -> None:
    """Raise `DomainError` unless the option is a whole number of at least `least`."""
    value = getattr(owner, option)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DomainError(
            f"The '{option}' of {type(owner).__name__} must be a whole number of at least "
            f"{least}. Got {value!r}."
        )
