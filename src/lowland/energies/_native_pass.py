"""A pass of Lloyd's algorithm by a compiled kernel, at the speed of the product alone."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lowland._native import kernels
from lowland.energies._scored_pass import Sums

# Prototypes are padded to whole vectors of the widest kernel.
_VECTOR = 16
# Less work than this, in multiplications, is not worth a thread of its own.
_WORTH_A_THREAD = 2**22


def library_for(y: Tensor) -> ctypes.CDLL | None:
    """The kernels, if they take data like these."""
    takes = y.device.type == "cpu" and y.dtype == torch.float32 and y.is_contiguous()
    return kernels() if takes else None


class NativePass:
    """Passes that write no scores; that of an item depends on no other item nor on the threads.

    Args:
        library: the kernels.
        y: the data, `(n, *event)`, such as `library_for` wants.
        origin: what is taken from all items, `(d,)`, or None.
        held: brought up to date by every pass.
        width: which kernel, from 0 to what `lowland_widest` of the library says; None for that.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        y: Tensor,
        origin: Tensor | None,
        held: Sums,
        width: int | None = None,
    ) -> None:
        self._library, self._y, self._origin, self._held = library, y, origin, held
        self._width: int = library.lowland_widest() if width is None else width
        k, d = held.sums.shape
        stride = -(-k // _VECTOR) * _VECTOR
        self._packed, self._offset = y.new_zeros(d, stride), y.new_full((stride,), -torch.inf)
        worth = len(y) * k * d // _WORTH_A_THREAD
        self._threads = max(1, min(torch.get_num_threads(), worth))
        panel = 0 if origin is None else library.lowland_panel() * d
        self._scratch = y.new_empty(self._threads, panel)

    def __call__(self, centred: Tensor, *, afresh: bool, measure: bool) -> int:
        """As `ScoredPass` does."""
        held, k = self._held, len(centred)
        self._packed[:, :k] = centred.T
        self._offset[:k] = centred.square().sum(1) * -0.5
        if afresh:
            held.sums.zero_()
            held.counts.zero_()
        if measure:
            held.squares.zero_()
        if self._threads == 1:
            return self._run(self._y, held, self._scratch[0], afresh, measure)
        codes = held.codes.tensor_split(self._threads)
        parts = [Sums(own, *(torch.zeros_like(total) for total in held[1:])) for own in codes]
        jobs = zip(self._y.tensor_split(self._threads), parts, self._scratch, strict=True)
        with ThreadPoolExecutor(
            self._threads
        ) as pool:  # kernels run without the interpreter's lock
            runs = [pool.submit(self._run, *job, afresh, measure) for job in jobs]
        for part in parts:
            for total, more in zip(held[1:], part[1:], strict=True):
                total += more
        return sum(run.result() for run in runs)

    def _run(self, y: Tensor, held: Sums, scratch: Tensor, afresh: bool, measure: bool) -> int:
        """Some of the items, whose sums are brought up to date."""
        d = held.sums.shape[1]
        squares = held.sums.new_zeros(d)
        moved: int = self._library.lowland_lloyd(
            self._width,
            y.data_ptr(),
            len(y),
            d,
            None if self._origin is None else self._origin.data_ptr(),
            scratch.data_ptr(),
            self._packed.data_ptr(),
            self._offset.data_ptr(),
            self._offset.numel(),
            held.codes.data_ptr(),
            held.sums.data_ptr(),
            held.counts.data_ptr(),
            squares.data_ptr() if measure else None,
            afresh,
        )
        held.squares.add_(squares.sum())
        return moved
