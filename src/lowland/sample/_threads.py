"""How many threads chains are moved with: one where the work is small, else as many as are set.

Threads have to be woken and waited for in each operation, which takes longer than a small operation
itself; and far longer when the other cores are busy. What is large is counted, never timed, so that
the same chains are always moved by the same code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lowland._recording.lifetimes import views

# From so many multiplications and additions in one operation, a tenth of a millisecond of a core,
# it gains more than it loses by being shared.
_SHARED = 1e7
# A number that is only looked at, as in a sum or an activation, takes as long as so many of them.
_NUMBER = 100.0
# For each kind of batch, the work of the largest operation found.
Works = dict[object, float]


class Largest(TorchDispatchMode):
    """Notes the largest operation that runs inside, in multiplications and additions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and count what it takes."""
        from torch.utils.flop_counter import flop_registry

        out = func(*args, **(kwargs or {}))
        if views(func):
            return out
        parts = out if isinstance(out, tuple | list) else (out,)
        work = _NUMBER * sum(part.numel() for part in parts if isinstance(part, Tensor))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            work = max(work, float(count(*args, **(kwargs or {}), out_val=out)))
        self.work = max(self.work, work)
        return out


@contextmanager
def weighed(works: Works, y: Tensor) -> Iterator[None]:
    """A block that works on batches like y once, to note how much that is.

    It is counted once for each kind of batch, and only where it would change anything.
    """
    if _key(y) in works or y.device.type != "cpu" or torch.get_num_threads() == 1:
        yield
        return
    with Largest() as largest:
        yield
    works[_key(y)] = largest.work


@contextmanager
def threads_for(works: Works, y: Tensor) -> Iterator[None]:
    """A block that works on batches like y, with one thread where that was found to be small.

    Afterwards there are as many as before. The number of threads belongs to the process: other
    Python threads have one too as long as this lasts.
    """
    set_before = torch.get_num_threads()
    if set_before == 1 or works.get(_key(y), _SHARED) >= _SHARED:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(set_before)


def _key(y: Tensor) -> object:
    return y.shape, y.dtype, y.device
