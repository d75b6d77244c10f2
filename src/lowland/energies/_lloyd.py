"""Passes of Lloyd's algorithm over fixed data, near the speed of one matrix product each."""

import math

import torch
from torch import Tensor

from lowland._shapes import require_finite
from lowland.capabilities import Swept
from lowland.energies._native_pass import NativePass, library_for
from lowland.energies._nearest import best_rows, nearest
from lowland.energies._scored_pass import ScoredPass, Sums
from lowland.energies._scoring import Scorer, origin_for

# Scores may misplace items by their rounding. A pass is believed if that cannot have raised the
# energy by more than this many units in the last place (1e-3 of it in float32, 2e-12 in float64).
_TRUSTED = 8192
# If more than this part moved, the next pass sums afresh, for most are likely to move again.
_MANY = 0.6
# On no more numbers than this a fresh sum costs little, and a resumed run ends at the same bits.
_FRESH = 2**22


class Lloyd:
    r"""One fused pass: the best code of each item, the sums by code and the energy.

    $$\min_j \|y - c_j\|^2 = \|y\|^2 - 2 \max_j (\langle c_j, y \rangle - \|c_j\|^2 / 2)$$

    Σ‖y‖² is taken once, and the energy follows from it and the sums S and counts N:
    $$\textstyle\sum_i \min_j \|y_i - c_j\|^2 =
      \sum_i \|y_i\|^2 - 2 \sum_j \langle c_j, S_j \rangle + \sum_j N_j \|c_j\|^2$$

    Sums are corrected for the items that move. Passes are made by a compiled kernel where there is
    one for the data, else by torch.

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
        self.moved = len(y)
        # Double precision is asked for where the last digits matter: there ties go to the first.
        self.by_distance = y.dtype == torch.float64
        self._held = Sums(
            torch.full((len(y),), -1, dtype=torch.int64, device=y.device),
            torch.zeros(k, self.d, dtype=torch.float64, device=y.device),
            torch.zeros(k, dtype=torch.float64, device=y.device),
            torch.zeros((), dtype=torch.float64, device=y.device),
        )
        self._measured = False
        self._origin: Tensor | None = None
        self._pass: ScoredPass | NativePass | None = None
        self._scorer: Scorer | None = None

    def __call__(self, prototypes: Tensor) -> Swept:
        """One pass with prototypes `(k, d)`; the sums have shape `(k, *event)`.

        Raises:
            DivergedError: a prototype is not finite; no item would be nearest to it.
        """
        require_finite(prototypes, "A prototype, a row of all of them,")
        passes = self._pass or self._place(prototypes)
        moved = 0
        # Prototypes may have left the place that the origin was chosen for: that is tried once.
        for again in range(0 if self.by_distance else 2):
            if again:
                passes = self._place(prototypes)
            energy, trusted = self._by_score(passes, prototypes)
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
        if self._pass is None:
            self._place(prototypes)
        scorer = self._scoring()
        frame = scorer.frame(self._centred(prototypes))
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

    def _place(self, prototypes: Tensor) -> ScoredPass | NativePass:
        """Passes whose origin suits the prototypes; all sums are to be taken again."""
        self._origin, self._scorer = origin_for(prototypes), None
        self._measured, self.moved = False, len(self.y)
        library = None if self.by_distance else library_for(self.y)
        if library is None:
            self._pass = ScoredPass(self._scoring(), self.y, self._held)
        else:
            self._pass = NativePass(library, self.y, self._origin, self._held)
        return self._pass

    def _scoring(self) -> Scorer:
        """Scores in torch, for what no kernel does."""
        if self._scorer is None:
            shape = (self.k, self.d)
            self._scorer = Scorer(self.y, self._held.codes, shape, self._origin)
        return self._scorer

    def _centred(self, prototypes: Tensor) -> Tensor:
        """Prototypes relative to the origin."""
        return prototypes if self._origin is None else prototypes - self._origin

    def _by_score(self, passes: ScoredPass | NativePass, prototypes: Tensor) -> tuple[Tensor, bool]:
        centred, held = self._centred(prototypes), self._held
        few = self.y.numel() <= _FRESH or self.moved > _MANY * len(self.y)
        measure = not self._measured
        self.moved = passes(centred, afresh=measure or few, measure=measure)
        if measure:
            self._measured, self.moved = True, len(self.y)
        exact = centred.double()
        weights = (exact.square().sum(1) * held.counts).sum()
        energy = held.squares - 2 * (exact * held.sums).sum() + weights
        eps = torch.finfo(centred.dtype).eps
        misplaced = 4 * eps * (1 + math.sqrt(self.d)) * (held.squares + weights)
        return energy, bool(misplaced <= _TRUSTED * eps * energy)

    def _by_distance(self, prototypes: Tensor) -> Tensor:
        centred, held = self._centred(prototypes), self._held
        energy = torch.zeros_like(held.squares)
        scorer = self._scoring()
        sums = ScoredPass(scorer, self.y, held)
        held.sums.zero_()
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
            sums.add(segment.given, segment.codes, measure=False)
        self.moved = moved
        held.counts.copy_(torch.bincount(held.codes, minlength=self.k))
        return energy

    def _swept(self, energy: Tensor) -> Swept:
        held = self._held
        sums = held.sums.clone()
        if self._origin is not None:
            sums += held.counts.unsqueeze(1) * self._origin.double()
        counts = held.counts.clone()
        statistics = {"sums": sums.reshape(self.k, *self.y.shape[1:]), "counts": counts}
        return Swept(held.codes, energy, statistics, self.moved, counts)
