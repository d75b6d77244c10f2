"""Is this normal? The free energy of each item."""

import math

import torch
from torch import Tensor

from lowland._shapes import chunks, require_finite
from lowland.ask._border import asked
from lowland.energy import Energy
from lowland.infer import check_beta, eliminate

# How many times larger than its input the inside of a network is taken to be, to bound memory.
_WIDTH = 16


def score(
    energy: Energy,
    y: Tensor,
    *,
    x: Tensor | None = None,
    beta: float = math.inf,
    measure: str = "mean",
) -> Tensor:
    r"""How incompatible each item is with what the energy has learned: low is normal.

    $$\mathrm{score}(x, y) = F_\beta(x, y)$$

    The same number as `lowland.free_energy`, asked without gradients.

    Args:
        energy: any energy.
        y: `(*batch, *event)`.
        x: `(*batch, ...)`, or None.
        beta: inverse temperature; inf is min over z.
        measure: "mean" or "sum", as in `lowland.free_energy`.

    Returns:
        `(*batch,)`.

    Raises:
        ShapeError: y or x has the wrong shape.
        DomainError: y is empty, not finite, of the wrong dtype or outside the domain.
        DivergedError: a score is not finite.

    Example:
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0, 0.0]]))
        >>> score(energy, torch.tensor([[3.0, 4.0]]))
        tensor([25.])
    """
    check_beta(beta, measure)
    with asked(energy, y, x) as a:
        parts = []
        for part in chunks(len(a.y), _WIDTH * a.y[0].numel() * a.y.element_size()):
            x_part = None if a.x is None else a.x[part]
            parts.append(eliminate(a.energy, a.y[part], x_part, beta=beta, measure=measure))
        return require_finite(torch.cat(parts).reshape(a.batch), "The score")
