"""The halves that No-U-Turn trajectories are doubled by: steps onward from an end."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.sample._metropolis import dot
from lowland.sample.hmc import DIVERGENT
from lowland.sample.target import Target


class End(NamedTuple):
    """One end of a trajectory: point, momentum and gradient, each like y, flattened."""

    y: Tensor
    p: Tensor
    gradient: Tensor


class Tree(NamedTuple):
    """Part of a trajectory: a point drawn from it, its weight and its summed momentum.

    Attributes:
        y: `(chains, d)`.
        energy: `(chains,)`.
        gradient: `(chains, d)`.
        log_weight: the logarithm of the summed weights of its points, `(chains,)`.
        momentum: the sum of its momenta, `(chains, d)`.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    log_weight: Tensor
    momentum: Tensor


class Course(NamedTuple):
    """What all halves of some trajectories share.

    Attributes:
        target: what to aim at.
        shape: of the points as the target sees them, `(chains, *event)`.
        energy: where the trajectories began, `(chains,)`.
        at_start: the logarithm of what the points' weights are relative to, `(chains,)`.
        drift: the step of each element, `(1, d)`.
        beta: inverse temperature.
    """

    target: Target
    shape: torch.Size
    energy: Tensor
    at_start: Tensor
    drift: Tensor
    beta: float


class HalfTrees:
    """Leapfrog steps onward, with a point drawn from those on the way.

    Args:
        course: what all of them share.

    Attributes:
        divergent: trajectories cut short by an energy error beyond all bounds, `(chains,)` bool.
        nonfinite: those among them cut short by a value that was not finite.
    """

    def __init__(self, course: Course) -> None:
        self.target, self.shape, self.energy, self.at_start, self.drift, self.beta = course
        self.kick = self.beta * self.drift
        self.divergent = torch.zeros_like(self.energy, dtype=torch.bool)
        self.nonfinite = self.divergent.clone()
        # Of each leaf, which chains went on to it, and its logarithmic weight in them.
        self._on: list[Tensor] = []
        self._log_weights: list[Tensor] = []
        # As a tensor, for a number would be made into one each time.
        self._never = torch.full_like(self.energy[:1].sum(), -torch.inf)

    def leapfrogs(self) -> Tensor:
        """How many steps each chain made, `(chains,)` int64."""
        return torch.stack(self._on).sum(0)

    def likely(self) -> Tensor:
        """Of each chain's points the sum of how likely they would be taken by themselves."""
        return torch.stack(self._log_weights).clamp(max=0).exp_().sum(0)

    def begun(self, end: End) -> Tree:
        """A tree of no point yet."""
        never = torch.full_like(self.energy, -torch.inf)
        y, p, gradient = end
        return Tree(y.clone(), self.energy.clone(), gradient.clone(), never, torch.zeros_like(p))

    def extend(
        self, end: End, forward: Tensor, growing: Tensor, drawn: Tensor
    ) -> tuple[End, Tree, Tensor]:
        """Some leapfrog steps onward from an end.

        Args:
            end: where to begin.
            forward: whether each chain goes forward in time, `(chains,)` bool.
            growing: which chains are looked at, `(chains,)` bool.
            drawn: logarithms of uniform numbers, `(leaves, chains)`; so many steps are made.

        Returns:
            The new end; a tree of the points on the way; and for which chains it is whole: it did
            not end early, and no half of a half of it has turned.
        """
        sign = torch.where(forward, 1.0, -1.0).to(end.y).unsqueeze(1)
        drift, kick = sign * self.drift, sign * self.kick
        (y, p, gradient), on, tree = end, growing, self.begun(end)
        # Where each even half of a half began: its momentum, and the sum before it and half of it.
        marks: dict[int, tuple[Tensor, Tensor]] = {}
        for leaf, luck in enumerate(drawn):
            # Chains that are done go on too, for to hold them still takes longer; what becomes of
            # them is not looked at.
            half = torch.addcmul(p, kick, gradient, value=-0.5)
            y = torch.addcmul(y, drift, half)
            energy, gradient = self.target.slope(y.reshape(self.shape))
            gradient = gradient.reshape(y.shape)
            p = half.addcmul_(kick, gradient, value=-0.5)
            log_weight = torch.sub(self.at_start, dot(p, p), alpha=0.5).sub_(
                energy, alpha=self.beta
            )
            before = on
            if not float(torch.linalg.vector_norm(log_weight, math.inf)) <= DIVERGENT:
                on = self._unbroken(on, log_weight)
                log_weight = torch.where(torch.isfinite(log_weight), log_weight, -torch.inf)
            log_weight = torch.where(before, log_weight, self._never)
            tree = self._add_leaf(tree, before, End(y, p, gradient), energy, log_weight, luck)
            back = self._turned_at(leaf, marks, p, tree.momentum)
            if back is not None:
                on = on & ~back
            if on is not before and leaf + 1 < len(drawn) and not bool(on.any()):
                break
        return End(y, p, gradient), tree, on

    def _unbroken(self, on: Tensor, log_weight: Tensor) -> Tensor:
        """The chains that may go on; the others are counted."""
        finite = torch.isfinite(log_weight)
        broken = on & ~(finite & (log_weight >= -DIVERGENT))
        self.nonfinite = self.nonfinite | (broken & ~finite)
        self.divergent = self.divergent | broken
        return on & ~broken

    def _add_leaf(
        self,
        tree: Tree,
        on: Tensor,
        end: End,
        energy: Tensor,
        log_weight: Tensor,
        luck: Tensor,
    ) -> Tree:
        """With one more point, which becomes the drawn one with its share of the weight.

        The tree's own tensors change. The weight of a chain that is done is 0, so that its tree
        draws nothing more.
        """
        self._on.append(on)
        self._log_weights.append(log_weight)
        total = torch.logaddexp(tree.log_weight, log_weight)
        # Few are drawn, for the share of one point among many is small.
        taken = (luck < log_weight - total).nonzero().view(-1)
        for held, fresh in zip(tree[:3], (end.y, energy, end.gradient), strict=True):
            held.index_copy_(0, taken, fresh.index_select(0, taken))
        tree.momentum.add_(end.p)
        return tree._replace(log_weight=total)

    def _turned_at(
        self, leaf: int, marks: dict[int, tuple[Tensor, Tensor]], p: Tensor, total: Tensor
    ) -> Tensor | None:
        """Whether a balanced subtree that ends at this leaf has turned; None if none ends.

        Subtrees begin at even leaves. The mark of one is kept under how many bits its index has,
        where a later subtree of the same level overwrites it once it is no longer needed.
        """
        level = (leaf >> 1).bit_count()
        but_half = torch.sub(total, p, alpha=0.5)
        if leaf % 2 == 0:
            marks[level] = (p, but_half)
            return None
        trailing = (leaf ^ (leaf + 1)).bit_count() - 1
        back: Tensor | None = None
        for mark in range(level, level - trailing, -1):
            first, before = marks[mark]
            this = turned(first, p, but_half - before)
            back = this if back is None else back | this
        return back


def turned(first: Tensor, last: Tensor, middle: Tensor) -> Tensor:
    """Whether a trajectory with these momenta at its ends has turned back, `(chains,)` bool.

    Its summed momentum is given without half of each end, as it stands for an integral.
    """
    return torch.minimum(dot(first, middle), dot(last, middle)) <= 0
