"""Passes of Lloyd's algorithm over fixed data, near the speed of one matrix product each."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.capabilities import Swept
from lowland.energies._nearest import (
    as_channels,
    best_of_channels,
    best_rows,
    block_rows,
    nearest,
    padded_rows,
)

# Scores may misplace items by their rounding. A pass is believed if that cannot have raised the
# energy by more than this many units in the last place (1e-3 of it in float32, 2e-12 in float64).
_TRUSTED = 8192
# If fewer than this part of the items moved in one pass, the next finds those that move without the
# index of every item's best code.
_RARE = 0.1
# Short items are sooner added up afresh than found and corrected, unless few of them moved.
_SHORT = 64
# On no more numbers than this a fresh sum costs little, and a resumed run ends at the same bits.
_FRESH = 2**22
# Items in double precision stay in cache between their conversion and their sum.
_EXACT_BYTES = 2**18


class _Block(NamedTuple):
    """Items that are scored together, and views of the memory in which they are.

    Attributes:
        given: the items as given, `(m, *event)`.
        points: the items as they are scored, `(m, d)`.
        padded: the points, perhaps with ones beside them and other rows below, `(wide, columns)`.
        columns: the same as the factor of a product, `(columns, wide)` or by threads.
        codes: their codes, `(m,)`, and `own`, the same as an index into the scores.
        own: see `codes`.
        scores: `(k, wide)` or by threads, and `images`, the same as `best_of_channels` takes it.
        images: see `scores`.
    """

    given: Tensor
    points: Tensor
    padded: Tensor
    columns: Tensor
    codes: Tensor
    own: Tensor
    scores: Tensor
    images: Tensor


class Lloyd:
    r"""One fused pass: the best code of each item, the sums by code and the energy.

    $$\min_j \|y - c_j\|^2 = \|y\|^2 - 2 \max_j (\langle c_j, y \rangle - \|c_j\|^2 / 2)$$

    Scores live in one reused block, so no n × k matrix exists. Σ‖y‖² is taken once, and the energy
    follows from it and the sums S and counts N:
    $$\textstyle\sum_i \min_j \|y_i - c_j\|^2 =
      \sum_i \|y_i\|^2 - 2 \sum_j \langle c_j, S_j \rangle + \sum_j N_j \|c_j\|^2$$

    Once few items move, a pass asks of each item only whether some code scores higher than its own,
    which needs no index of the highest; those that move are scored again, together, for their new
    codes, and the sums are corrected for them.

    Sums are in float64, and the score of an item does not depend on the items around it. So rows
    that are split over blocks of a stream, or over processes, get the codes of the whole, and the
    prototypes differ by no more than the rounding of float64. Where the scores lose too many digits
    (prototypes close to one another and far from the rest), passes compare distances.

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
        self._sums = torch.zeros(k, self.d, dtype=torch.float64, device=y.device)
        self._counts = torch.zeros(k, dtype=torch.float64, device=y.device)
        self._squares = torch.zeros((), dtype=torch.float64, device=y.device)
        self._measured = False
        self._layout: list[_Block] = []

    def __call__(self, prototypes: Tensor) -> Swept:
        """One pass with prototypes `(k, d)`; the sums have shape `(k, *event)`."""
        if not self._layout:
            self._lay_out(prototypes)
        moved = 0
        # Prototypes may have left the place that the origin was chosen for: that is tried once.
        for again in range(0 if self.by_distance else 2):
            if again:
                self._lay_out(prototypes)
            energy, trusted = self._by_score(prototypes)
            moved = self.moved = max(moved, self.moved)
            if trusted:
                return self._swept(energy)
        self.by_distance = True
        energy = self._by_distance(prototypes)
        self.moved = max(moved, self.moved)
        return self._swept(energy)

    def second(self, prototypes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each prototype is good for, from the second-best prototypes of its items.

        Returns:
            The codes `(n,)`, the energy of each code's items `(k,)`, and how much more they would
            have without it `(k,)`.
        """
        if not self._layout:
            self._lay_out(prototypes)
        codes = []
        factor, offset = self._frame(prototypes)
        spent, rise = prototypes.new_zeros(self.k), prototypes.new_zeros(self.k)
        for block in self._filled():
            m = len(block.points)
            scores = self._score(block, factor, offset)
            best, index = best_rows(scores)
            scores.scatter_(-2, index.view(*scores.shape[:-2], 1, -1), -math.inf)
            best, index, runner_up = best[:m], index[:m], scores.amax(-2).flatten()[:m]
            spent.index_add_(0, index, block.points.square().sum(1) - 2 * best)
            rise.index_add_(0, index, 2 * (best - runner_up))
            codes.append(index)
        return torch.cat(codes), spent, rise

    def _lay_out(self, prototypes: Tensor) -> None:
        """Views of everything that a pass touches, made once: a pass over 1M items has hundreds."""
        y, k, d, n = self.y, self.k, self.d, len(self.y)
        self._origin = _origin(prototypes)
        # Writing the points once more, with a 1 for the offset to be multiplied by, costs less than
        # writing the offset k times for each point, if d is small beside k.
        self._lifted = self._origin is not None or not y.is_contiguous() or 2 * d <= k
        on_cpu = y.device.type == "cpu"
        # Each thread reduces one part of its own.
        threads = torch.get_num_threads() if on_cpu else 1
        rows = block_rows(k, d, y.element_size()) * (1 if on_cpu else 16)
        size = min(rows * threads, padded_rows(n))
        self._scores = y.new_empty(size * k)
        self._exact = y.new_empty(max(1, _EXACT_BYTES // (8 * d)), d, dtype=torch.float64)
        lifted = y.new_ones(size if self._lifted else 0, d + 1)
        self._layout, self._measured, self.moved = [], False, n
        self._squares.zero_()
        for start in range(0, n, size):
            given = y[start : start + size]
            m = len(given)
            wide = padded_rows(m)
            if self._lifted:
                padded, points = lifted[:wide], lifted[:m, :d]
            else:
                padded = given.view(m, d)
                if m < wide:
                    padded = torch.cat([padded, y.new_zeros(wide - m, d)])
                points = padded[:m]
            codes = self.codes[start : start + m]
            scores = self._scores[: k * wide].view(k, wide)
            columns, own = padded.T, codes.unsqueeze(0)
            if threads > 1 and m == rows * threads:
                scores = scores.view(threads, k, rows)
                columns = padded.view(threads, rows, -1).transpose(1, 2)
                own = codes.view(threads, 1, rows)
            self._layout.append(
                _Block(given, points, padded, columns, codes, own, scores, as_channels(scores))
            )

    def _filled(self) -> Iterator[_Block]:
        """The blocks, one after the other; points that are not those given share their memory."""
        for block in self._layout:
            if self._origin is not None:
                torch.sub(block.given.reshape(-1, self.d), self._origin, out=block.points)
            elif self._lifted:
                block.points.copy_(block.given.reshape(-1, self.d))
            yield block

    def _centred(self, prototypes: Tensor) -> Tensor:
        return prototypes if self._origin is None else prototypes - self._origin

    def _frame(self, prototypes: Tensor) -> tuple[Tensor, Tensor | None]:
        """What points are multiplied by for their scores, and what is added to the products."""
        centred = self._centred(prototypes)
        offset = centred.square().sum(1, keepdim=True) * -0.5
        return (torch.cat([centred, offset], 1), None) if self._lifted else (centred, offset)

    def _score(self, block: _Block, factor: Tensor, offset: Tensor | None) -> Tensor:
        """The scores of a block."""
        return _product(factor, block.columns, offset, block.scores)

    def _best(self, block: _Block, factor: Tensor, offset: Tensor | None) -> Tensor:
        """The best code of each item of a block."""
        scores = self._score(block, factor, offset)
        on_cpu = scores.device.type == "cpu"
        _, index = best_of_channels(block.images) if on_cpu else best_rows(scores)
        return index if len(index) == len(block.codes) else index[: len(block.codes)]

    def _by_score(self, prototypes: Tensor) -> tuple[Tensor, bool]:
        factor, offset = self._frame(prototypes)
        rare = self.moved < _RARE * len(self.y)
        if self._measured and self.y.numel() > _FRESH and (rare or self.d >= _SHORT):
            self.moved = self._corrected(factor, offset, rare)
        else:
            self.moved = self._afresh(factor, offset)
        centred = self._centred(prototypes)
        exact = centred.double()
        weights = (exact.square().sum(1) * self._counts).sum()
        energy = self._squares - 2 * (exact * self._sums).sum() + weights
        eps = torch.finfo(centred.dtype).eps
        misplaced = 4 * eps * (1 + math.sqrt(self.d)) * (self._squares + weights)
        return energy, bool(misplaced <= _TRUSTED * eps * energy)

    def _afresh(self, factor: Tensor, offset: Tensor | None) -> int:
        """Codes and sums of all items; how many codes are new."""
        self._sums.zero_()
        moved = 0 if self._measured else len(self.y)
        for block in self._filled():
            index = self._best(block, factor, offset)
            if self._measured:
                moved += int(torch.count_nonzero(index != block.codes))
            block.codes.copy_(index)
            for start, part in self._in_double(block.points):
                self._sums.index_add_(0, index[start : start + len(part)], part)
                if not self._measured:
                    self._squares += torch.dot(part.view(-1), part.view(-1))
        self._measured = True
        self._counts = torch.bincount(self.codes, minlength=self.k).double()
        return moved

    def _corrected(self, factor: Tensor, offset: Tensor | None, rare: bool) -> int:
        """New codes for the items that do better with another; how many they are."""
        most = len(self._layout[0].padded)
        points: list[Tensor] = []
        places: list[Tensor] = []
        codes: list[Tensor] = []
        start = held = moved = 0
        for block in self._filled():
            if rare:
                scores = self._score(block, factor, offset)
                own, best = scores.gather(-2, block.own), scores.amax(-2, keepdim=True)
                changed = torch.nonzero((own < best[..., : own.shape[-1]]).flatten()).flatten()
            else:
                index = self._best(block, factor, offset)
                changed = torch.nonzero(index != block.codes).flatten()
                codes.append(index[changed])
            points.append(block.padded[changed])
            places.append(changed + start)
            start += len(block.codes)
            held += len(changed)
            if held >= most or start == len(self.y):
                together, at = torch.cat(points), torch.cat(places)
                new = self._coded(together, factor, offset) if rare else torch.cat(codes)
                moved += self._recode(together, at, new)
                points, places, codes, held = [], [], [], 0
        return moved

    def _coded(self, points: Tensor, factor: Tensor, offset: Tensor | None) -> Tensor:
        """The best codes of a few points from several blocks."""
        codes = []
        for part in points.split(len(self._layout[0].padded)):
            wide = padded_rows(len(part))
            filled = torch.cat([part, part.new_zeros(wide - len(part), part.shape[1])])
            scores = self._scores[: self.k * wide].view(-1, wide)
            codes.append(best_rows(_product(factor, filled.T, offset, scores))[1][: len(part)])
        return torch.cat(codes)

    def _recode(self, points: Tensor, places: Tensor, new: Tensor) -> int:
        """Give a few items new codes, with the sums and counts; how many are other than before."""
        old = self.codes[places]
        self.codes[places] = new
        for start, part in self._in_double(points[:, : self.d]):
            self._sums.index_add_(0, new[start : start + len(part)], part)
            self._sums.index_add_(0, old[start : start + len(part)], part.neg_())
        self._counts += torch.bincount(new, minlength=self.k)
        self._counts -= torch.bincount(old, minlength=self.k)
        return int(torch.count_nonzero(new != old))

    def _in_double(self, points: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Points in double precision, a part at a time in reused memory, and where it begins."""
        size = len(self._exact)
        for start in range(0, len(points), size):
            part = points[start : start + size]
            yield start, self._exact[: len(part)].copy_(part)

    def _by_distance(self, prototypes: Tensor) -> Tensor:
        centred = self._centred(prototypes)
        energy = torch.zeros_like(self._squares)
        self._sums.zero_()
        moved = 0
        for block in self._filled():
            index = nearest(block.points, centred)
            energy += (block.points - centred[index]).square().sum(dtype=torch.float64)
            moved += int(torch.count_nonzero(index != block.codes))
            block.codes.copy_(index)
            for start, part in self._in_double(block.points):
                self._sums.index_add_(0, index[start : start + len(part)], part)
        self.moved = moved
        self._counts = torch.bincount(self.codes, minlength=self.k).double()
        return energy

    def _swept(self, energy: Tensor) -> Swept:
        sums = self._sums.clone()
        if self._origin is not None:
            sums += self._counts.unsqueeze(1) * self._origin.double()
        counts = self._counts.clone()
        statistics = {"sums": sums.reshape(self.k, *self.y.shape[1:]), "counts": counts}
        return Swept(self.codes, energy, statistics, self.moved, counts)


def _product(factor: Tensor, columns: Tensor, offset: Tensor | None, out: Tensor) -> Tensor:
    """The factor times each block of columns, plus the offset `(k, 1)` where it is not in them."""
    if out.dim() == 2:
        if offset is None:
            return torch.mm(factor, columns, out=out)
        return torch.addmm(offset, factor, columns, out=out)
    factors = factor.expand(len(out), -1, -1)
    if offset is None:
        return torch.bmm(factors, columns, out=out)
    return torch.baddbmm(offset.expand(len(out), -1, 1), factors, columns, out=out)


def _origin(prototypes: Tensor) -> Tensor | None:
    """Where to put the origin, if wells lie so far from it that scores would lose digits.

    Of the prototypes, which all processes share, so that they score alike.
    """
    centre = prototypes.mean(0)
    spread = (prototypes - centre).square().sum(1).mean()
    return centre if bool(centre.square().sum() > spread) else None
