"""F_beta of a continuous z without a formula: quadrature, importance sampling, or annealing."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.energy import Energy
from lowland.infer.annealed import annealed
from lowland.infer.curvature import Wells, measure_wells
from lowland.infer.importance import evenly, importance
from lowland.infer.points import Points, blocks, free_energy_at, select
from lowland.infer.quadrature import quadrature
from lowland.latent import Ball, Continuous

# Quadrature in so many dimensions.
_QUADRATURE = 2
# Draws at first, and where they were worth too little; and how much is enough.
_DRAWS = (1024, 8192)
_ENOUGH = 100.0
_CHAINS = 64
# Numbers held at once, in items times points times elements of z.
_HELD = 4 * 2**20
_POINTS_OF_QUADRATURE = 8192

FindModes = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Marginal(NamedTuple):
    """F_beta and how it was found.

    Attributes:
        value: `(n,)`, differentiable.
        standard_error: `(n,)`.
        effective_sample_size: `(n,)`; inf where nothing was drawn.
        methods: the method of each item.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    methods: list[str]


class _Found(NamedTuple):
    """Points for some of the items."""

    rows: Tensor
    points: Points
    method: str


def marginalize(
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    measure: str,
    modes: FindModes,
    generator: torch.Generator | None,
) -> Marginal:
    """F_beta of items `(n, *event)`, in blocks that bound memory.

    Args:
        energy: the energy.
        latent: its latent.
        y: `(n, *event)`.
        x: `(n, ...)`, or None.
        beta: inverse temperature, in [0, inf); 0 needs a Z of finite volume.
        measure: "mean", for a Z of finite volume, or "sum".
        modes: finds modes `(n, s, m)` and their energies `(n, s)` of some items, lowest first.
        generator: random draws; the same at every call if None.
    """
    per_item = latent.m * (_POINTS_OF_QUADRATURE if latent.m <= _QUADRATURE else _DRAWS[1])
    log_volume = latent.log_volume() if measure == "mean" else None
    parts = []
    for block in blocks(len(y), max(1, _HELD // per_item)):
        y_block, x_block = y[block], None if x is None else x[block]
        with torch.no_grad():
            found = _find(energy, latent, y_block, x_block, beta, modes, generator)
        parts.append(_collect(energy, y_block, x_block, found, beta, log_volume))
    return Marginal(
        value=torch.cat([part.value for part in parts]),
        standard_error=torch.cat([part.standard_error for part in parts]),
        effective_sample_size=torch.cat([part.effective_sample_size for part in parts]),
        methods=[method for part in parts for method in part.methods],
    )


def _collect(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    found: list[_Found],
    beta: float,
    log_volume: float | None,
) -> Marginal:
    rows = torch.cat([part.rows for part in found])
    order = rows.argsort()
    values = []
    for part in found:
        x_part = None if x is None else x[part.rows]
        values.append(free_energy_at(energy, y[part.rows], x_part, part.points, beta, log_volume))
    value = torch.cat(values)[order]
    error = torch.cat([_error(part.points, beta) for part in found])[order]
    size = torch.cat([part.points.effective_sample_size for part in found])[order]
    methods = [part.method for part in found for _ in range(len(part.rows))]
    return Marginal(value, error, size, [methods[i] for i in order.tolist()])


def _error(points: Points, beta: float) -> Tensor:
    if beta == 0:
        spread = points.energy.std(1) / math.sqrt(points.energy.shape[1])
        return torch.where(torch.isinf(points.effective_sample_size), points.error, spread)
    return points.error / beta


def _find(
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    modes: FindModes,
    generator: torch.Generator | None,
) -> list[_Found]:
    rows = torch.arange(len(y), device=y.device)
    found: list[_Found] = []
    if isinstance(latent, Ball) and latent.m > _QUADRATURE:
        points = evenly(energy, latent, y, x, beta, _DRAWS[1], generator)
        enough = points.effective_sample_size >= points.z.shape[1] / 2
        rows = _settle(found, rows, enough, points, "importance")
    if len(rows) and latent.m <= _QUADRATURE:
        wells = _wells(energy, latent, y, x, beta, modes, rows)
        x_rows = None if x is None else x[rows]
        points = quadrature(energy, latent, y[rows], x_rows, beta, wells)
        return [*found, _Found(rows, points, "quadrature")]
    if len(rows) == 0:
        return found
    wells = _wells(energy, latent, y, x, beta, modes, rows)
    for count in _DRAWS:
        points = _in_turn(importance, energy, latent, y, x, beta, wells, rows, count, generator)
        enough = points.effective_sample_size >= _ENOUGH
        wells = Wells(*[part[~enough] for part in wells])
        rows = _settle(found, rows, enough, points, "importance")
        if len(rows) == 0:
            return found
    points = _in_turn(annealed, energy, latent, y, x, beta, wells, rows, _CHAINS, generator)
    return [*found, _Found(rows, points, "annealed importance")]


def _settle(
    found: list[_Found], rows: Tensor, enough: Tensor, points: Points, method: str
) -> Tensor:
    """Keep the points of the items for which they are enough; return the other items."""
    if bool(enough.any()):
        found.append(_Found(rows[enough], select(points, enough), method))
    return rows[~enough]


def _wells(
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    modes: FindModes,
    rows: Tensor,
) -> Wells:
    y_rows, x_rows = y[rows], None if x is None else x[rows]
    mode, value = modes(y_rows, x_rows)
    return measure_wells(energy, latent, y_rows, x_rows, mode, value, beta)


Method = Callable[
    [
        Energy,
        Continuous,
        Tensor,
        Tensor | None,
        float,
        Wells,
        int,
        torch.Generator | None,
    ],
    Points,
]


def _in_turn(
    method: Method,
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    wells: Wells,
    rows: Tensor,
    count: int,
    generator: torch.Generator | None,
) -> Points:
    """Draw for the items of `rows`, so many at a time that memory is bounded."""
    parts = []
    per_item = count * (latent.m + y[0].numel()) * wells.mode.shape[1]
    for block in blocks(len(rows), max(1, _HELD // per_item)):
        chosen = rows[block]
        x_rows = None if x is None else x[chosen]
        those = Wells(*[part[block] for part in wells])
        parts.append(method(energy, latent, y[chosen], x_rows, beta, those, count, generator))
    return Points(*[torch.cat(each) for each in zip(*parts, strict=True)])
