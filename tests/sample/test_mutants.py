"""Samplers with a planted mistake each: every one is caught by the tests of stationarity."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from stationarity import ALARM, energy, moved, p_value
from torch import Tensor

from lowland.sample import (
    HMC,
    MALA,
    NUTS,
    ImportanceSampling,
    ParallelTempering,
    RandomWalk,
    Sampler,
    Target,
    hmc,
    importance,
    mala,
    nuts,
    random_walk,
    tempering,
)
from lowland.sample._half_trees import Course, HalfTrees
from lowland.sample._leapfrog import Arrival, Leapfrog
from lowland.sample._native_half_trees import halves

RIGHT = {
    "mala": MALA(0.25),
    "hmc": HMC(0.35, leapfrogs=4),
    "nuts": NUTS(0.4, depth=3),
    "walk": RandomWalk(0.7),
    "importance": ImportanceSampling(proposals=4),
    "tempering": ParallelTempering(MALA(0.15), rungs=2, hottest=0.4),
}
STEPS = 8


class Loud(Target):
    """Noise a fifth too loud."""

    def noise(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        return 1.2 * super().noise(y, generator)


class Shared(Target):
    """One noise for all chains."""

    def noise(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        return super().noise(y[:1], generator).expand_as(y).clone()


class Skewed(Target):
    """Noise that is a little one-sided."""

    def noise(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        return super().noise(y, generator) + 0.1


class Stale(Target):
    """The slope of the call before."""

    last: Tensor | None = None

    def slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = super().slope(y)
        old, self.last = self.last, gradient
        return value, gradient if old is None else old


class Warm(Target):
    """Energies a tenth too large."""

    def slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = super().slope(y)
        return 1.1 * value, gradient


class Wandering(Target):
    """A slope that depends on how often it was asked for, as dropout's does."""

    calls = 0

    def slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        value, gradient = super().slope(y)
        return value + 0.3 * torch.sin(7.0 * y[:, 0] + self.calls), gradient


def accept_all(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    sure = torch.ones_like(log_ratio, dtype=torch.bool)
    return sure, sure


def one_coin(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    drawn = torch.rand((), generator=generator, dtype=log_ratio.dtype).log()
    return drawn < log_ratio, torch.isfinite(log_ratio)


def backward(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    drawn = torch.rand(len(log_ratio), generator=generator, dtype=log_ratio.dtype).log()
    return drawn < -log_ratio, torch.isfinite(log_ratio)


def tempered(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    drawn = torch.rand(len(log_ratio), generator=generator, dtype=log_ratio.dtype).log()
    return drawn < 0.8 * log_ratio, torch.isfinite(log_ratio)


def half_barker(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    drawn = torch.rand(len(log_ratio), generator=generator, dtype=log_ratio.dtype)
    return drawn < torch.sigmoid(2 * log_ratio), torch.isfinite(log_ratio)


def no_product(a: Tensor, b: Tensor) -> Tensor:
    return torch.zeros_like(a[:, 0])


def no_first_kick(
    self: Leapfrog, y: Tensor, gradient: Tensor, momentum: Tensor, count: int
) -> Arrival:
    p, kick = momentum.clone(), self.epsilon * self.beta
    for i in range(count):
        y = y + self.epsilon * p
        value, gradient = self.target.slope(y)
        p = p - kick * gradient * (0.5 if i == count - 1 else 1.0)
    return Arrival(y, value, gradient, p)


def no_last_kick(
    self: Leapfrog, y: Tensor, gradient: Tensor, momentum: Tensor, count: int
) -> Arrival:
    kick = self.epsilon * self.beta
    p = momentum - 0.5 * kick * gradient
    for i in range(count):
        y = y + self.epsilon * p
        value, gradient = self.target.slope(y)
        if i < count - 1:
            p = p - kick * gradient
    return Arrival(y, value, gradient, p)


def step_by_slope(
    self: Leapfrog, y: Tensor, gradient: Tensor, momentum: Tensor, count: int
) -> Arrival:
    own = self.epsilon / (1 + 0.5 * gradient.norm(dim=1, keepdim=True))
    p = momentum - 0.5 * own * self.beta * gradient
    for i in range(count):
        y = y + own * p
        value, gradient = self.target.slope(y)
        p = p - own * self.beta * gradient * (0.5 if i == count - 1 else 1.0)
    return Arrival(y, value, gradient, p)


def repaired(self: Leapfrog, y: Tensor, gradient: Tensor, momentum: Tensor, count: int) -> Arrival:
    end = RIGHT_TRAJECTORY(self, y, gradient, momentum, count)
    y = end.y.clamp(-1.8, 1.8)
    return Arrival(y, *self.target.slope(y), end.momentum)


def lagging(self: Leapfrog, y: Tensor, gradient: Tensor, momentum: Tensor, count: int) -> Arrival:
    """The energy of the last step but one."""
    end = RIGHT_TRAJECTORY(self, y, gradient, momentum, count)
    return end._replace(energy=self.target.energy(end.y - self.epsilon * end.momentum))


def takes_broken_trees(self: Any, added: Any, ok: Tensor) -> None:
    RIGHT_JOIN(self, added, torch.isfinite(added.log_weight) & self.growing)


class UniformLeaves(HalfTrees):
    """Draws from the points on the way without their weights."""

    def _add_leaf(
        self, tree: Any, on: Tensor, end: Any, energy: Tensor, log_weight: Tensor, luck: Tensor
    ) -> Any:
        even = torch.where(log_weight > -9, 0.0, log_weight)
        return super()._add_leaf(tree, on, end, energy, even, luck)


def last_leaves(course: Course) -> HalfTrees:
    """Always the last point on the way, whoever draws it."""
    found = halves(course)
    extend = found.extend
    found.extend = lambda end, forward, growing, drawn: extend(  # type: ignore[method-assign]
        end, forward, growing, torch.full_like(drawn, -math.inf)
    )
    return found


def no_density(self: Any, target: Target, y: Tensor, value: Tensor, beta: float) -> Tensor:
    return -beta * value


def half_density(self: Any, target: Target, y: Tensor, value: Tensor, beta: float) -> Tensor:
    right = RIGHT_WEIGHT(self, target, y, value, beta)
    return right + 0.1 * y.square().sum(1)


def places_only(swap: Tensor, cold: Any, hot: Any) -> tuple[Any, Any]:
    """Energies and slopes stay behind when places are exchanged."""
    mine, others = cold.y, hot.y
    swap = swap.unsqueeze(1)
    return (
        cold._replace(y=torch.where(swap, others, mine)),
        hot._replace(y=torch.where(swap, mine, others)),
    )


RIGHT_TRAJECTORY = Leapfrog.go
RIGHT_JOIN = nuts._Path._join
RIGHT_WEIGHT = ImportanceSampling._log_weight

Patch = tuple[Any, str, Callable[..., Any]]
MUTANTS: dict[str, tuple[str, type[Target], Patch | None]] = {
    "MALA with loud noise": ("mala", Loud, None),
    "MALA with shared noise": ("mala", Shared, None),
    "MALA with skewed noise": ("mala", Skewed, None),
    "MALA with a stale slope": ("mala", Stale, None),
    "MALA at another temperature": ("mala", Warm, None),
    "MALA without an accept test": ("mala", Target, (mala, "judge", accept_all)),
    "MALA with one coin for all": ("mala", Target, (mala, "judge", one_coin)),
    "MALA that accepts backward": ("mala", Target, (mala, "judge", backward)),
    "MALA with a tempered test": ("mala", Target, (mala, "judge", tempered)),
    "MALA with a wrong Barker test": ("mala", Target, (mala, "judge", half_barker)),
    "MALA without the proposal's densities": ("mala", Target, (mala, "dot", no_product)),
    "MALA with an energy that wanders": ("mala", Wandering, None),
    "HMC with loud momenta (a wrong mass)": ("hmc", Loud, None),
    "HMC with shared momenta": ("hmc", Shared, None),
    "HMC with skewed momenta": ("hmc", Skewed, None),
    "HMC at another temperature": ("hmc", Warm, None),
    "HMC with a stale slope at the end": ("hmc", Stale, None),
    "HMC without an accept test": ("hmc", Target, (hmc, "judge", accept_all)),
    "HMC with one coin for all": ("hmc", Target, (hmc, "judge", one_coin)),
    "HMC without kinetic energy": ("hmc", Target, (hmc, "dot", no_product)),
    "HMC without the first half kick": ("hmc", Target, (Leapfrog, "go", no_first_kick)),
    "HMC without the last half kick": ("hmc", Target, (Leapfrog, "go", no_last_kick)),
    "HMC whose step depends on the slope": ("hmc", Target, (Leapfrog, "go", step_by_slope)),
    "HMC that repairs positions": ("hmc", Target, (Leapfrog, "go", repaired)),
    "HMC with a lagging energy": ("hmc", Target, (Leapfrog, "go", lagging)),
    "NUTS with loud momenta": ("nuts", Loud, None),
    "NUTS at another temperature": ("nuts", Warm, None),
    "NUTS that takes from broken trees": (
        "nuts",
        Target,
        (nuts._Path, "_join", takes_broken_trees),
    ),
    "NUTS that draws leaves uniformly": ("nuts", Target, (nuts, "halves", UniformLeaves)),
    "NUTS that draws the last leaves": ("nuts", Target, (nuts, "halves", last_leaves)),
    "NUTS that always takes the new half": (
        "nuts",
        Target,
        (NUTS, "weigh", lambda self, log_weight, added: torch.zeros_like(added)),
    ),
    "NUTS with the weights turned round": (
        "nuts",
        Target,
        (NUTS, "weigh", lambda self, log_weight, added: log_weight - added),
    ),
    "a walk that drifts": ("walk", Skewed, None),
    "a walk without an accept test": ("walk", Target, (random_walk, "judge", accept_all)),
    "a walk with a tempered test": ("walk", Target, (random_walk, "judge", tempered)),
    "importance without the density of q": (
        "importance",
        Target,
        (ImportanceSampling, "_log_weight", no_density),
    ),
    "importance with half a density": (
        "importance",
        Target,
        (ImportanceSampling, "_log_weight", half_density),
    ),
    "tempering that always swaps": (
        "tempering",
        Target,
        (ParallelTempering, "swap_ratio", lambda self, log_ratio: torch.zeros_like(log_ratio)),
    ),
    "tempering that swaps backward": (
        "tempering",
        Target,
        (ParallelTempering, "swap_ratio", lambda self, log_ratio: -log_ratio),
    ),
    "tempering that leaves energies behind": (
        "tempering",
        Target,
        (tempering, "_exchange", places_only),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_without_a_mistake_there_is_no_alarm(name: str) -> None:
    start, state = moved(RIGHT[name], Target(energy), STEPS)
    assert p_value(start, state.y) > ALARM


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", MUTANTS)
def test_the_mistake_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which, kind, patch = MUTANTS[name]
    if patch is not None:
        owner, attribute, wrong = patch
        monkeypatch.setattr(owner, attribute, wrong)
    sampler: Sampler = RIGHT[which]
    start, state = moved(sampler, kind(energy), STEPS)
    assert p_value(start, state.y) < ALARM


def test_there_are_as_many_as_were_promised() -> None:
    assert len(MUTANTS) >= 20
    assert math.isclose(ALARM, 1e-6)
    assert importance.ImportanceSampling is ImportanceSampling
