"""Better places to start prototypes: Lloyd on growing samples, then swaps of useless ones."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._random import permutation, uniform
from lowland.energies._lloyd import Lloyd

# Where a sample stands for the whole: many items for each prototype, in few dimensions.
_ITEMS_PER_PROTOTYPE = 700
_DIMENSIONS = 64
# The first sample, in items for each prototype, and how many times larger the next one is.
_FIRST = 64
_GROWTH = 4
# Swaps are tried on this part of the data, where a sample stands for the whole, and on no more
# items for each prototype than this.
_SWAP_PART = 0.16
_SWAP_ITEMS = 1024
_SWAP_ROUNDS = 200
# So many rounds may fail, more where a sweep costs little.
_SWAP_FAILURES = (15, 60)
_SWAP_PRODUCTS = 2**31
# Where a sample does not stand for the whole, a round costs as much as several full sweeps.
_WHOLE_ROUNDS, _WHOLE_SWEEPS = 5, 4
# On few data a sweep costs little, so more is tried; on very few from several starts, too.
_SMALL, _SMALL_FAILURES = 2**23, 80
_TINY, _TINY_FAILURES, _TINY_STARTS = 2**18, 60, 3
_SMALL_ROUNDS = 400
# Samples are left when a sweep gains less than this part of the energy, for differences between
# minima are hardly larger than what slow sweeps add up to.
_SETTLED = 1e-5
_WHOLE_SETTLED = 1e-3
_SWEEPS = 100
# A trial is given up when so many sweeps that gain as much as its last would not reach the goal.
_PATIENCE = 5


def sampling_pays(n: int, d: int, k: int) -> bool:
    """Whether a sample of n items in d dimensions is as good as all of them, for k prototypes."""
    return n >= _ITEMS_PER_PROTOTYPE * k and d <= _DIMENSIONS


def restarts(n: int, d: int, k: int) -> int:
    """How often to begin anew, so that one unlucky start of few data is not the end."""
    return _TINY_STARTS if n * d * k <= _TINY else 1


def first_sample(y: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """A random sample to seed from, or all of `y` where sampling does not pay."""
    if not sampling_pays(len(y), y.shape[1], k):
        return y
    return y[permutation(len(y), generator, like=y)[: _FIRST * k]]


def grow(y: Tensor, prototypes: Tensor, generator: torch.Generator | None) -> Tensor:
    """Lloyd's algorithm on samples of 64 k, 256 k, ... items, short of all of them.

    Most of the way is made where a sweep is cheap; where sampling does not pay, nothing is done.

    Reference:
        Refining Initial Points for K-Means Clustering (Bradley and Fayyad, 1998),
        https://dl.acm.org/doi/10.5555/645527.657466
    """
    k = len(prototypes)
    if not sampling_pays(len(y), y.shape[1], k):
        return prototypes
    order = permutation(len(y), generator, like=y)
    size = _FIRST * k
    while 2 * size <= len(y):
        prototypes, _ = descend(Lloyd(y[order[:size]], k), prototypes, _SWEEPS, _SETTLED)
        size *= _GROWTH
    return prototypes


def swap(y: Tensor, prototypes: Tensor, generator: torch.Generator | None) -> tuple[Tensor, float]:
    """Take away the prototypes that save least energy, and put them where most is spent.

    A round moves several at once, makes a few sweeps and is kept if the energy fell; else the next
    round moves half as many. So prototypes leave the places that have too many, which Lloyd's
    algorithm alone cannot do.

    Returns:
        The prototypes, and their energy on the items that they were tried on.

    Reference:
        The Breathing K-Means Algorithm (Fritzke, 2020), https://arxiv.org/abs/2006.15666
    """
    k = len(prototypes)
    sampled = sampling_pays(len(y), y.shape[1], k)
    if sampled:
        size = max(_FIRST * k, min(_SWAP_ITEMS * k, int(_SWAP_PART * len(y))))
        y = y[permutation(len(y), generator, like=y)[:size]]
    products = len(y) * k * y.shape[1]
    if products <= _SMALL:
        rounds, sweeps, settled = _SMALL_ROUNDS, _SWEEPS, 0.0
        failures = _TINY_FAILURES if products <= _TINY else _SMALL_FAILURES
    elif sampled:
        rounds, sweeps, settled = _SWAP_ROUNDS, _SWEEPS, _SETTLED
        fewest, most = _SWAP_FAILURES
        failures = max(fewest, min(most, _SWAP_PRODUCTS // products))
    else:
        rounds, sweeps, settled = _WHOLE_ROUNDS, _WHOLE_SWEEPS, _WHOLE_SETTLED
        failures = rounds
    lloyd = Lloyd(y, k)
    prototypes, least = descend(lloyd, prototypes, _SWEEPS, settled)
    if k < 2:
        return prototypes, least
    worth = _worth(lloyd, prototypes)
    many, failed = max(1, k // 10), 0
    for _ in range(rounds):
        trial = _exchanged(y, prototypes, worth, many, generator)
        trial, energy = descend(lloyd, trial, sweeps, settled, goal=least)
        if energy < least * (1 - 1e-7):
            prototypes, least, failed = trial, energy, 0
            worth = _worth(lloyd, prototypes)
            continue
        failed += 1
        if many > 1:
            many //= 2
        elif failed >= failures:
            break
    return prototypes, least


def descend(
    lloyd: Lloyd,
    prototypes: Tensor,
    sweeps: int,
    settled: float,
    *,
    goal: float = math.inf,
) -> tuple[Tensor, float]:
    """Lloyd's algorithm, and the energy that the prototypes have in the end.

    It ends early where a sweep gains so little that the goal is out of reach.

    Args:
        lloyd: makes the sweeps.
        prototypes: where to start, `(k, d)`.
        sweeps: the most sweeps to make.
        settled: it also ends when a sweep gains less than this part of the energy.
        goal: the energy to fall below.
    """
    before = math.inf
    for sweep in range(sweeps + 1):
        swept = lloyd(prototypes)
        energy = float(swept.energy)
        gain = before - energy
        if swept.moved == 0 or sweep == sweeps or gain < settled * energy:
            break
        if energy - _PATIENCE * gain > goal:
            break
        before = energy
        counts = swept.statistics["counts"].unsqueeze(1)
        means = swept.statistics["sums"].flatten(1) / counts.clamp(min=1)
        prototypes = torch.where(counts > 0, means.to(prototypes), prototypes)
    return prototypes, energy


class _Worth(NamedTuple):
    """What prototypes are good for.

    Attributes:
        codes: the code of each item, `(n,)`.
        energy: the energy of each item, `(n,)` float64.
        spent: the energy of each code's items, `(k,)`.
        rise: how much more they would have without it, `(k,)`.
    """

    codes: Tensor
    energy: Tensor
    spent: Tensor
    rise: Tensor


def _worth(lloyd: Lloyd, prototypes: Tensor) -> _Worth:
    """One pass, which serves all trials that start from these prototypes."""
    codes, spent, rise = lloyd.second(prototypes)
    energy = (lloyd.y - prototypes[codes]).square().sum(1).double()
    return _Worth(codes, energy, spent, rise)


def _exchanged(
    y: Tensor, prototypes: Tensor, worth: _Worth, many: int, generator: torch.Generator | None
) -> Tensor:
    """The prototypes with the least useful ones moved to where most energy is spent."""
    # Exponential races: drawn in proportion, so that a failed round is not tried again.
    noise = -torch.log1p(-uniform((2, len(prototypes)), generator, like=prototypes))
    full = (worth.spent / noise[0]).topk(many).indices
    rise = worth.rise * noise[1]
    rise[full] = math.inf
    spare = rise.topk(many, largest=False).indices
    trial = prototypes.clone()
    # An item of the crowded code, drawn in proportion to its energy as k-means++ does.
    trial[spare] = y[_far_items(worth, full, generator)]
    return trial


def _far_items(worth: _Worth, crowded: Tensor, generator: torch.Generator | None) -> Tensor:
    """One item of each crowded code, drawn in proportion to its energy."""
    chosen = []
    for code in crowded.tolist():
        members = torch.nonzero(worth.codes == code).flatten()
        if len(members) == 0:  # as many prototypes as distinct items: any place is as good
            members = torch.zeros(1, dtype=torch.int64, device=worth.codes.device)
        mass = worth.energy[members].cumsum(0)
        at = uniform((1,), generator, like=mass) * mass[-1]
        chosen.append(members[int(torch.searchsorted(mass, at).clamp(max=len(members) - 1))])
    return torch.stack(chosen)
