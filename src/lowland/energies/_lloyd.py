"""Passes of Lloyd's algorithm over fixed data, near the speed of one matrix product each."""

import math

import torch
from torch import Tensor

from lowland.capabilities import Swept
from lowland.energies._nearest import best_rows, block_rows, nearest

# Scores may misplace items by their rounding. A pass is believed if that cannot have raised the
# energy by more than this many units in the last place (1e-3 of it in float32, 2e-12 in float64).
_TRUSTED = 8192
# Sums are corrected for the items that moved if fewer than this part did, else taken afresh.
_FEW = 0.25
# A float32 sum of no more than about this many items keeps its digits.
_PENDING = 16384
_ORIGIN_ITEMS = 4096


class Lloyd:
    r"""One fused pass: the best code of each item, the sums by code and the energy.

    $$\\min_j \\|y - c_j\\|^2 = \\|y\\|^2 - 2 \\max_j (\\langle c_j, y \\rangle - \\|c_j\\|^2 / 2)$$

    Scores live in one reused block, so no n × k matrix exists, and Σ‖y‖² is taken once. Sums are in
    the data's precision inside a block and in float64 across blocks. Where the scores lose too many
    digits (prototypes close to one another and far from the rest), passes compare distances.

    Args:
        y: the data, `(n, *event)`; neither copied nor changed.
        k: the number of prototypes.
    """

    def __init__(self, y: Tensor, k: int) -> None:
        self.y = y
        self.k = k
        self.d = y[0].numel()
        self.codes = torch.full((len(y),), -1, dtype=torch.int64, device=y.device)
        self.moved = len(y)
        # Double precision is asked for where the last digits matter: there ties go to the first.
        self.by_distance = y.dtype == torch.float64
        on_cpu = y.device.type == "cpu"
        self._rows = block_rows(k, self.d, y.element_size()) * (1 if on_cpu else 16)
        # Each thread reduces one block.
        self._blocks = torch.get_num_threads() if on_cpu else 1
        self._size = min(self._rows * self._blocks, max(1, len(y)))
        self._scores = y.new_empty(self._size * k)
        self._origin = _origin(y.reshape(len(y), -1)[:: max(1, len(y) // _ORIGIN_ITEMS)])
        self._centred = None if self._origin is None else y.new_empty(self._size, self.d)
        self._sums: Tensor | None = None
        self._squares = torch.zeros((), dtype=torch.float64, device=y.device)
        for start in range(0, len(y), self._size):
            block = self._block(start).view(-1)
            self._squares += torch.dot(block, block)

    def __call__(self, prototypes: Tensor) -> Swept:
        """One pass with prototypes `(k, d)`; the sums have shape `(k, *event)`."""
        if not self.by_distance:
            energy, trusted = self._by_score(prototypes)
            if trusted:
                return self._swept(energy)
            self.by_distance = True
        return self._swept(self._by_distance(prototypes))

    def second(self, prototypes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each prototype is good for, from the second-best prototypes of its items.

        Returns:
            The codes `(n,)`, the energy of each code's items `(k,)`, and how much more they would
            have without it `(k,)`.
        """
        codes = torch.empty_like(self.codes)
        centred, offset = self._frame(prototypes)
        spent, rise = offset.new_zeros(self.k), offset.new_zeros(self.k)
        for start in range(0, len(self.y), self._size):
            points = self._block(start)
            scores = self._score(points, centred, offset)
            best, index = best_rows(scores)
            runner_up = (
                scores.scatter_(-2, index.view(*scores.shape[:-2], 1, -1), -math.inf)
                .amax(-2)
                .flatten()
            )
            spent.index_add_(0, index, points.square().sum(1) - 2 * best)
            rise.index_add_(0, index, 2 * (best - runner_up))
            codes[start : start + self._size] = index
        return codes, spent, rise

    def _block(self, start: int) -> Tensor:
        part = self.y[start : start + self._size]
        points = part.reshape(len(part), self.d).contiguous()
        if self._origin is None or self._centred is None:
            return points
        return torch.sub(points, self._origin, out=self._centred[: len(points)])

    def _frame(self, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        if self._origin is not None:
            prototypes = prototypes - self._origin
        return prototypes, prototypes.square().sum(1, keepdim=True) * -0.5

    def _score(self, points: Tensor, prototypes: Tensor, offset: Tensor) -> Tensor:
        rows = self._rows
        whole = len(points) == rows * self._blocks and self._blocks > 1
        if not whole:
            out = self._scores[: self.k * len(points)].view(self.k, len(points))
            return torch.addmm(offset, prototypes, points.T, out=out)
        shape = (self._blocks, self.k, rows)
        return torch.baddbmm(
            offset.expand(self._blocks, -1, 1),
            prototypes.expand(self._blocks, -1, -1),
            points.view(self._blocks, rows, self.d).transpose(1, 2),
            out=self._scores.view(shape),
        )

    def _by_score(self, prototypes: Tensor) -> tuple[Tensor, bool]:
        centred, offset = self._frame(prototypes)
        few = self._sums is not None and self.moved < _FEW * len(self.y)
        sums = self._sums if few and self._sums is not None else centred.new_zeros(0)
        if not few:
            sums = torch.zeros_like(centred, dtype=torch.float64)
        partial = torch.zeros_like(centred)
        gained = torch.zeros((), dtype=torch.float64, device=self.y.device)
        moved = pending = 0
        for start in range(0, len(self.y), self._size):
            points = self._block(start)
            best, index = best_rows(self._score(points, centred, offset))
            gained += best.sum()
            before = self.codes[start : start + self._size]
            changed = torch.nonzero(index != before).flatten()
            moved += len(changed)
            if not few:
                partial.index_add_(0, index, points)
                pending += len(points)
            elif len(changed):
                chosen = points[changed]
                partial.index_add_(0, index[changed], chosen)
                partial.index_add_(0, before[changed], chosen, alpha=-1)
                pending += len(changed)
            before.copy_(index)
            if pending >= max(_PENDING, 4 * self.k):
                sums += partial
                partial.zero_()
                pending = 0
        self._sums, self.moved = sums + partial, moved
        energy = self._squares - 2 * gained
        counts = torch.bincount(self.codes, minlength=self.k)
        sizes = self._squares - 2 * (offset.flatten().double() * counts).sum()
        eps = torch.finfo(centred.dtype).eps
        misplaced = 4 * eps * (1 + math.sqrt(self.d)) * sizes
        return energy, bool(misplaced <= _TRUSTED * eps * energy)

    def _by_distance(self, prototypes: Tensor) -> Tensor:
        centred, _ = self._frame(prototypes)
        sums = torch.zeros_like(centred, dtype=torch.float64)
        energy = torch.zeros((), dtype=torch.float64, device=self.y.device)
        moved = 0
        for start in range(0, len(self.y), self._size):
            points = self._block(start)
            index = nearest(points, centred)
            energy += (points - centred[index]).square().sum(dtype=torch.float64)
            before = self.codes[start : start + self._size]
            moved += int((index != before).sum())
            before.copy_(index)
            sums.index_add_(0, index, points.double())
        self._sums, self.moved = sums, moved
        return energy

    def _swept(self, energy: Tensor) -> Swept:
        counts = torch.bincount(self.codes, minlength=self.k).double()
        sums = self._sums if self._sums is not None else counts.new_zeros(self.k, self.d)
        if self._origin is not None:
            sums = sums + counts.unsqueeze(1) * self._origin.double()
        statistics = {"sums": sums.reshape(self.k, *self.y.shape[1:]), "counts": counts}
        return Swept(self.codes, energy, statistics, self.moved)


def _origin(sample: Tensor) -> Tensor | None:
    """Where to put the origin, if the data lie so far from it that scores would lose digits."""
    centre = sample.mean(0)
    spread = (sample - centre).square().sum(1).mean()
    return centre if bool(centre.square().sum() > spread) else None
