"""A pass of Lloyd's algorithm in torch: codes by scores a block at a time, and sums by code."""

from typing import NamedTuple

import torch
from torch import Tensor

from lowland.energies._scoring import Frame, Scorer

# If fewer than this part of the items moved in one pass, the next finds those that move without the
# index of every item's best code.
_RARE = 0.1
# Items in double precision stay in cache between their conversion and their sum.
_EXACT_BYTES = 2**19


class Sums(NamedTuple):
    """What passes keep up to date.

    Attributes:
        codes: the codes of the items, `(n,)` int64, -1 for items that are in no sum yet.
        sums: the items by code, relative to the origin, `(k, d)` float64.
        counts: how many they are, `(k,)` float64.
        squares: the sum of the squares of all items, relative to the origin, `()` float64.
    """

    codes: Tensor
    sums: Tensor
    counts: Tensor
    squares: Tensor


class ScoredPass:
    """Passes by matrix products, on any device.

    Once few items move, a pass asks of each item only whether some code scores higher than its own;
    those that move are scored again for their new codes.

    Args:
        scorer: scores the data.
        y: the data, `(n, *event)`.
        held: brought up to date by every pass.
    """

    def __init__(self, scorer: Scorer, y: Tensor, held: Sums) -> None:
        self.scorer, self.y, self.held = scorer, y, held
        size = min(len(y), max(1, _EXACT_BYTES // (8 * scorer.d)))
        self._exact = y.new_empty(size, scorer.d, dtype=torch.float64)
        self._part = 1.0

    def __call__(self, centred: Tensor, *, afresh: bool, measure: bool) -> int:
        """One pass, with prototypes relative to the origin, `(k, d)`.

        Args:
            centred: the prototypes.
            afresh: take the sums anew, from no item.
            measure: take the squares anew, too.

        Returns:
            How many codes are new.
        """
        frame = self.scorer.frame(centred)
        if measure:
            self.held.squares.zero_()
        moved = self._afresh(frame, measure) if afresh else self._corrected(frame)
        self._part = moved / len(self.y)
        return moved

    def add(self, items: Tensor, new: Tensor, old: Tensor | None = None, *, measure: bool) -> None:
        """Add items to the sums of their codes, and take them from those of their old ones."""
        held, size, origin = self.held, len(self._exact), self.scorer.origin
        for start in range(0, len(items), size):
            part = items[start : start + size]
            exact = self._exact[: len(part)].copy_(part.reshape(len(part), -1))
            if origin is not None:
                exact -= origin
            held.sums.index_add_(0, new[start : start + size], exact)
            if measure:
                held.squares.add_(torch.dot(exact.view(-1), exact.view(-1)))
            if old is not None:  # faster than adding with a factor of -1
                held.sums.index_add_(0, old[start : start + size], exact.neg_())

    def _afresh(self, frame: Frame, measure: bool) -> int:
        """Codes and sums of all items; how many codes are new."""
        held = self.held
        held.sums.zero_()
        moved = 0
        for segment in self.scorer.segments:
            new = self.scorer.best(segment, frame)
            moved += int(torch.count_nonzero(new != segment.codes))
            segment.codes.copy_(new)
            self.add(segment.given, new, measure=measure)
        held.counts.copy_(torch.bincount(held.codes, minlength=self.scorer.k))
        return moved

    def _corrected(self, frame: Frame) -> int:
        """New codes for the items that do better with another; how many they are."""
        scorer, rare = self.scorer, self._part < _RARE
        places: list[Tensor] = []
        codes: list[Tensor] = []
        start = held = moved = 0
        for segment in scorer.segments:
            if rare:
                changed = scorer.beaten(segment, frame)
            else:
                new = scorer.best(segment, frame)
                changed = torch.nonzero(new != segment.codes).flatten()
                codes.append(new[changed])
            places.append(changed + start)
            start += len(segment.codes)
            held += len(changed)
            # Few are looked at together, for each call has its price.
            if held >= scorer.size or (held and start == len(self.y)):
                at = torch.cat(places)
                items = self.y.index_select(0, at)
                best = scorer.best_of(items, frame) if rare else torch.cat(codes)
                moved += self._recode(items, at, best)
                places, codes, held = [], [], 0
        return moved

    def _recode(self, items: Tensor, at: Tensor, new: Tensor) -> int:
        """Give the items at these places new codes; how many are other than before."""
        held, k = self.held, self.scorer.k
        old = held.codes.index_select(0, at)
        held.codes[at] = new
        self.add(items, new, old, measure=False)
        held.counts.add_(torch.bincount(new, minlength=k)).sub_(torch.bincount(old, minlength=k))
        return int(torch.count_nonzero(new != old))
