"""Shapes `(*batch, *event)`, checked once at the public border, and chunks that bound memory."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lowland._errors import DivergedError, ShapeError

# Temporary tensors inside one question stay near this size, whatever the number of items.
CHUNK_BYTES = 32 * 2**20


def batch_shape(y: Tensor, event: tuple[int, ...], argument: str = "y") -> tuple[int, ...]:
    """The batch shape of `y` of shape `(*batch, *event)`.

    Args:
        y: the tensor to look at.
        event: the shape of one item.
        argument: what the caller's user calls `y`.

    Raises:
        ShapeError: the last axes of `y` are not `event`.

    Example:
        >>> batch_shape(torch.zeros(5, 3, 2), event=(2,))
        (5, 3)
    """
    if not isinstance(y, Tensor):
        raise ShapeError(
            f"'{argument}' must be a torch.Tensor of shape (*batch, {_inside(event)}). Got "
            f"{type(y).__name__}. Convert it with torch.as_tensor({argument})."
        )
    split = y.dim() - len(event)
    if split < 0 or tuple(y.shape[split:]) != tuple(event):
        raise ShapeError(
            f"'{argument}' must have shape (*batch, {_inside(event)}), for the energy's event is "
            f"{tuple(event)}. Got {tuple(y.shape)}. "
            f"Reshape it, or build the energy with another event."
        )
    return tuple(y.shape[:split])


def _inside(event: tuple[int, ...]) -> str:
    return ", ".join(map(str, event))


def all_finite(*values: Tensor) -> bool:
    """Whether no value is NaN or infinite.

    One sum, a pass over the values, nearly always tells; only if it is not finite, which many
    large values can bring about too, is each of them looked at.

    Example:
        >>> all_finite(torch.tensor([1.0, 2.0])), all_finite(torch.tensor([1.0, torch.nan]))
        (True, False)
    """
    sums = [part.detach().sum() for part in values]
    devices = {part.device for part in sums}
    if len(devices) == 1 and devices.pop().type != "cpu":  # to read a number there takes long
        sums = [torch.stack(sums).sum()]
    if all(math.isfinite(part) for part in map(float, sums)):
        return True
    return all(bool(torch.isfinite(part).all()) for part in values)


def require_finite(values: Tensor, what: str) -> Tensor:
    """Return `values` unchanged, or raise `DivergedError` saying which item is not finite.

    Args:
        values: any floating-point tensor whose first axis counts items.
        what: what the values are, for the message.

    Raises:
        DivergedError: a value is NaN or infinite.
    """
    if not all_finite(values):
        finite = torch.isfinite(values)
        bad = torch.nonzero(~finite)
        where = tuple(bad[0].tolist())
        raise DivergedError(
            f"{what} is not finite for {len(bad)} of {finite.numel()} value(s), the first at "
            f"index {where} ({values[where].item()}). Look at the energy's parameters and at the "
            f"size of that input; a smaller step or learning rate is the usual remedy."
        )
    return values


def flatten_batch(tensor: Tensor, batch: tuple[int, ...]) -> Tensor:
    """Turn `(*batch, ...)` into `(n, ...)`."""
    return tensor.reshape(_count(batch), *tensor.shape[len(batch) :])


def _count(batch: tuple[int, ...]) -> int:
    count = 1
    for size in batch:
        count *= size
    return count


def chunks(n: int, bytes_per_item: int, budget: int = CHUNK_BYTES) -> Iterator[slice]:
    """Slices that cover range(n), each holding about `budget` bytes of temporaries.

    Example:
        >>> [s.stop - s.start for s in chunks(5, bytes_per_item=10, budget=20)]
        [2, 2, 1]
    """
    size = max(1, budget // max(1, bytes_per_item))
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
