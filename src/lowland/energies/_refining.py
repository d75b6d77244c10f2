"""Better places to start prototypes: Lloyd on growing samples, then swaps of useless ones."""

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
_SWAP_PART = 0.25
_SWAP_ITEMS = 4096
_SWAP_ROUNDS = 40
# Where it does not, a round costs as much as several full sweeps.
_WHOLE_ROUNDS = 5
_SWAP_FAILURES = 5
_SWAP_SWEEPS = 4
# On few data a sweep costs little, on very few next to nothing, so more is tried.
_SMALL, _SMALL_FAILURES = 2**23, 40
_TINY, _TINY_FAILURES = 2**18, 100
_SMALL_ROUNDS = 400
# Samples are left when a sweep gains less than this part of the energy.
_SETTLED = 1e-3
_SWEEPS = 100


def sampling_pays(n: int, d: int, k: int) -> bool:
    """Whether a sample of n items in d dimensions is as good as all of them, for k prototypes."""
    return n >= _ITEMS_PER_PROTOTYPE * k and d <= _DIMENSIONS


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


def swap(y: Tensor, prototypes: Tensor, generator: torch.Generator | None) -> Tensor:
    """Take away the prototypes that save least energy, and put them where most is spent.

    A round moves several at once, makes a few sweeps and is kept if the energy fell; else the next
    round moves half as many. So prototypes leave the places that have too many, which Lloyd's
    algorithm alone cannot do.

    Reference:
        The Breathing K-Means Algorithm (Fritzke, 2020), https://arxiv.org/abs/2006.15666
    """
    k = len(prototypes)
    if k < 2:
        return prototypes
    rounds, failures, settled = _SWAP_ROUNDS, _SWAP_FAILURES, _SETTLED
    sampled = sampling_pays(len(y), y.shape[1], k)
    if sampled:
        size = max(_FIRST * k, min(_SWAP_ITEMS * k, int(_SWAP_PART * len(y))))
        y = y[permutation(len(y), generator, like=y)[:size]]
    products = len(y) * k * y.shape[1]
    if products <= _SMALL:
        failures = _TINY_FAILURES if products <= _TINY else _SMALL_FAILURES
        rounds, settled = _SMALL_ROUNDS, 0.0
    elif not sampled:
        rounds = _WHOLE_ROUNDS
    lloyd = Lloyd(y, k)
    prototypes, least = descend(lloyd, prototypes, _SWEEPS, settled)
    many, failed = max(1, k // 10), 0
    for _ in range(rounds):
        trial = _exchanged(lloyd, prototypes, many, generator)
        sweeps = _SWAP_SWEEPS if settled else _SWEEPS
        trial, energy = descend(lloyd, trial, sweeps, settled)
        if energy < least * (1 - 1e-7):
            prototypes, least, failed = trial, energy, 0
            continue
        failed += 1
        if many > 1:
            many //= 2
        elif failed >= failures:
            break
    return prototypes


def descend(lloyd: Lloyd, prototypes: Tensor, sweeps: int, settled: float) -> tuple[Tensor, float]:
    """Lloyd's algorithm, and the energy that the prototypes have in the end."""
    before = float("inf")
    for sweep in range(sweeps + 1):
        swept = lloyd(prototypes)
        energy = float(swept.energy)
        if swept.moved == 0 or sweep == sweeps or before - energy < settled * energy:
            break
        before = energy
        counts = swept.statistics["counts"].unsqueeze(1)
        means = swept.statistics["sums"].flatten(1) / counts.clamp(min=1)
        prototypes = torch.where(counts > 0, means.to(prototypes), prototypes)
    return prototypes, energy


def _exchanged(
    lloyd: Lloyd, prototypes: Tensor, many: int, generator: torch.Generator | None
) -> Tensor:
    """The prototypes with the least useful ones moved to where most energy is spent."""
    k = len(prototypes)
    codes, spent, rise = lloyd.second(prototypes)
    # Exponential races: drawn in proportion, so that a failed round is not tried again.
    noise = -torch.log1p(-uniform((2, k), generator, like=prototypes))
    full = (spent / noise[0]).topk(many).indices
    rise = rise * noise[1]
    rise[full] = float("inf")
    spare = rise.topk(many, largest=False).indices
    trial = prototypes.clone()
    # An item of the crowded code, drawn in proportion to its energy as k-means++ does.
    trial[spare] = _far_items(lloyd.y, codes, prototypes, full, generator)
    return trial


def _far_items(
    y: Tensor,
    codes: Tensor,
    prototypes: Tensor,
    crowded: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """One item of each crowded code, drawn in proportion to its energy."""
    energy = (y - prototypes[codes]).square().sum(1).double()
    chosen = []
    for code in crowded.tolist():
        members = torch.nonzero(codes == code).flatten()
        if len(members) == 0:  # as many prototypes as distinct items: any place is as good
            members = torch.zeros(1, dtype=torch.int64, device=y.device)
        mass = energy[members].cumsum(0)
        at = uniform((1,), generator, like=mass) * mass[-1]
        chosen.append(members[int(torch.searchsorted(mass, at).clamp(max=len(members) - 1))])
    return y[torch.stack(chosen)]
