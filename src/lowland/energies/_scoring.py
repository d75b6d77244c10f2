"""The scores of fixed data under moving prototypes, a block in cache at a time."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.energies._nearest import (
    as_channels,
    best_of_channels,
    best_rows,
    block_rows,
    padded_rows,
)

# Codes are compared and sums taken for this many bytes of items at once: enough that the calls cost
# little, few enough that the items are still in cache.
_SEGMENT_BYTES = 2**20


class Frame(NamedTuple):
    """What points are multiplied by for their scores, and what is added to the products.

    Attributes:
        factor: `(k, columns)`.
        offset: `(k, 1)`, or None where the points have a 1 for it to be multiplied by.
    """

    factor: Tensor
    offset: Tensor | None


class Block(NamedTuple):
    """Items that are scored together, and views of the memory in which they are.

    Attributes:
        given: the items as given, `(m, *event)`.
        points: the items as they are scored, `(m, d)`.
        padded: the points, perhaps with ones beside them and other rows below, `(wide, columns)`.
        columns: the same as the factor of a product, `(columns, wide)` or by threads.
        scores: `(k, wide)` or by threads, and `images`, the same as `best_of_channels` takes it.
        images: see `scores`.
        own: the codes so far as an index into the scores, `(1, m)` or by threads, and `held`, where
            the scores of those codes are written.
        held: see `own`.
        highest: where the best scores are written, `(wide,)` or by threads.
        fresh: where the best codes are written, `(m,)`.
    """

    given: Tensor
    points: Tensor
    padded: Tensor
    columns: Tensor
    scores: Tensor
    images: Tensor
    own: Tensor
    held: Tensor
    highest: Tensor
    fresh: Tensor


class Segment(NamedTuple):
    """Items that are looked at together once their blocks have been scored.

    Attributes:
        given: the items as given, `(m, *event)`.
        codes: their codes so far, `(m,)`, part of those of all items.
        blocks: the blocks, one after the other.
    """

    given: Tensor
    codes: Tensor
    blocks: list[Block]


class Scorer:
    r"""Scores $\langle c_j, y \rangle - \|c_j\|^2 / 2$ of items, highest for the nearest prototype.

    They live in one reused block, so no n × k matrix exists. All views are made once, for a pass
    over a million items has hundreds of blocks. The score of an item does not depend on the items
    around it: rows that are split over blocks, or over processes, get the codes of the whole.

    Args:
        y: the data, `(n, *event)`; neither copied nor changed.
        codes: the codes of the data, `(n,)`, which the owner changes.
        shape: `(k, d)`, those of the prototypes.
        origin: what is taken from all items, `(d,)`, or None.

    Attributes:
        size: how many items a block has, the last one perhaps fewer.
        segments: all items.
    """

    def __init__(
        self, y: Tensor, codes: Tensor, shape: tuple[int, int], origin: Tensor | None
    ) -> None:
        self.k, self.d = shape
        self.origin = origin
        # Writing the points once more, with a 1 for the offset to be multiplied by, costs less than
        # writing the offset k times for each point, if d is small beside k.
        self._lifted = self.origin is not None or not y.is_contiguous() or 2 * self.d <= self.k
        on_cpu = y.device.type == "cpu"
        # Each thread reduces one part of its own.
        self._threads = torch.get_num_threads() if on_cpu else 1
        self._rows = block_rows(self.k, self.d, y.element_size()) * (1 if on_cpu else 16)
        self.size = min(self._rows * self._threads, padded_rows(len(y)))
        self._scores = y.new_empty(self.size * self.k)
        self._lift = y.new_ones(self.size if self._lifted else 0, self.d + 1)
        many = max(1, _SEGMENT_BYTES // (self.size * self.d * y.element_size()))
        span = many * self.size
        self._held, self._highest = y.new_empty(2, min(span, padded_rows(len(y)))).unbind()
        self._fresh = codes.new_empty(min(span, len(y)))
        self.segments = [
            self._segment(given, own)
            for given, own in zip(y.split(span), codes.split(span), strict=True)
        ]

    def frame(self, centred: Tensor) -> Frame:
        """What the points are multiplied by, for prototypes relative to the origin, `(k, d)`."""
        offset = centred.square().sum(1, keepdim=True) * -0.5
        if self._lifted:
            return Frame(torch.cat([centred, offset], 1), None)
        return Frame(centred, offset)

    def filled(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The blocks, one after the other; points that are not those given share their memory."""
        for block in blocks:
            if self._lifted:
                self._fill(block.given, block.points)
            yield block

    def scored(self, blocks: Iterable[Block], frame: Frame) -> Iterator[Block]:
        """The blocks with their scores, one after the other, for they share the memory."""
        for block in self.filled(blocks):
            _product(frame, block.columns, block.scores)
            yield block

    def best(self, segment: Segment, frame: Frame) -> Tensor:
        """The best codes of a segment, `(m,)`, in reused memory."""
        for block in self.scored(segment.blocks, frame):
            on_cpu = block.scores.device.type == "cpu"
            _, index = best_of_channels(block.images) if on_cpu else best_rows(block.scores)
            block.fresh.copy_(index[: len(block.fresh)])
        return self._fresh[: len(segment.codes)]

    def beaten(self, segment: Segment, frame: Frame) -> Tensor:
        """Which items of a segment score higher with another code than with their own.

        This asks for no index of the highest score, which costs most.
        """
        for block in self.scored(segment.blocks, frame):
            torch.gather(block.scores, -2, block.own, out=block.held)
            torch.amax(block.scores, -2, out=block.highest)
        m = len(segment.codes)
        return torch.nonzero(self._held[:m] < self._highest[:m]).flatten()

    def best_of(self, items: Tensor, frame: Frame) -> Tensor:
        """The best codes of a few items from anywhere, `(m,)`."""
        codes = []
        for part in items.split(self.size):
            padded = items.new_ones(padded_rows(len(part)), self.d + self._lifted)
            self._fill(part, padded[: len(part), : self.d])
            scores = self._scores[: self.k * len(padded)].view(self.k, -1)
            _product(frame, padded.T, scores)
            codes.append(best_rows(scores)[1][: len(part)])
        return torch.cat(codes)

    def _fill(self, items: Tensor, points: Tensor) -> None:
        """Write items where they are scored."""
        if self.origin is None:
            points.copy_(items.reshape(-1, self.d))
        else:
            torch.sub(items.reshape(-1, self.d), self.origin, out=points)

    def _segment(self, given: Tensor, codes: Tensor) -> Segment:
        size = self.size
        blocks = [
            self._block(part, own, at * size)
            for at, (part, own) in enumerate(zip(given.split(size), codes.split(size), strict=True))
        ]
        return Segment(given, codes, blocks)

    def _block(self, given: Tensor, codes: Tensor, at: int) -> Block:
        """A block that begins `at` this place in the memory of its segment."""
        m, k = len(given), self.k
        wide = padded_rows(m)
        if self._lifted:
            padded, points = self._lift[:wide], self._lift[:m, : self.d]
        else:
            padded = given.view(m, self.d)
            if m < wide:
                padded = torch.cat([padded, given.new_zeros(wide - m, self.d)])
            points = padded[:m]
        scores = self._scores[: k * wide].view(k, wide)
        columns, own = padded.T, codes.unsqueeze(0)
        held, highest = self._held[at : at + m], self._highest[at : at + wide]
        if self._threads > 1 and m == self._rows * self._threads:
            shape = (self._threads, self._rows)
            scores = scores.view(self._threads, k, self._rows)
            columns = padded.view(*shape, -1).transpose(1, 2)
            own, highest = codes.view(*shape).unsqueeze(1), highest.view(shape)
        return Block(
            given,
            points,
            padded,
            columns,
            scores,
            as_channels(scores),
            own,
            held.view(own.shape),
            highest,
            self._fresh[at : at + m],
        )


def _product(frame: Frame, columns: Tensor, out: Tensor) -> Tensor:
    """The factor times each block of columns, plus the offset where it is not in them."""
    factor, offset = frame
    if out.dim() == 2:
        if offset is None:
            return torch.mm(factor, columns, out=out)
        return torch.addmm(offset, factor, columns, out=out)
    factors = factor.expand(len(out), -1, -1)
    if offset is None:
        return torch.bmm(factors, columns, out=out)
    return torch.baddbmm(offset.expand(len(out), -1, 1), factors, columns, out=out)


def origin_for(prototypes: Tensor) -> Tensor | None:
    """Where to put the origin, if wells lie so far from it that scores would lose digits.

    Of the prototypes, which all processes share, so that they score alike.
    """
    centre = prototypes.mean(0)
    spread = (prototypes - centre).square().sum(1).mean()
    return centre if bool(centre.square().sum() > spread) else None
