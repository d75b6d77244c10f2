"""The nearest prototype of each point, near the speed of one matrix product."""

import math

import torch
from torch import Tensor

from lowland._shapes import require_finite

# The block of scores that stays in cache while it is reduced.
_BLOCK_BYTES = 2**20
_MOST_ROWS = 8192
_MOST_BYTES = 2**23
# Three lines of cache in float32.
_SKEW = 48
# Products of at least this many rows, in whole vectors, give a row the same bits wherever it stands
# in them.
_FEWEST_ROWS = 256
_VECTOR = 16
# A squared distance below this part of the squares it is made of has lost too many digits.
_UNSURE = 0.02


def nearest(y: Tensor, prototypes: Tensor) -> Tensor:
    r"""The index of the nearest prototype, the first one on ties.

    $$\arg\min_j \|y - c_j\|^2 = \arg\max_j \, \langle c_j, y \rangle - \|c_j\|^2 / 2$$

    The scores lose digits where prototypes lie close to one another, so points for which two codes
    come out within rounding of each other are decided by their distances.

    Args:
        y: `(n, d)`.
        prototypes: `(k, d)`.

    Returns:
        `(n,)` int64.

    Raises:
        DivergedError: a prototype is not finite; no point would be nearest to it.
    """
    require_finite(prototypes, "A prototype, a row of all of them,")
    index, close = _by_score(y, prototypes)
    rows = torch.nonzero(close).flatten()
    # k distances for each doubtful row; in blocks, for all may be doubtful (equal prototypes).
    size = max(1, _BLOCK_BYTES // (8 * max(1, prototypes.numel())))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        distances = (y[part].unsqueeze(1) - prototypes).square().sum(-1)
        index[part] = distances.argmin(-1)
    return index


def squared_distances(y: Tensor, prototypes: Tensor) -> Tensor:
    """All squared distances from `(n, d)` to `(k, d)`, differentiable, `(n, k)`.

    They come from one matrix product; rows in which that would leave less than about five digits of
    a distance (in float32) are taken from the differences instead.
    """
    # Distances do not feel a common shift, and near the origin the product loses fewer digits.
    centre = prototypes.mean(0)
    c, p = prototypes - centre, y - centre
    sizes = p.square().sum(1, keepdim=True) + c.square().sum(1)
    table = (sizes - 2 * p @ c.T).clamp(min=0)
    unsure = torch.nonzero((table < _UNSURE * sizes).any(1)).flatten()
    if len(unsure) == 0:
        return table
    size = max(1, 4 * _BLOCK_BYTES // (y.element_size() * max(1, prototypes.numel())))
    exact = [(y[part].unsqueeze(1) - prototypes).square().sum(-1) for part in unsure.split(size)]
    return table.index_put((unsure,), torch.cat(exact))


def _by_score(y: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    n, k = len(y), len(prototypes)
    centre = prototypes.mean(0)
    shifted = prototypes - centre
    offset = (shifted.square().sum(1) * -0.5).unsqueeze(1)
    index = torch.empty(n, dtype=torch.int64, device=y.device)
    close = torch.empty(n, dtype=torch.bool, device=y.device)
    # A product of d terms is off by at most about d·eps·|c|·|y|; sqrt(d) is the usual size.
    rounding = 4 * torch.finfo(y.dtype).eps * math.sqrt(y.shape[1]) + 4 * torch.finfo(y.dtype).eps
    largest = shifted.square().sum(1).amax()
    size = block_rows(k, y.shape[1], y.element_size())
    for start in range(0, n, size):
        part = slice(start, min(n, start + size))
        points = y[part] - centre
        scores = torch.addmm(offset, shifted, points.T)  # (k, rows)
        best, index[part] = best_rows(scores)
        slack = rounding * (points.square().sum(1) + largest)
        close[part] = (scores >= best - slack).sum(0) > 1
    return index, close


def block_rows(k: int, d: int, element_size: int) -> int:
    """How many points to score at once, so that a block stays in cache.

    The block is k scores of each point, which are reduced; the points, which may be written there
    anew, are fewer than `_MOST_BYTES`. It is somewhat shorter than a power of two: scores of one
    point by two codes lie a block's length apart, and a power of two would put them all into the
    same few lines of cache.
    """
    fitting = min(_BLOCK_BYTES // k, _MOST_BYTES // d) // element_size
    power = 1 << int(math.log2(max(1, fitting)))
    return max(2 * _FEWEST_ROWS, min(_MOST_ROWS, power)) - _SKEW


def padded_rows(n: int) -> int:
    """How many rows to multiply where n are asked for, so that each gets the bits it always gets.

    Short products, and the odd rows at the end of any, add up their terms in another order.
    """
    return max(_FEWEST_ROWS, -(-n // _VECTOR) * _VECTOR)


def best_rows(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest score of each column of `(*blocks, k, rows)` and its row, the first one on ties.

    On a CPU, max-pooling over channels-last memory gives the same answer as `max` several times
    faster, for `max` with indices is not vectorised there; it runs on one thread a block.
    """
    if scores.device.type != "cpu":
        best = scores.max(-2)
        return best.values.flatten(), best.indices.flatten()
    return best_of_channels(as_channels(scores))


def as_channels(scores: Tensor) -> Tensor:
    """Scores `(*blocks, k, rows)` as images `(blocks, rows, k, 1)` with the channels last."""
    k, rows = scores.shape[-2:]
    return scores.view(-1, k, 1, rows).permute(0, 3, 1, 2)


def best_of_channels(images: Tensor) -> tuple[Tensor, Tensor]:
    """`best_rows` of what `as_channels` returned, on a CPU."""
    pooled, where = torch.nn.functional.max_pool2d_with_indices(images, (images.shape[2], 1))
    return pooled.flatten(), where.flatten()
