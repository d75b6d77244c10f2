"""Sparse codes for a batch by Newton steps whose inverses follow atoms that enter and leave."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lowland.infer.active_set import Solved
from lowland.infer.entering import GROUPS, explained, highest_of_groups
from lowland.infer.lasso import Certificate, Lasso, certify
from lowland.infer.supports import Change, Gram, Supports, joined, widened

# Items that work together: enough to pay for the calls, few enough to stay in cache.
_BLOCK = 1024
# The inverses of items that start with many atoms, and those of any block of items.
_START_BYTES = 4 * 2**20
_MOST_BYTES = 64 * 2**20
# Items that are done leave a block when this share of it remains, so that it is copied seldom.
_COMPACT = 0.6
# A block is left when this share of it remains; the remains of all blocks go on together.
_REMAIN = 0.2
# An atom enters if its correlation is at least this fraction of the largest.
_FRACTION = 0.8
# float32 certificates do not reach below about 5e-6, and there Newton's step is exact anyway.
_COARSE = 3e-5
_COARSE_STEPS = 60
# Where so much is allowed, the error of a float32 certificate is nothing.
_LOOSE = 1e-3
_FINE_STEPS = 20
# Items still open after so many steps have a poor inverse, and get a new one.
_REFRESH = {torch.float32: 16, torch.float64: 4}
_SLACK = {torch.float32: 1e-6, torch.float64: 1e-12}


Finish = Callable[[Supports, Certificate], None]


def updated_inverse(
    problem: Lasso,
    target: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
    steps: int = 1000,
    dtype: torch.dtype = torch.float64,
) -> Solved:
    r"""Solve a lasso as `active_set` does, with inverses that are kept from step to step.

    An inverse follows the atoms that enter and leave by updates of low rank, so that a step costs
    the square of the number of active atoms and not its cube:

    $$\begin{pmatrix} G & g \\ g^\top & \gamma \end{pmatrix}^{-1} =
      \begin{pmatrix} G^{-1} & 0 \\ 0 & 0 \end{pmatrix} + \frac{u u^\top}{\sigma}, \qquad
      u = \begin{pmatrix} G^{-1} g \\ -1 \end{pmatrix}, \quad \sigma = \gamma - g^\top G^{-1} g$$

    Where atoms are nearly dependent σ is mostly rounding: such items may be left open, for
    `active_set` to finish.

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
        Least Angle Regression (Efron et al., 2004), https://doi.org/10.1214/009053604000000067
    """
    n, k = len(target), len(problem.atoms)
    z = target.new_zeros(n, k + 1, dtype=dtype)
    value, gap = target.new_zeros(n), target.new_zeros(n)
    made = torch.zeros(n, dtype=torch.int64, device=target.device)

    def finish(done: Supports, certified: Certificate) -> None:
        at = done.rows.unsqueeze(1) * (k + 1) + done.atoms
        # Empty places all point at the spare column.
        z.view(-1).index_copy_(0, at.view(-1), done.z.to(dtype).view(-1))
        value[done.rows], gap[done.rows] = certified.value.double(), certified.gap.double()
        made[done.rows] = done.steps

    waiting: list[Supports] = []
    coarse = _Problem(problem, torch.float32, torch.float32, max(tolerance, _COARSE))
    blocks = coarse.begin(target.float(), start)
    if tolerance >= _LOOSE:
        coarse.run(target, blocks, min(steps, _COARSE_STEPS), finish)
        return Solved(z[:, :k], value, gap, made)
    coarse.run(target, blocks, min(steps, _COARSE_STEPS), lambda s, _: waiting.append(s))
    fine = _Problem(problem, torch.float64, dtype, tolerance)
    fine.run(target, fine.merged(waiting), min(steps, _FINE_STEPS), finish)
    return Solved(z[:, :k], value, gap, made)


class _Problem:
    """A lasso in one precision."""

    def __init__(
        self, problem: Lasso, dtype: torch.dtype, rounding: torch.dtype, tolerance: float
    ) -> None:
        atoms = problem.atoms
        self.k = len(atoms)
        self.dtype, self.rounding, self.tolerance = dtype, rounding, tolerance
        self.penalty = problem.penalty
        self.entry = problem.penalty * (1 + _SLACK[dtype])
        # An atom of zeros for the empty places.
        self.atoms = torch.cat([atoms, atoms.new_zeros(1, atoms.shape[1])]).to(dtype)
        self.gram = Gram(self.atoms)

    def begin(self, target: Tensor, start: Tensor | None) -> list[Supports]:
        """Blocks of items that have, or will probably have, supports of like size.

        Args:
            target: `(n, d)`, in this precision.
            start: codes to start from, `(n, k)`, or None.
        """
        if start is not None:
            order = (start != 0).sum(1).argsort(stable=True)
            return [b for rows in order.split(_BLOCK) for b in self._warm(target, start, rows)]
        # What a single atom leaves unexplained tells how many more are needed.
        best = torch.cat([(part @ self.atoms.T).abs().amax(1) for part in target.split(_BLOCK)])
        longest = self.atoms.square().sum(1).amax()
        size = target.square().sum(1) - best.square() / longest
        none = target.new_zeros(len(target), 0, 0)
        zero = torch.zeros_like(size, dtype=torch.int64)
        every = (
            size.argsort(stable=True),
            none.flatten(1).long(),
            none.flatten(1),
            none,
            zero,
        )
        return [
            Supports(*each) for each in zip(*[part.split(_BLOCK) for part in every], strict=True)
        ]

    def _warm(self, target: Tensor, start: Tensor, rows: Tensor) -> list[Supports]:
        codes = start.index_select(0, rows).to(self.dtype)
        width = max(1, int((codes != 0).sum(1).amax()))
        fitting = max(1, min(_BLOCK, _START_BYTES // (width**2 * codes.element_size())))
        blocks = []
        for part, code in zip(rows.split(fitting), codes.split(fitting), strict=True):
            atoms = code.abs().topk(width, 1).indices
            z = code.gather(1, atoms)
            zero = torch.zeros_like(part)
            none = code.new_zeros(len(part), 0, 0)
            atoms = atoms.masked_fill(z == 0, self.k)
            at = Supports(part, atoms, z, none, zero)
            residual = target.index_select(0, part) - explained(self.atoms, at.atoms, at.z)
            slope = (self.atoms @ residual.T).gather(0, atoms.T).T
            blocks.append(self.gram.start(at, slope, self.penalty))
        return blocks

    def run(self, target: Tensor, blocks: list[Supports], steps: int, finish: Finish) -> None:
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
                stop = 0 if last else int(len(block.rows) * _REMAIN)
                points = target.index_select(0, block.rows).to(self.dtype)
                at = block._replace(z=block.z.to(self.dtype))
                left.extend(self._descend(points, at, steps, stop, finish))
            blocks = self.merged(left)

    def _size(self, at: Supports, more: int = 0) -> int:
        """How many bytes the inverses take, or would with more places."""
        return len(at.rows) * (at.atoms.shape[1] + more) ** 2 * at.inverse.element_size()

    def merged(self, parts: list[Supports]) -> list[Supports]:
        """The items of many blocks in few, those with supports of like size together."""
        blocks: list[Supports] = []
        group: list[Supports] = []
        for part in sorted(parts, key=lambda part: part.atoms.shape[1]):
            group.append(part)
            full = sum(len(each.rows) for each in group) >= _BLOCK // 2
            # With the room for more atoms by which a block is split again.
            if full or sum(self._size(each, GROUPS) for each in group) > _MOST_BYTES // 4:
                blocks.append(joined(group, self.k))
                group = []
        return [*blocks, joined(group, self.k)] if group else blocks

    def _descend(
        self, target: Tensor, at: Supports, steps: int, stop: int, finish: Finish
    ) -> list[Supports]:
        """Step until no more than `stop` items remain, or they outgrow a block; return those."""
        limit = at.steps + steps
        settle = gone = torch.zeros_like(at.rows, dtype=torch.bool)
        made = 0
        while True:
            if self.rounding != self.dtype:
                at = at._replace(z=at.z.to(self.rounding).to(self.dtype))
            residual = target - explained(self.atoms, at.atoms, at.z)
            correlation = self.atoms @ residual.T  # (k + 1, b)
            slope = correlation.gather(0, at.atoms.T).T.contiguous()
            height, entering = highest_of_groups(correlation.abs().scatter_(0, at.atoms.T, 0))
            highest = height.amax(1)
            certified = certify(
                self.penalty,
                residual.square().sum(1),
                at.z.abs().sum(1),
                (at.z * slope).sum(1),
                torch.maximum(highest, _amax(slope.abs())),
            )
            # Written so that a value that is not finite ends the search of its item.
            open_ = (certified.gap > self.tolerance) & (at.steps < limit) & ~gone
            done = torch.nonzero(~(open_ | gone)).flatten()
            if len(done):
                finish(at.take(done), Certificate(*[part[done] for part in certified]))
            gone = ~open_
            left = int(open_.sum())
            if left <= max(stop, int(_COMPACT * len(open_))):
                keep = torch.nonzero(open_).flatten()
                at = at.take(keep)
                if left <= stop:
                    return [at] if left else []
                target, slope, height, entering, highest, settle, gone, limit = (
                    part.index_select(0, keep)
                    for part in (target, slope, height, entering, highest, settle, gone, limit)
                )
                correlation = correlation.index_select(1, keep)
            if len(at.rows) > 1 and self._size(at, GROUPS) > _MOST_BYTES:
                kept = torch.nonzero(~gone).flatten()
                return [at.take(half) for half in kept.chunk(2)]
            made += 1
            if made % _REFRESH[self.dtype] == 0:
                at = self.gram.invert(at)
            enters = height >= _FRACTION * highest.unsqueeze(1)
            enters &= (height > self.entry) & ~(settle | gone).unsqueeze(1)
            entering = entering.masked_fill(~enters, self.k)
            fresh = correlation.gather(0, entering.T).T
            at, settle = self._step(at, slope, entering, fresh)

    def _step(
        self, at: Supports, slope: Tensor, entering: Tensor, correlation: Tensor
    ) -> tuple[Supports, Tensor]:
        """One step of each item, and which must settle their signs before more atoms enter."""
        change = Change.none(at)
        if bool((entering != self.k).any()):
            at, slope = self._room(at, slope, entering)
            sign = torch.where(at.z != 0, at.z, slope).sign()
            downhill = slope - self.penalty * sign
            places, way, change = self.gram.enter(at, entering, downhill)
            fresh = correlation.sign() * (entering != self.k)
            sign.scatter_add_(1, places, fresh)
            rise = (correlation - self.penalty * fresh) * (entering != self.k)
            downhill.scatter_add_(1, places, rise)
            way += change.applied(downhill.to(way.dtype))
        else:
            sign = torch.where(at.z != 0, at.z, slope).sign()
            downhill = (slope - self.penalty * sign).to(at.inverse.dtype)
            way = torch.bmm(downhill.unsqueeze(1), at.inverse).squeeze(1)
        aim = at.z + way.masked_fill_(at.atoms == self.k, 0)
        crossing = aim * sign < 0
        settle = torch.zeros_like(at.rows, dtype=torch.bool)
        if bool(crossing.any()):
            when, place = torch.where(crossing, at.z / (at.z - aim), 2.0).min(1, keepdim=True)
            leaves = when <= 1
            when = when.clamp(max=1)
            change, share = change.leave(at, place, leaves)
            here = torch.lerp(at.z, aim, when)
            # The rest of the way, as it is without the atom that leaves.
            rest = torch.addcmul(way, way.gather(1, place), share, value=-1) * (1 - when)
            at.atoms.scatter_add_(1, place, (self.k - at.atoms.gather(1, place)) * leaves)
            gone = at.atoms == self.k
            here = here.masked_fill_(gone, 0)
            aim = here + rest.masked_fill_(gone, 0)
            again = aim * sign < 0
            settle = again.any(1)
            if bool(settle.any()):
                part = torch.where(again, here / (here - aim), 1.0)
                short = part.amin(1, keepdim=True)
                aim = torch.where(again & (part == short), 0, here + short * (aim - here))
        self.gram.update(at, change)
        return at._replace(z=aim, steps=at.steps + 1), settle

    def _room(self, at: Supports, slope: Tensor, entering: Tensor) -> tuple[Supports, Tensor]:
        """With an empty place for every atom that enters."""
        new = (entering != self.k).sum(1)
        lacking = int((new - (at.atoms == self.k).sum(1)).amax())
        if lacking <= 0:
            return at, slope
        width = at.atoms.shape[1] + lacking + (GROUPS if at.atoms.shape[1] else 0)
        return widened(at, width, self.k), functional.pad(slope, (0, width - slope.shape[1]))


def _amax(values: Tensor) -> Tensor:
    return values.amax(1) if values.shape[1] else values.new_zeros(len(values))
