"""Choose how to find sparse codes with a linear decoder; every answer carries its duality gap."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lowland._shapes import require_finite
from lowland.capabilities import LinearDecoder
from lowland.infer.active_set import Solved, active_set
from lowland.infer.lasso import Lasso, certificate, lasso, targets
from lowland.infer.native_lasso import library_for, native_lasso
from lowland.infer.result import Inference
from lowland.infer.search import Search
from lowland.infer.shrinkage import FISTA, shrink_until
from lowland.infer.updated_inverse import updated_inverse
from lowland.latent import Sparse

# The active-set method gathers from the atoms' Gram matrix, which must fit in memory.
_GRAM_BYTES = 2**29
# Newton's method takes about as many steps as there are active atoms. An item that needs many more
# goes round in circles, which equal atoms can bring about.
_NEWTON_STEPS = 300


@torch.no_grad()
def solve_sparse(latent: Sparse, decoder: LinearDecoder, y: Tensor, search: Search) -> Inference:
    """The best code of each item to a relative duality gap.

    The gap is computed in float64; only where the tolerance is 1e-3 or more, and the error of
    float32 nothing beside it, the active-set method computes it in float32.

    Args:
        latent: the penalty.
        decoder: the atoms.
        y: `(n, *event)`.
        search: where to start, how long to search and how close to come.

    Raises:
        DivergedError: the dictionary is not finite.
    """
    problem, target = lasso(latent, decoder), targets(decoder, y)
    require_finite(problem.atoms, "The dictionary, an atom in each row,")
    if latent.penalty == 0:
        found = _unpenalised(problem, target, y.dtype)
    elif len(problem.atoms) ** 2 * problem.atoms.element_size() <= _GRAM_BYTES:
        found = _newton(problem, target, y.dtype, search)
    else:
        found = _shrink(problem, target, y.dtype, search, search.start)
    converged = found.gap <= search.tolerance
    return Inference(
        found.z, found.value.to(y.dtype), found.gap.to(y.dtype), converged, found.steps
    )


def _unpenalised(problem: Lasso, target: Tensor, dtype: torch.dtype) -> Solved:
    """Least squares, with the shortest code where the atoms leave a choice."""
    z = (target @ torch.linalg.pinv(problem.atoms)).to(dtype)
    found = certificate(problem, target, z.double())
    return Solved(z, found.value, found.gap, torch.zeros(len(z), dtype=torch.int64))


def _newton(problem: Lasso, target: Tensor, dtype: torch.dtype, search: Search) -> Solved:
    """By the fastest method, and what it leaves open by slower ones that stand more."""
    library = library_for(target)
    fastest = updated_inverse if library is None else partial(native_lasso, library)
    found = fastest(
        problem,
        target,
        start=search.start,
        tolerance=search.tolerance,
        steps=search.steps,
        dtype=dtype,
    )
    if search.steps > int(found.steps.max()):
        steps = min(search.steps, _NEWTON_STEPS)
        _again(
            found,
            search.tolerance,
            lambda rest: active_set(
                problem,
                target[rest],
                tolerance=search.tolerance,
                steps=steps,
                dtype=dtype,
            ),
        )
    if search.steps > _NEWTON_STEPS:
        shrink = search._replace(start=None)
        _again(
            found,
            search.tolerance,
            lambda rest: _shrink(problem, target[rest], dtype, shrink, None),
        )
    return found


def _again(found: Solved, tolerance: float, solve: Callable[[Tensor], Solved]) -> None:
    """Solve the items that are still open once more, in place, and keep what is better."""
    rest = torch.nonzero(~(found.gap <= tolerance)).flatten()
    if len(rest):
        fresh = solve(rest)
        better = torch.nonzero(~(found.gap[rest] <= fresh.gap)).flatten()
        for whole, part in zip(found, fresh, strict=True):
            whole[rest[better]] = part[better]


def _shrink(
    problem: Lasso, target: Tensor, dtype: torch.dtype, search: Search, start: Tensor | None
) -> Solved:
    return shrink_until(
        FISTA(search.steps),
        problem,
        target,
        start=start,
        tolerance=search.tolerance,
        dtype=dtype,
    )
