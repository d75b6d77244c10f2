"""Sparse codes for a batch by Newton steps on each item's own few active atoms."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lowland._shapes import chunks
from lowland.infer.entering import explained, highest_of_groups
from lowland.infer.lasso import Certificate, Lasso, certify

# Items that work together: few enough for their correlations to stay in cache.
_BLOCK = 512
# A block is left when this share of it remains; the remains of all blocks go on together.
_REMAIN = 4
# An atom enters if its correlation is at least this fraction of the largest.
_FRACTION = 0.85
# float32 certificates do not reach below about 5e-6, and there Newton's step is exact anyway.
_COARSE = 3e-5
_COARSE_STEPS = 60
# Relative to the squared length of an atom: keeps equal atoms from making the system singular.
_RIDGE = {torch.float32: 1e-6, torch.float64: 1e-11}
_SLACK = {torch.float32: 1e-6, torch.float64: 1e-12}
# Gathered Gram matrices of a block stay near this size.
_GATHERED_BYTES = 64 * 2**20


class Support(NamedTuple):
    """Sparse codes of some items, each with its own atoms.

    Attributes:
        rows: which items, `(b,)`.
        atoms: their atoms, `(b, s)`; the number of atoms k where a place is empty.
        z: the coefficients, `(b, s)`; 0 where a place is empty.
        steps: how many steps each has taken, `(b,)`.
    """

    rows: Tensor
    atoms: Tensor
    z: Tensor
    steps: Tensor

    def take(self, chosen: Tensor) -> "Support":
        """Some of the items."""
        return Support(*[part[chosen] for part in self])

    def to(self, dtype: torch.dtype) -> "Support":
        """With coefficients of another precision."""
        return self._replace(z=self.z.to(dtype))


class Solved(NamedTuple):
    """What `active_set` found.

    Attributes:
        z: codes, `(n, k)`, in the dtype asked for.
        value: P(z), `(n,)` float64.
        gap: the relative duality gap of exactly these codes, `(n,)` float64.
        steps: how many steps each item took, `(n,)` int64.
    """

    z: Tensor
    value: Tensor
    gap: Tensor
    steps: Tensor


def active_set(
    problem: Lasso,
    target: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
    steps: int = 1000,
    dtype: torch.dtype = torch.float64,
) -> Solved:
    r"""Solve a lasso for every item to a relative duality gap, by a batched active-set method.

    With the signs of the active coefficients held, P is quadratic, and a step goes to its minimum:

    $$z_A \leftarrow z_A + (A_A^\top A_A)^{-1} (A_A^\top r - \lambda \operatorname{sign} z_A)$$

    Where a coefficient would change its sign the step ends at the best of the points where one
    becomes zero, and that atom leaves. Otherwise the atoms that correlate most with the residual
    enter. Items are solved in float32 first, then finished and certified in float64.

    Args:
        problem: the atoms and the penalty, float64.
        target: `(n, d)`, float64.
        start: codes to start from, `(n, k)`.
        tolerance: the relative duality gap to reach.
        steps: the most steps an item may take.
        dtype: of the codes that are returned, and certified as such.

    Returns:
        Solved: codes with certificates; a gap above the tolerance where the steps ran out.

    Reference:
        Efficient Sparse Coding Algorithms (Lee et al., 2006),
        https://papers.nips.cc/paper/2979-efficient-sparse-coding-algorithms
    """
    n, k = len(target), len(problem.atoms)
    z = target.new_zeros(n, k, dtype=dtype)
    value, gap = target.new_zeros(n), target.new_zeros(n)
    made = torch.zeros(n, dtype=torch.int64, device=target.device)

    def finish(done: Support, certified: Certificate) -> None:
        rows, _, coefficients, count = done
        # Adding, for the empty places of a row all point at one spare column.
        dense = coefficients.new_zeros(len(rows), k + 1)
        z[rows] = dense.scatter_add_(1, done.atoms, coefficients)[:, :k].to(dtype)
        value[rows], gap[rows], made[rows] = certified.value, certified.gap, count

    waiting: list[Support] = []
    coarse = _Problem(problem, torch.float32, torch.float32, max(tolerance, _COARSE))
    starts = _starts(start, n, k, target.device)
    coarse.run(target, starts, min(steps, _COARSE_STEPS), lambda s, _: waiting.append(s))
    fine = _Problem(problem, torch.float64, dtype, tolerance)
    fine.run(target, _merge(waiting, k), steps, finish)
    return Solved(z, value, gap, made)


def _starts(start: Tensor | None, n: int, k: int, device: torch.device) -> list[Support]:
    rows = torch.arange(n, device=device)
    blocks = []
    for part in rows.split(_BLOCK):
        steps = torch.zeros_like(part)
        if start is None:
            empty = torch.zeros(len(part), 0, device=device)
            blocks.append(Support(part, empty.long(), empty, steps))
        else:
            codes = start[part].float()
            most = int((codes != 0).sum(1).amax())
            index = codes.abs().topk(most, 1).indices
            z = codes.gather(1, index)
            blocks.append(Support(part, index.masked_fill(z == 0, k), z, steps))
    return blocks


def _merge(parts: list[Support], k: int) -> list[Support]:
    """Blocks of about equal size, items with supports of like size together."""
    blocks: list[Support] = []
    group: list[Support] = []
    for part in sorted(parts, key=lambda part: part.atoms.shape[1]):
        group.append(part)
        if sum(len(each.rows) for each in group) >= _BLOCK:
            blocks.extend(_join(group, k))
            group = []
    return blocks + (_join(group, k) if group else [])


def _join(group: list[Support], k: int) -> list[Support]:
    width = max(part.atoms.shape[1] for part in group)
    index, z = [], []
    for part in group:
        missing = (0, width - part.atoms.shape[1])
        index.append(functional.pad(part.atoms, missing, value=k))
        z.append(functional.pad(part.z, missing))
    rows = torch.cat([part.rows for part in group])
    steps = torch.cat([part.steps for part in group])
    whole = Support(rows, torch.cat(index), torch.cat(z), steps)
    return [whole.take(chosen) for chosen in torch.arange(len(rows)).split(_BLOCK)]


class _Problem:
    """A lasso in one precision, with an atom of zeros for the empty places."""

    def __init__(
        self, problem: Lasso, dtype: torch.dtype, rounding: torch.dtype, tolerance: float
    ) -> None:
        atoms = problem.atoms
        self.k = len(atoms)
        self.dtype, self.rounding, self.tolerance = dtype, rounding, tolerance
        self.penalty = problem.penalty
        self.entry = problem.penalty * (1 + _SLACK[dtype])
        self.atoms = torch.cat([atoms, atoms.new_zeros(1, atoms.shape[1])]).to(dtype)
        gram = self.atoms @ self.atoms.T
        squared = gram.diagonal()
        squared.add_(_RIDGE[dtype] * squared.amax().clamp(min=torch.finfo(dtype).tiny))
        squared[self.k] = 0
        self.gram = gram.flatten()

    def run(
        self,
        target: Tensor,
        blocks: list[Support],
        steps: int,
        finish: Callable[[Support, Certificate], None],
    ) -> None:
        """Solve all blocks, the stragglers of many together.

        Args:
            target: `(n, d)`.
            blocks: where the items stand.
            steps: the most steps an item may take here.
            finish: called with items that reached the tolerance or ran out of steps.
        """
        while blocks:
            last = len(blocks) == 1
            left = []
            for block in blocks:
                stop = 0 if last else len(block.rows) // _REMAIN
                points = target[block.rows].to(self.dtype)
                rest = self._descend(points, block.to(self.dtype), steps, stop, finish)
                if rest is not None:
                    left.append(rest)
            blocks = _merge(left, self.k)

    def _descend(
        self,
        target: Tensor,
        at: Support,
        steps: int,
        stop: int,
        finish: Callable[[Support, Certificate], None],
    ) -> Support | None:
        """Step until no more than `stop` items remain, and return those."""
        limit = at.steps + steps
        settle = torch.zeros_like(at.rows, dtype=torch.bool)
        while True:
            if self.rounding != self.dtype:
                at = at._replace(z=at.z.to(self.rounding).to(self.dtype))
            residual = target - explained(self.atoms, at.atoms, at.z)
            correlation = self.atoms @ residual.T  # (k + 1, b)
            active = correlation.T.gather(1, at.atoms)
            correlation = correlation.abs_().scatter_(0, at.atoms.T, 0)
            height, entering = highest_of_groups(correlation)
            largest = torch.maximum(height.amax(1), _amax(active.abs()))
            certified = certify(
                self.penalty,
                residual.square().sum(1),
                at.z.abs().sum(1),
                (at.z * active).sum(1),
                largest,
            )
            # Written so that a value that is not finite ends the search of its item.
            open_ = (certified.gap > self.tolerance) & (at.steps < limit)
            keep = torch.nonzero(open_).flatten()
            if len(keep) < len(open_):
                done = torch.nonzero(~open_).flatten()
                finish(at.take(done), Certificate(*[part[done] for part in certified]))
                at, target, residual = at.take(keep), target[keep], residual[keep]
                active, height, entering = active[keep], height[keep], entering[keep]
                settle, limit = settle[keep], limit[keep]
            if len(keep) <= stop:
                return at if len(keep) else None
            enter = height >= _FRACTION * height.amax(1, keepdim=True)
            enter &= (height > self.entry) & ~settle.unsqueeze(1)
            at, settle = self._step(at, active, residual, entering.masked_fill(~enter, self.k))

    def _step(
        self, at: Support, active: Tensor, residual: Tensor, entering: Tensor
    ) -> tuple[Support, Tensor]:
        fresh = torch.bmm(self.atoms[entering], residual.unsqueeze(2)).squeeze(2)
        index = torch.cat([at.atoms, entering], 1)
        z = torch.cat([at.z, torch.zeros_like(fresh)], 1)
        slope = torch.cat([active, fresh], 1)
        empty = index == self.k
        width = max(1, int((~empty).sum(1).amax()))
        if width < index.shape[1]:
            order = empty.to(torch.int8).argsort(dim=1, stable=True)[:, :width]
            index, z, slope = (part.gather(1, order) for part in (index, z, slope))
        parts = [
            self._newton(index[rows], z[rows], slope[rows])
            for rows in chunks(len(z), 3 * width**2 * z.element_size(), _GATHERED_BYTES)
        ]
        z = torch.cat([part[0] for part in parts])
        settle = torch.cat([part[1] for part in parts])
        return Support(at.rows, index.masked_fill(z == 0, self.k), z, at.steps + 1), settle

    def _newton(self, index: Tensor, z: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """New coefficients, and which items must settle their signs before atoms enter."""
        aim, sign, gram = self._minimum(index, z, slope)
        new = (z == 0) & (index < self.k)
        wrong = torch.nonzero((new & (aim * sign <= 0)).any(1)).flatten()
        if len(wrong):
            # One atom that enters alone takes the sign of its correlation; several may not.
            lone = (slope[wrong].abs() * new[wrong]).argmax(1, keepdim=True)
            drop = new[wrong].scatter(1, lone, False)
            index[wrong] = index[wrong].masked_fill(drop, self.k)
            slope[wrong] = slope[wrong].masked_fill(drop, 0)
            aim[wrong], sign[wrong], gram[wrong] = self._minimum(
                index[wrong], z[wrong], slope[wrong]
            )
        crossing = aim * sign < 0
        settle = crossing.any(1)
        rows = torch.nonzero(settle).flatten()
        if len(rows):
            aim[rows] = self._shorten(z[rows], aim[rows], slope[rows], gram[rows], crossing[rows])
        return aim, settle

    def _minimum(self, index: Tensor, z: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The minimum for fixed signs, the signs, and the atoms' Gram matrices."""
        sign = torch.where(z != 0, z, slope).sign()
        gram = self.gram.take(index.unsqueeze(2) * (self.k + 1) + index.unsqueeze(1))
        gram.diagonal(dim1=1, dim2=2).add_((index == self.k).to(self.dtype))
        factor, _ = torch.linalg.cholesky_ex(gram)
        downhill = (slope - self.penalty * sign).unsqueeze(2)
        return z + torch.cholesky_solve(downhill, factor).squeeze(2), sign, gram

    def _shorten(
        self, z: Tensor, aim: Tensor, slope: Tensor, gram: Tensor, crossing: Tensor
    ) -> Tensor:
        """The best point on the way where a coefficient becomes zero, or where all of them do.

        The second gets rid of many atoms at once, which a code to start from may need.
        """
        way = aim - z
        when = torch.where(crossing, z / (z - aim), 1.0)  # (b, s)
        curvature = (way * torch.bmm(gram, way.unsqueeze(2)).squeeze(2)).sum(1, keepdim=True)
        rate = -(slope * way).sum(1, keepdim=True)
        lengths = (z.unsqueeze(1) + when.unsqueeze(2) * way.unsqueeze(1)).abs().sum(2)
        values = curvature / 2 * when.square() + rate * when + self.penalty * lengths
        value, best = values.min(1, keepdim=True)
        first = when.gather(1, best)
        single = torch.where(crossing & (when == first), 0, z + first * way)
        clipped = aim.masked_fill(crossing, 0)
        jump = clipped - z
        bent = torch.bmm(gram, jump.unsqueeze(2)).squeeze(2) / 2 - slope
        reached = (jump * bent + self.penalty * clipped.abs()).sum(1, keepdim=True)
        return torch.where(reached < value, clipped, single)


def _amax(values: Tensor) -> Tensor:
    return values.amax(1) if values.shape[1] else values.new_zeros(len(values))
