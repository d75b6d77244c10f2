"""Where prototypes start: data points, as they are or moved to where little energy is left."""

import math

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._random import integers, permutation, uniform
from lowland.energies._refining import first_sample, grow, restarts, swap

STARTS = ("swap", "growing", "k-means++", "random")


def seed_prototypes(y: Tensor, k: int, start: str, generator: torch.Generator | None) -> Tensor:
    """K points to start from in the space of the data `(n, d)`, `(k, d)`.

    With "k-means++", each next point is drawn with probability proportional to its squared distance
    from those already chosen, the best of 2 + log k candidates being kept. "growing" goes on with
    Lloyd's algorithm on growing samples, where they can stand for the data, and "swap" then moves
    useless prototypes to where most energy is left; full sweeps over the data remain to be made.

    Raises:
        DomainError: k is not between 1 and n, or the start is unknown.

    Reference:
        k-means++: The Advantages of Careful Seeding (Arthur and Vassilvitskii, 2007),
        https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf
    """
    n = len(y)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n:
        raise DomainError(
            f"'k' must be a whole number between 1 and the number of items, {n}. Got {k!r}. "
            f"Ask for fewer prototypes or give more data."
        )
    if start not in STARTS:
        raise DomainError(f"The 'start' of the prototypes must be one of {STARTS}. Got {start!r}.")
    if start == "random":
        return y[permutation(n, generator, like=y)[:k]].clone()
    if start == "k-means++":
        return _plus_plus(y, k, generator)
    if start == "growing":
        return _grown(y, k, generator)
    starts = restarts(n, y.shape[1], k)
    tried = [swap(y, _grown(y, k, generator), generator) for _ in range(starts)]
    return min(tried, key=lambda each: each[1])[0]


def _grown(y: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """k-means++ on a sample, and Lloyd's algorithm on growing ones."""
    return grow(y, _plus_plus(first_sample(y, k, generator), k, generator), generator)


def _plus_plus(y: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    y = y - (shift := y.mean(0))
    squares = y.square().sum(1)
    trials = 2 + int(math.log(k))
    chosen = torch.empty(k, dtype=torch.int64, device=y.device)
    chosen[0] = integers(len(y), (1,), generator, like=y)[0]
    closest = (squares + squares[chosen[0]] - 2 * (y @ y[chosen[0]])).clamp_(min=0)
    for i in range(1, k):
        mass = closest.double().cumsum(0)
        if float(mass[-1]) > 0:
            points = uniform((trials,), generator, like=mass)
            candidates = torch.searchsorted(mass, points * mass[-1]).clamp_(max=len(y) - 1)
        else:  # every item is chosen already, or equals one that is: any point does
            candidates = integers(len(y), (1,), generator, like=y)
        distances = torch.addmm(squares, y[candidates], y.T, alpha=-2)
        distances += squares[candidates].unsqueeze(1)
        distances = torch.minimum(distances.clamp_(min=0), closest)
        best = int(distances.sum(1).argmin())
        chosen[i], closest = candidates[best], distances[best]
    return y[chosen] + shift
