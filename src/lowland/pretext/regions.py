"""Names for the parts of a datum that are usually observed."""

import torch
from torch import Tensor

from lowland._errors import DomainError

HALVES = ("left", "right", "top", "bottom")


def region(name: str, event: tuple[int, ...], *, columns: tuple[str, ...] | None = None) -> Tensor:
    """The mask that a name stands for: True where a datum is observed.

    Args:
        name: "left", "right", "top" or "bottom" for halves of an image (left and right also for
            the first and second half of a vector), or columns of a vector by name or number, joined
            by commas, with ranges such as "0-3".
        event: the shape of one datum.
        columns: the names of a vector's elements, if they have names.

    Returns:
        Bool, shaped like one datum.

    Raises:
        DomainError: the name means nothing for this event, or observes everything.

    Example:
        >>> region("left", (1, 1, 4))
        tensor([[[ True,  True, False, False]]])
        >>> region("0,2-3", (5,))
        tensor([ True, False,  True,  True, False])
        >>> region("age", (2,), columns=("age", "income"))
        tensor([ True, False])
    """
    observed = torch.zeros(event, dtype=torch.bool)
    if name in HALVES and len(event) >= (1 if name in ("left", "right") else 2):
        axis = -1 if name in ("left", "right") else -2
        half = event[axis] // 2
        first = name in ("left", "top")
        observed.narrow(axis, 0 if first else half, half if first else event[axis] - half).fill_(
            True
        )
    elif len(event) == 1:
        for part in name.split(","):
            observed[_columns(part.strip(), event[0], columns)] = True
    else:
        raise DomainError(
            f"'observed' must be one of {HALVES} for data of event {event}. Got {name!r}."
        )
    if bool(observed.all()) or not bool(observed.any()):
        raise DomainError(
            f"'observed' = {name!r} must show some elements of event {event} and hide some."
        )
    return observed


def _columns(part: str, size: int, names: tuple[str, ...] | None) -> list[int]:
    if names is not None and part in names:
        return [names.index(part)]
    first, dash, last = part.partition("-")
    last = last if dash else first
    if first.isdecimal() and last.isdecimal() and int(first) <= int(last) < size:
        return list(range(int(first), int(last) + 1))
    known = ", ".join(names[:10]) if names else f"0 to {size - 1}"
    raise DomainError(f"'observed' names a column {part!r} that is not there. Columns: {known}.")
