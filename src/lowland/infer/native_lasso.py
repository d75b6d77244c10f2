"""Sparse codes by a compiled kernel, item by item."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lowland._native import kernels
from lowland.infer.active_set import Solved
from lowland.infer.lasso import Lasso

# Items whose inner products with all atoms are taken at once.
_BLOCK_BYTES = 2**20
# An item that needs many more steps than it has atoms goes round in circles.
_MOST_STEPS = 300


def library_for(target: Tensor) -> ctypes.CDLL | None:
    """The kernels, if they take targets like these."""
    return kernels() if target.device.type == "cpu" and target.dtype == torch.float64 else None


def native_lasso(
    library: ctypes.CDLL,
    problem: Lasso,
    target: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
    steps: int = 1000,
    dtype: torch.dtype = torch.float64,
    width: int | None = None,
) -> Solved:
    r"""Solve a lasso as `updated_inverse` does, in double precision throughout.

    An item's code depends on no other item. Where atoms are nearly dependent items may be left
    open, for `active_set` to finish.

    Args:
        library: the kernels.
        problem: the atoms and the penalty, float64.
        target: `(n, d)`, float64.
        start: codes to start from, `(n, k)`.
        tolerance: the relative duality gap to reach.
        steps: the most steps an item may take.
        dtype: of the codes that are returned, and certified as such.
        width: which kernel, from 0 to what `lowland_widest` of the library says; None for that.

    Returns:
        Solved: codes with certificates; a gap above the tolerance where the steps ran out.
    """
    n, k = len(target), len(problem.atoms)
    atoms, target = problem.atoms.contiguous(), target.contiguous()
    gram = atoms @ atoms.T
    z = target.new_zeros(n, k)
    value, gap = target.new_empty(2, n).unbind()
    made = torch.empty(n, dtype=torch.int64)
    kind: int = library.lowland_widest() if width is None else width

    def run(rows: slice) -> int:
        known = target[rows]
        inner = known @ atoms.T
        begun = None if start is None else start[rows].double().contiguous()
        failed: int = library.lowland_lasso(
            kind,
            gram.data_ptr(),
            atoms.data_ptr(),
            k,
            atoms.shape[1],
            problem.penalty,
            tolerance,
            min(steps, _MOST_STEPS),
            dtype == torch.float32,
            known.data_ptr(),
            inner.data_ptr(),
            None if begun is None else begun.data_ptr(),
            len(known),
            z[rows].data_ptr(),
            value[rows].data_ptr(),
            gap[rows].data_ptr(),
            made[rows].data_ptr(),
        )
        return failed

    size = max(1, _BLOCK_BYTES // (8 * k))
    blocks = [slice(start, min(n, start + size)) for start in range(0, n, size)]
    threads = min(torch.get_num_threads(), len(blocks))
    if threads <= 1:
        failed = any([run(rows) for rows in blocks])
    else:
        with ThreadPoolExecutor(threads) as pool:  # kernels run without the interpreter's lock
            failed = any(list(pool.map(run, blocks)))
    if failed:
        raise MemoryError(f"No memory for the inverse of {atoms.shape[1]} active atoms.")
    return Solved(z.to(dtype), value, gap, made)
