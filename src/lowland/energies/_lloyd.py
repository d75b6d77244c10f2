"""Passes of Lloyd's algorithm over fixed data, near the speed of one matrix product each."""

import math

import torch
from torch import Tensor

from lowland.capabilities import Swept
from lowland.energies._nearest import best_rows, nearest
from lowland.energies._scoring import Frame, Scorer

# Scores may misplace items by their rounding. A pass is believed if that cannot have raised the
# energy by more than this many units in the last place (1e-3 of it in float32, 2e-12 in float64).
_TRUSTED = 8192
# If fewer than this part of the items moved in one pass, the next finds those that move without the
# index of every item's best code.
_RARE = 0.1
# If more than this part moved, the next pass sums afresh, for most are likely to move again.
_MANY = 0.6
# On no more numbers than this a fresh sum costs little, and a resumed run ends at the same bits.
_FRESH = 2**22
# Items in double precision stay in cache between their conversion and their sum.
_EXACT_BYTES = 2**19


class Lloyd:
    r"""One fused pass: the best code of each item, the sums by code and the energy.

    $$\min_j \|y - c_j\|^2 = \|y\|^2 - 2 \max_j (\langle c_j, y \rangle - \|c_j\|^2 / 2)$$

    Σ‖y‖² is taken once, and the energy follows from it and the sums S and counts N:
    $$\textstyle\sum_i \min_j \|y_i - c_j\|^2 =
      \sum_i \|y_i\|^2 - 2 \sum_j \langle c_j, S_j \rangle + \sum_j N_j \|c_j\|^2$$

    Sums are corrected for the items that move. Once few do, a pass asks of each item only whether
    some code scores higher than its own; those that move are scored again for their new codes.

    Sums are in float64, so prototypes of split data differ from those of the whole by no more than
    its rounding. Where the scores lose too many digits (prototypes close to one another and far
    from the rest), passes compare distances.

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
        size = min(len(y), max(1, _EXACT_BYTES // (8 * self.d)))
        self._exact = y.new_empty(size, self.d, dtype=torch.float64)
        self._scorer: Scorer | None = None

    def __call__(self, prototypes: Tensor) -> Swept:
        """One pass with prototypes `(k, d)`; the sums have shape `(k, *event)`."""
        scorer = self._scorer or self._placed(prototypes)
        moved = 0
        # Prototypes may have left the place that the origin was chosen for: that is tried once.
        for again in range(0 if self.by_distance else 2):
            if again:
                scorer = self._placed(prototypes)
            energy, trusted = self._by_score(scorer, prototypes)
            moved = self.moved = max(moved, self.moved)
            if trusted:
                return self._swept(scorer, energy)
        self.by_distance = True
        energy = self._by_distance(scorer, prototypes)
        self.moved = max(moved, self.moved)
        return self._swept(scorer, energy)

    def second(self, prototypes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each prototype is good for, from the second-best prototypes of its items.

        Returns:
            The codes `(n,)`, the energy of each code's items `(k,)`, and how much more they would
            have without it `(k,)`.
        """
        scorer = self._scorer or self._placed(prototypes)
        frame = scorer.frame(prototypes)
        codes = []
        spent, rise = prototypes.new_zeros(self.k), prototypes.new_zeros(self.k)
        for segment in scorer.segments:
            for block in scorer.scored(segment.blocks, frame):
                m, scores = len(block.points), block.scores
                best, index = best_rows(scores)
                scores.scatter_(-2, index.view(*scores.shape[:-2], 1, -1), -math.inf)
                best, index, runner_up = best[:m], index[:m], scores.amax(-2).flatten()[:m]
                spent.index_add_(0, index, block.points.square().sum(1) - 2 * best)
                rise.index_add_(0, index, 2 * (best - runner_up))
                codes.append(index)
        return torch.cat(codes), spent, rise

    def _placed(self, prototypes: Tensor) -> Scorer:
        """A scorer whose origin suits the prototypes; all sums are to be taken again."""
        self._scorer = Scorer(self.y, self.codes, prototypes)
        self._measured, self.moved = False, len(self.y)
        self._squares.zero_()
        return self._scorer

    def _by_score(self, scorer: Scorer, prototypes: Tensor) -> tuple[Tensor, bool]:
        frame = scorer.frame(prototypes)
        part = self.moved / len(self.y)
        if self._measured and self.y.numel() > _FRESH and part <= _MANY:
            self.moved = self._corrected(scorer, frame, part < _RARE)
        else:
            self.moved = self._afresh(scorer, frame)
        centred = scorer.centred(prototypes)
        exact = centred.double()
        weights = (exact.square().sum(1) * self._counts).sum()
        energy = self._squares - 2 * (exact * self._sums).sum() + weights
        eps = torch.finfo(centred.dtype).eps
        misplaced = 4 * eps * (1 + math.sqrt(self.d)) * (self._squares + weights)
        return energy, bool(misplaced <= _TRUSTED * eps * energy)

    def _afresh(self, scorer: Scorer, frame: Frame) -> int:
        """Codes and sums of all items; how many codes are new."""
        self._sums.zero_()
        moved = 0 if self._measured else len(self.y)
        for segment in scorer.segments:
            new = scorer.best(segment, frame)
            if self._measured:
                moved += int(torch.count_nonzero(new != segment.codes))
            segment.codes.copy_(new)
            self._add(scorer, segment.given, new)
        self._measured = True
        self._counts = torch.bincount(self.codes, minlength=self.k).double()
        return moved

    def _corrected(self, scorer: Scorer, frame: Frame, rare: bool) -> int:
        """New codes for the items that do better with another; how many they are."""
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
                moved += self._recode(
                    scorer, items, at, scorer.best_of(items, frame) if rare else torch.cat(codes)
                )
                places, codes, held = [], [], 0
        return moved

    def _recode(self, scorer: Scorer, items: Tensor, at: Tensor, new: Tensor) -> int:
        """Give the items at these places new codes; how many are other than before."""
        old = self.codes.index_select(0, at)
        self.codes[at] = new
        self._add(scorer, items, new, old)
        self._counts += torch.bincount(new, minlength=self.k)
        self._counts -= torch.bincount(old, minlength=self.k)
        return int(torch.count_nonzero(new != old))

    def _add(self, scorer: Scorer, items: Tensor, new: Tensor, old: Tensor | None = None) -> None:
        """Add items to the sums of their codes, and take them from those of their old ones."""
        size = len(self._exact)
        for start in range(0, len(items), size):
            part = items[start : start + size]
            exact = self._exact[: len(part)].copy_(part.reshape(len(part), -1))
            if scorer.origin is not None:
                exact -= scorer.origin
            self._sums.index_add_(0, new[start : start + size], exact)
            if not self._measured:
                self._squares += torch.dot(exact.view(-1), exact.view(-1))
            if old is not None:  # faster than adding with a factor of -1
                self._sums.index_add_(0, old[start : start + size], exact.neg_())

    def _by_distance(self, scorer: Scorer, prototypes: Tensor) -> Tensor:
        centred = scorer.centred(prototypes)
        energy = torch.zeros_like(self._squares)
        self._sums.zero_()
        moved = 0
        for segment in scorer.segments:
            start = 0
            for block in scorer.filled(segment.blocks):
                index = nearest(block.points, centred)
                energy += (block.points - centred[index]).square().sum(dtype=torch.float64)
                before = segment.codes[start : start + len(index)]
                moved += int(torch.count_nonzero(index != before))
                before.copy_(index)
                start += len(index)
            self._add(scorer, segment.given, segment.codes)
        self.moved = moved
        self._counts = torch.bincount(self.codes, minlength=self.k).double()
        return energy

    def _swept(self, scorer: Scorer, energy: Tensor) -> Swept:
        sums = self._sums.clone()
        if scorer.origin is not None:
            sums += self._counts.unsqueeze(1) * scorer.origin.double()
        counts = self._counts.clone()
        statistics = {"sums": sums.reshape(self.k, *self.y.shape[1:]), "counts": counts}
        return Swept(self.codes, energy, statistics, self.moved, counts)
