"""Choose how to find sparse codes with a linear decoder; every answer carries its duality gap."""

import torch
from torch import Tensor

from lowland.capabilities import LinearDecoder
from lowland.infer.active_set import Solved, active_set
from lowland.infer.lasso import Lasso, certificate, lasso, targets
from lowland.infer.result import Inference
from lowland.infer.search import Search
from lowland.infer.shrinkage import FISTA, shrink_until
from lowland.latent import Sparse

# The active-set method gathers from the atoms' Gram matrix, which must fit in memory.
_GRAM_BYTES = 2**29
# Newton's method takes about as many steps as there are active atoms. An item that needs many more
# goes round in circles, which equal atoms can bring about.
_NEWTON_STEPS = 300


@torch.no_grad()
def solve_sparse(latent: Sparse, decoder: LinearDecoder, y: Tensor, search: Search) -> Inference:
    """The best code of each item to a relative duality gap that is computed in float64.

    Args:
        latent: the penalty.
        decoder: the atoms.
        y: `(n, *event)`.
        search: where to start, how long to search and how close to come.
    """
    problem, target = lasso(latent, decoder), targets(decoder, y)
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
    found = active_set(
        problem,
        target,
        start=search.start,
        tolerance=search.tolerance,
        steps=min(search.steps, _NEWTON_STEPS),
        dtype=dtype,
    )
    rest = torch.nonzero(~(found.gap <= search.tolerance)).flatten()
    if len(rest) and search.steps > _NEWTON_STEPS:
        again = _shrink(problem, target[rest], dtype, search, None)
        better = rest[again.gap < found.gap[rest]]
        for whole, part in zip(found, again, strict=True):
            whole[better] = part[torch.isin(rest, better)]
    return found


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
