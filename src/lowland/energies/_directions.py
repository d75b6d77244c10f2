"""Where what is left to explain varies most: where an unused atom starts again."""

import torch
from torch import Tensor


def strongest(moments: Tensor, most: int, *, scale: Tensor) -> Tensor:
    """Directions of the largest second moments, of unit norm, the largest first, `(count, d)`.

    Args:
        moments: second moments about zero, `(d, d)`.
        most: how many directions are wanted; there are fewer if the other moments are rounding.
        scale: the size of the terms that `moments` is a sum of, a scalar.
    """
    size, direction = torch.linalg.eigh(moments)
    floor = torch.finfo(size.dtype).eps * len(size) * scale
    count = min(most, int((size > floor).sum()))
    found: Tensor = direction[:, len(size) - count :].flip(1).T
    return found
