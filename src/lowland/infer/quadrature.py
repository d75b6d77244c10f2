"""Integrals over a z of one or two elements, by cells that are halved where they must be."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import DivergedError
from lowland.energy import Energy
from lowland.infer.curvature import Wells
from lowland.infer.points import Points
from lowland.infer.smooth import energies_of
from lowland.latent import Ball, Continuous, Sparse

# By the number of elements of z: cells along an axis at first, points along an axis of a cell, and
# the relative change on halving at which a cell is fine enough; the halves are kept, whose own
# error is that change divided by 2^(2 · order) where E is smooth.
_CELLS = {1: 16, 2: 6}
_ORDER = {1: 10, 2: 6}
_TOLERANCE = {1: 1e-11, 2: 1e-6}
_HALVINGS = 40
# An item may have so many cells; what is missing then is in the error.
_MOST_CELLS = 4000
# A cell with a mode in it must not be wider than so many widths of the mode.
_WIDTHS = 6.0
# Points that matter less than exp(-40) of the greatest are left out.
_NEGLIGIBLE = 40.0
# An error that says the integral was not found at all.
_HOPELESS = 1e-2


def quadrature(
    energy: Energy, latent: Continuous, y: Tensor, x: Tensor | None, beta: float, wells: Wells
) -> Points:
    """Points for items `(n, *event)`, fine around every mode.

    A cell is halved until its integral stops changing, by Gauss–Legendre rules. An unbounded Z is
    mapped to a square around the lowest mode, a disc by its radius and angle.

    Raises:
        DivergedError: the integral does not converge, as where E does not rise at infinity.
    """
    chart = _chart(latent, wells)
    dimension = latent.m
    cells = _first_cells(chart, len(y), dimension, y)
    known = _Known(energy, y, x, beta, chart, dimension)
    before = torch.logsumexp(known.look(cells).term, 1)
    total = _gather(before, cells.item, len(y))
    settled: list[_Looked] = []
    settled_log = torch.full_like(total, -torch.inf)
    error = torch.zeros_like(total)
    rounding = 32 * torch.finfo(y.dtype).eps * (1 + beta * wells.energy[:, 0].abs())
    tolerance = rounding.clamp(min=_TOLERANCE[dimension])
    used = torch.zeros(len(y), dtype=torch.int64, device=y.device)
    for _ in range(_HALVINGS):
        children = _halve(cells)
        looked = known.look(children)
        child = torch.logsumexp(looked.term, 1)
        after = torch.logsumexp(child.reshape(len(cells.item), -1), 1)
        total = torch.logaddexp(settled_log, _gather(after, cells.item, len(y)))
        change = ((before - total[cells.item]).exp() - (after - total[cells.item]).exp()).abs()
        used += torch.bincount(children.item, minlength=len(y))
        full = used[cells.item] > _MOST_CELLS
        done = (change <= tolerance[cells.item]) & ~chart.too_wide(cells) | full
        error.index_add_(0, cells.item[done], change[done])
        family = done.repeat_interleave(2**dimension)
        settled.append(_Looked(*[part[family] for part in looked]))
        settled_log = torch.logaddexp(settled_log, _gather(after[done], cells.item[done], len(y)))
        if bool(done.all()):
            break
        cells = _Cells(*[part[~family] for part in children])
        before = child[~family]
    else:
        error.index_add_(0, cells.item, torch.ones_like(before))
    if not bool((error <= _HOPELESS).all()):
        bad = int(torch.nonzero(~(error <= _HOPELESS))[0])
        raise DivergedError(
            f"The integral of exp(-{beta:g} E) over {latent} does not converge for item {bad}: its "
            f"relative error is {float(error[bad]):.2g}. Where E does not rise at infinity there "
            f"is no F_beta: use a Ball or a Normal latent."
        )
    return _pack(settled, len(y), error, wells.mode[:, 0])


class _Cells(NamedTuple):
    """Boxes of the chart, each of one item: `(c,)`, `(c, m)` and `(c, m)`."""

    item: Tensor
    centre: Tensor
    half: Tensor


class _Looked(NamedTuple):
    """The points of cells: `(c,)`, `(c, p, m)`, and three of `(c, p)`."""

    item: Tensor
    z: Tensor
    log_weight: Tensor
    energy: Tensor
    term: Tensor


class _Known(NamedTuple):
    """What does not change while cells are halved."""

    energy: Energy
    y: Tensor
    x: Tensor | None
    beta: float
    chart: "_Chart"
    dimension: int

    def look(self, cells: _Cells) -> _Looked:
        nodes, log_weight = _rule(_ORDER[self.dimension], self.dimension, self.y)
        place = cells.centre.unsqueeze(1) + cells.half.unsqueeze(1) * nodes
        z, log_jacobian = self.chart.to_z(cells.item, place)
        size = cells.half.log().sum(1, keepdim=True)
        log_weight = log_weight + size + log_jacobian
        count = z.shape[1]
        value = energies_of(
            self.energy, self.y, self.x, cells.item.repeat_interleave(count), z.flatten(0, 1)
        ).reshape(-1, count)
        return _Looked(cells.item, z, log_weight, value, log_weight - self.beta * value)


def _rule(order: int, dimension: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre points on [-1, 1]^m, `(p, m)`, and the logs of their weights, `(p,)`.

    Reference:
        Calculation of Gauss Quadrature Rules (Golub and Welsch, 1969),
        https://doi.org/10.1090/S0025-5718-69-99647-1
    """
    k = torch.arange(1, order, dtype=torch.float64)
    off = k / (4 * k.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(off.diag(1) + off.diag(-1))
    weights = 2 * vectors[0].square()
    points = torch.stack(torch.meshgrid(*[nodes] * dimension, indexing="ij"), -1)
    shares = torch.stack(torch.meshgrid(*[weights] * dimension, indexing="ij"), -1)
    return points.flatten(0, -2).to(like), shares.flatten(0, -2).log().sum(-1).to(like)


class _Chart(NamedTuple):
    """A map from the square [-1, 1]^m onto Z: around the lowest mode, or a ball about zero."""

    wells: Wells
    radius: float | None
    places: Tensor | None
    breaks: Tensor | None

    def to_z(self, item: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Points z of cells `(c, p, m)`, and log |dz / dplace|, `(c, p)`."""
        if self.radius is not None:
            return _ball(place, self.radius)
        square = place.square()
        stretched = place / (1 - square)
        scale = self.wells.scale[item, 0]
        z = self.wells.mode[item, 0].unsqueeze(1) + stretched @ scale.mT
        stretch = ((1 + square) / (1 - square).square()).log().sum(-1)
        return z, stretch + self.wells.log_determinant[item, 0].unsqueeze(1)

    def too_wide(self, cells: _Cells) -> Tensor:
        """Whether a cell holds or touches a mode much narrower than itself, `(c,)` bool."""
        steps = torch.eye(cells.half.shape[1], dtype=cells.half.dtype, device=cells.half.device)
        # A cell that reaches infinity is measured just inside.
        reach = 0.999 * cells.half.unsqueeze(1) * steps
        ahead, _ = self.to_z(cells.item, cells.centre.unsqueeze(1) + reach)
        behind, _ = self.to_z(cells.item, cells.centre.unsqueeze(1) - reach)
        width = (ahead - behind).norm(dim=2).amax(1, keepdim=True)
        # Its neighbours too, for a mode on an edge lies half in each. They are told by z in a ball,
        # where angles close up, and by their places in the square that has infinity at its edge.
        if self.places is None:
            middle, _ = self.to_z(cells.item, cells.centre.unsqueeze(1))
            close = (self.wells.mode[cells.item] - middle).norm(dim=2) <= width
        else:
            away = (self.places[cells.item] - cells.centre.unsqueeze(1)).abs()
            close = (away <= 2 * cells.half.unsqueeze(1)).all(2)
        wide = width > _WIDTHS * self.wells.narrowest[cells.item]
        found: Tensor = (close & wide).any(1)
        return found


def _chart(latent: Continuous, wells: Wells) -> _Chart:
    if isinstance(latent, Ball):
        return _Chart(wells, latent.radius, None, None)
    scale, lowest = wells.scale[:, 0], wells.mode[:, :1]
    places = _shrink(torch.linalg.solve(scale, (wells.mode - lowest).mT).mT)
    if not isinstance(latent, Sparse):
        return _Chart(wells, None, places, None)
    # The kinks lie on the axes, which the cells follow: the scale is diagonal.
    origin = torch.linalg.solve(scale, -lowest.mT).squeeze(2)
    return _Chart(wells, None, places, _shrink(origin))


def _shrink(stretched: Tensor) -> Tensor:
    """The inverse of t / (1 − t²) on (-1, 1)."""
    return 2 * stretched / (1 + (1 + 4 * stretched.square()).sqrt())


def _ball(place: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    if place.shape[-1] == 1:
        return place * radius, torch.full_like(place[..., 0], math.log(radius))
    length = radius * (1 + place[..., 0]) / 2
    angle = math.pi * place[..., 1]
    z = torch.stack([length * angle.cos(), length * angle.sin()], -1)
    return z, length.log() + math.log(radius / 2 * math.pi)


def _first_cells(chart: _Chart, n: int, dimension: int, like: Tensor) -> _Cells:
    edges = torch.linspace(-1, 1, _CELLS[dimension] + 1, dtype=like.dtype, device=like.device)
    each = edges.expand(n, dimension, len(edges))
    if chart.breaks is not None:
        each = torch.cat([each, chart.breaks.unsqueeze(2)], 2).sort(2).values
    centre, half = (each[..., 1:] + each[..., :-1]) / 2, (each[..., 1:] - each[..., :-1]) / 2
    count = centre.shape[2]
    index = torch.cartesian_prod(*[torch.arange(count, device=like.device)] * dimension)
    index = index.reshape(-1, dimension)
    axes = torch.arange(dimension, device=like.device)
    item = torch.arange(n, device=like.device).repeat_interleave(len(index))
    cells = _Cells(item, centre[:, axes, index].flatten(0, 1), half[:, axes, index].flatten(0, 1))
    whole = (cells.half > 0).all(1)
    return _Cells(*[part[whole] for part in cells])


def _halve(cells: _Cells) -> _Cells:
    dimension = cells.centre.shape[1]
    sides = torch.tensor([-0.5, 0.5], dtype=cells.half.dtype, device=cells.half.device)
    corners = torch.cartesian_prod(*[sides] * dimension).reshape(-1, dimension)
    centre = cells.centre.unsqueeze(1) + cells.half.unsqueeze(1) * corners
    half = (cells.half / 2).unsqueeze(1).expand_as(centre)
    item = cells.item.repeat_interleave(len(corners))
    return _Cells(item, centre.flatten(0, 1), half.flatten(0, 1))


def _gather(log_terms: Tensor, item: Tensor, n: int) -> Tensor:
    """Logs of the sums over the cells of each item, `(n,)`; -inf where there is none."""
    most = log_terms.new_full((n,), -torch.inf).scatter_reduce(0, item, log_terms, "amax")
    safe = torch.where(most > -torch.inf, most, 0.0)
    sums = torch.zeros_like(most).index_add_(0, item, (log_terms - safe[item]).exp())
    return sums.log() + safe


def _pack(settled: list[_Looked], n: int, error: Tensor, anywhere: Tensor) -> Points:
    """All points that matter, one row an item, filled up with points of no weight."""
    count = settled[0].z.shape[1]
    item = torch.cat([part.item for part in settled]).repeat_interleave(count)
    z = torch.cat([part.z.flatten(0, 1) for part in settled])
    log_weight, energy, term = (
        torch.cat([getattr(part, name).flatten() for part in settled])
        for name in ("log_weight", "energy", "term")
    )
    most = term.new_full((n,), -torch.inf).scatter_reduce(0, item, term, "amax")
    keep = torch.nonzero(term >= most[item] - _NEGLIGIBLE).flatten()
    keep = keep[item[keep].argsort(stable=True)]
    item = item[keep]
    counts = torch.bincount(item, minlength=n)
    column = torch.arange(len(item), device=item.device) - (counts.cumsum(0) - counts)[item]
    width = int(counts.max())
    rows = anywhere.unsqueeze(1).repeat(1, width, 1)
    rows[item, column] = z[keep]
    weights = log_weight.new_full((n, width), -torch.inf)
    weights[item, column] = log_weight[keep]
    values = energy.new_zeros(n, width)
    values[item, column] = energy[keep]
    return Points(rows, weights, values, error, torch.full_like(error, torch.inf))
