"""What is missing here? Several answers, best first, never their mean."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland._random import normal_like
from lowland._shapes import CHUNK_BYTES, batch_shape, chunks, require_finite
from lowland.ask._border import asked, repeat
from lowland.ask._discrete import fillings, local_minima
from lowland.ask._linear import complete_linear, is_linear
from lowland.capabilities import CompletesCodes, Decodes, Fills, Reconstructs
from lowland.domain import Real
from lowland.energy import Energy
from lowland.infer import Descent, eliminate, find_codes, minimize
from lowland.latent import OneHot

# How far a converged point is pushed to see whether it stands on a ridge.
_KICK = 3e-3

# How often a reconstruction is taken for the hidden part before the descent begins: the first few
# already land near the manifold, and the descent does the rest.
_RECONSTRUCTIONS = 10


@dataclass(frozen=True)
class Completion:
    """Answers to y1 → y2, best first.

    Attributes:
        y: `(*batch, n, *event)`, the observed part as it was given; where an item has fewer than n
            distinct answers, the places left over hold NaN (0 if the domain is discrete).
        energy: the free energy of each answer, `(*batch, n)`, increasing; inf where there is none.
        count: how many answers each item has, `(*batch,)` int64.
    """

    y: Tensor
    energy: Tensor
    count: Tensor


def complete(
    energy: Energy,
    y: Tensor,
    *,
    observed: Tensor,
    n: int = 5,
    x: Tensor | None = None,
    starts: int | Tensor | None = None,
    steps: int = 200,
    distinct: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Completion:
    r"""Find the hidden part of each item: the lowest separate minima of the energy over it.

    $$\hat y_2 \in \arg\operatorname{loc\,min}_{y_2} F_\infty(x, (y_1, y_2))$$

    An energy that predicts what is hidden answers by itself. Where z is finite and the energy
    decodes, every code proposes its answer, so that no minimum is missed; where the decoder is a
    matrix there is one answer, and it is solved for; otherwise a descent starts from many points.
    On a discrete domain a minimum is an answer that no change of
    one element improves: all fillings are compared if they are few, else chains that are clamped to
    what is given lead to places from which the descent begins. Answers that end closer together
    than `distinct` count as one.

    Args:
        energy: any energy.
        y: `(*batch, *event)`; hidden elements are not looked at and may be NaN.
        observed: bool, `event` or `(*batch, *event)`; True where y is given.
        n: how many answers.
        x: `(*batch, ...)`, or None.
        starts: how many points to start from, or the points `(m, *event)` themselves, such as some
            training data; None takes max(24, 4 n) points of noise. Not for a finite latent.
        steps: the most evaluations that a descent may make; of discrete y the steps of the chains.
        distinct: root mean square difference over the hidden elements, in the energy's own (scaled)
            units, below which two answers are one.
        generator: the noise of starts, and of the push that tells ridges from valleys; torch's
            default generator if None.

    Returns:
        Completion: y `(*batch, n, *event)`, energy `(*batch, n)` and the count of answers.

    Raises:
        ShapeError: y, x or the mask has the wrong shape.
        DomainError: the mask is not boolean or hides nothing, an observed value is not allowed, or
            an option is out of range.

    Example:
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0, 5.0], [1.0, -5.0], [9.0, 9.0]]))
        >>> half = torch.tensor([True, False])
        >>> answers = complete(energy, torch.tensor([[0.4, torch.nan]]), observed=half, n=2)
        >>> answers.y[0].tolist(), answers.energy[0]
        ([[0.4000000059604645, 5.0], [0.4000000059604645, -5.0]], tensor([0.1600, 0.3600]))
    """
    batch = batch_shape(y, energy.event)
    mask = _mask(observed, energy.event, batch)
    if isinstance(n, bool) or n < 1 or steps < 1 or not distinct >= 0:
        raise DomainError(
            f"complete needs n and steps of at least 1 and distinct of at least 0. Got n={n!r}, "
            f"steps={steps!r}, distinct={distinct!r}."
        )
    if isinstance(starts, Tensor) and starts.dtype != y.dtype:
        raise DomainError(
            f"'starts' must be of the type of y, {y.dtype}. Got {starts.dtype}. Convert it with "
            f"starts.to({y.dtype})."
        )
    # Zeros lie in every domain; what is hidden must not be judged.
    with asked(energy, torch.where(mask, y, torch.zeros_like(y)), x) as a:
        flat_mask = mask.reshape(-1, *energy.event)
        search = _Search(a.energy, n, starts, steps, distinct, generator, a.scaling)
        per_item = search.points_per_item * max(1, a.y[0].numel()) * a.y.element_size() * 8
        found = [
            search.answers(a.y[part], flat_mask[part], None if a.x is None else a.x[part])
            for part in chunks(len(a.y), per_item, 4 * CHUNK_BYTES)
        ]
        answers = torch.cat([part.y for part in found])
        if answers.is_floating_point():
            answers = a.scaling.inverse(answers)
        answers = answers.reshape(*batch, n, *energy.event)
        # Exactly what was given, not what the change of units made of it.
        answers = torch.where(mask.unsqueeze(len(batch)), y.unsqueeze(len(batch)), answers)
        values = torch.cat([part.energy for part in found]).reshape(*batch, n)
        return Completion(answers, values, torch.cat([p.count for p in found]).reshape(batch))


def _mask(observed: Tensor, event: tuple[int, ...], batch: tuple[int, ...]) -> Tensor:
    if not isinstance(observed, Tensor) or observed.dtype != torch.bool:
        got = observed.dtype if isinstance(observed, Tensor) else type(observed).__name__
        raise DomainError(f"'observed' must be a boolean tensor, True where y is given. Got {got}.")
    if tuple(observed.shape) not in (event, (*batch, *event)):
        raise ShapeError(
            f"'observed' must have the shape of one item, {event}, or of y, {(*batch, *event)}. "
            f"Got {tuple(observed.shape)}."
        )
    mask = observed.expand(*batch, *event)
    if bool(mask.flatten(len(batch)).all(-1).any()):
        raise DomainError("'observed' hides nothing of some item: there is nothing to complete.")
    return mask


class _Search:
    """The search for the hidden parts of a chunk of items."""

    def __init__(
        self,
        energy: Energy,
        n: int,
        starts: int | Tensor | None,
        steps: int,
        distinct: float,
        generator: torch.Generator | None,
        scaling: torch.nn.Module,
    ) -> None:
        self.energy = energy
        self.n = n
        self.steps = steps
        self.distinct = distinct
        self.generator = generator
        latent = energy.latent
        self.codes = latent if isinstance(latent, OneHot) and isinstance(energy, Decodes) else None
        if self.codes is not None and starts is not None:
            raise DomainError(
                f"'starts' has no meaning for {type(energy).__name__}: each of its "
                f"{self.codes.k} codes proposes an answer. Leave it out."
            )
        if (is_linear(energy) or isinstance(energy, Fills)) and starts is not None:
            raise DomainError(
                f"'starts' has no meaning for {type(energy).__name__}, whose answers are solved "
                f"for or predicted: nothing is searched. Leave it out."
            )
        self.points: Tensor | None = None
        if isinstance(starts, Tensor):
            check_y(energy, starts, "starts")
            points = starts.reshape(-1, *energy.event)
            self.points = scaling(points) if points.is_floating_point() else points
            self.starts_per_item = len(self.points)
        elif self.codes is not None:
            self.starts_per_item = min(self.codes.k, max(128, 16 * n))
        else:
            self.starts_per_item = max(24, 4 * n) if starts is None else starts
        if self.starts_per_item < 1:
            raise DomainError(f"'starts' must be at least 1. Got {starts!r}.")
        # Every code decodes, though only some are followed.
        self.points_per_item = max(self.starts_per_item, self.codes.k if self.codes else 0)

    def answers(self, y: Tensor, mask: Tensor, x: Tensor | None) -> Completion:
        """The n best distinct answers for items `(m, *event)`."""
        if isinstance(self.energy, Fills):
            found = self.energy.fill(y, mask, n=self.n, x=x, generator=self.generator)
            there = torch.where(found.energy == math.inf, 0.0, found.energy)
            require_finite(there, "The energy of an answer")
            return self._distinct(found.y, found.energy, ~mask)
        if is_linear(self.energy):
            ends, z = complete_linear(self.energy, y, mask)
            value = self.energy(ends, x=x, z=z)
            return self._distinct(ends.unsqueeze(1), value.unsqueeze(1), ~mask)
        if self.codes is None and not isinstance(self.energy.domain, Real):
            every = fillings(self.energy, y, mask)
            points = self._noise(y, mask, x) if every is None else every
            chain = every is None
            ends, value = local_minima(
                self.energy, points, mask, x, self.steps, self.generator, chain=chain
            )
            return self._distinct(ends, value, ~mask)
        if self.codes is None:
            return self._descend(self._noise(y, mask, x), y, mask, x)
        best = self._among_codes(y, mask, x, self.starts_per_item)
        if self.starts_per_item < self.codes.k and bool((best.count < self.n).any()):
            best = self._among_codes(y, mask, x, self.codes.k)
        return best

    def _among_codes(self, y: Tensor, mask: Tensor, x: Tensor | None, keep: int) -> Completion:
        filled, z = self._from_codes(y, mask, x, keep)
        if not isinstance(self.energy, CompletesCodes):
            return self._descend(filled, y, mask, x)
        return self._own_minima(filled, z, y, mask, x)

    def _own_minima(
        self, filled: Tensor, z: Tensor, y: Tensor, mask: Tensor, x: Tensor | None
    ) -> Completion:
        """Which of the codes' best answers `(m, keep, *event)` are minima of F, with no descent.

        The best answer of code z is a minimum of F if no other code is better there; where another
        is as good, if that one's best answer is no lower. Every minimum is its code's best answer.
        """
        m, keep = filled.shape[:2]
        points, own = filled.flatten(0, 1), z.flatten()
        flat_x = None if x is None else repeat(x, keep)
        value = self.energy(points, x=flat_x, z=own)
        best = find_codes(self.energy, points, flat_x)
        least = self.energy(points, x=flat_x, z=best)
        beyond = cast(CompletesCodes, self.energy).complete_codes(
            points, repeat(mask, keep), cast(Tensor, best), x=flat_x
        )
        slack = 8 * torch.finfo(value.dtype).eps * (1 + value.abs())
        stands = (value <= least + slack) & (
            (best == own) | (self.energy(beyond, x=flat_x, z=best) >= value - slack)
        )
        value = require_finite(value, "The energy of an answer")
        value = torch.where(stands, value, torch.inf).reshape(m, keep)
        return self._distinct(filled, value, ~mask)

    def _from_codes(
        self, y: Tensor, mask: Tensor, x: Tensor | None, keep: int
    ) -> tuple[Tensor, Tensor]:
        """What the codes of least energy say of the hidden part, `(m, keep, *event)`, and they.

        Codes left out have a higher energy than all that are kept, and an answer's free energy is
        its code's, so they can only matter if too few of those kept are separate minima.
        """
        if not isinstance(self.energy, Decodes) or self.codes is None:
            raise CapabilityError(f"{type(self.energy).__name__} does not decode.")
        k = self.codes.k
        codes = self.codes.codes(y.device).expand(len(y), k)
        condition = None if x is None else x.unsqueeze(1).expand(len(x), k, *x.shape[1:])
        decoded = self.energy.decode(codes, x=condition)
        if isinstance(self.energy, CompletesCodes):
            wide = y.unsqueeze(1).expand_as(decoded), mask.unsqueeze(1).expand_as(decoded)
            filled = self.energy.complete_codes(*wide, codes, x=condition)
        else:
            filled = torch.where(mask.unsqueeze(1), y.unsqueeze(1), decoded)
        value = self.energy(filled, x=condition, z=codes)
        chosen = value.argsort(dim=1, stable=True)[:, :keep]  # stable: ties in the order of codes
        rows = torch.arange(len(y), device=y.device).unsqueeze(1)
        return filled[rows, chosen], codes[rows, chosen]

    def _noise(self, y: Tensor, mask: Tensor, x: Tensor | None) -> Tensor:
        """Starts that know nothing, or the points given, moved onto the manifold if possible."""
        count = self.starts_per_item
        if self.points is not None:
            points = self.points.expand(len(y), *self.points.shape)
        else:
            shape = (len(y), count, *self.energy.event)
            points = self.energy.domain.noise(shape, generator=self.generator, like=y)
        points = torch.where(mask.unsqueeze(1), y.unsqueeze(1), points)
        if isinstance(self.energy, Reconstructs) and isinstance(self.energy.domain, Real):
            flat, flat_mask = points.flatten(0, 1), repeat(mask, count)
            given, flat_x = repeat(y, count), None if x is None else repeat(x, count)
            for _ in range(_RECONSTRUCTIONS):
                flat = torch.where(flat_mask, given, self.energy.reconstruct(flat, x=flat_x))
            points = flat.reshape(points.shape)
        return points

    def _descend(self, points: Tensor, y: Tensor, mask: Tensor, x: Tensor | None) -> Completion:
        """Follow every start `(m, s, *event)` down, and keep the n lowest distinct ends."""
        m, s = points.shape[:2]
        flat_x = None if x is None else repeat(x, s)

        def potential(candidates: Tensor) -> Tensor:
            return eliminate(self.energy, candidates, flat_x, beta=math.inf)

        flat = points.flatten(0, 1)
        if isinstance(self.energy.domain, Real):
            flat_mask, given = repeat(mask, s), repeat(y, s)
            ends, value, settled = self._minima(potential, flat, flat_mask, given)
            ends, value, settled = (
                ends.reshape(points.shape),
                value.reshape(m, s),
                settled.reshape(m, s),
            )
            # An item none of whose descents has come to rest keeps the lowest place it saw.
            lowest = value <= value.amin(1, keepdim=True)
            keep = settled | (lowest & ~settled.any(1, keepdim=True))
            value = torch.where(keep, value, torch.inf)
        else:
            value = require_finite(potential(flat), "The energy of an answer").reshape(m, s)
            ends = points
        return self._distinct(ends, value, ~mask)

    def _minima(
        self,
        potential: Callable[[Tensor], Tensor],
        start: Tensor,
        mask: Tensor,
        given: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Where each start ends, its energy, and whether that is a minimum.

        A descent that ran out of steps goes on once; one that stands on a ridge, where the slope is
        zero too, is pushed off it.
        """

        def descend(points: Tensor) -> Descent:
            return minimize(
                potential,
                points,
                project=lambda candidates: torch.where(mask, given, candidates),
                steps=self.steps,
            )

        found = descend(start)
        kick = _KICK * normal_like(found.y, self.generator).sign()
        beside = [torch.where(mask, given, found.y + sign * kick) for sign in (1, -1)]
        values = torch.stack([potential(points) for points in beside])
        slack = 4 * torch.finfo(values.dtype).eps * (1 + found.value.abs())
        # Lower on both sides: beside a minimum near the edge of its valley, one side may be.
        ridge = found.converged & (values.amax(0) < found.value - slack)
        if bool((ridge | ~found.converged).any()):
            moved = ridge | ~found.converged
            again = descend(torch.where(_like(ridge, start), beside[0], found.y))
            return (
                torch.where(_like(moved, start), again.y, found.y),
                torch.where(moved, again.value, found.value),
                torch.where(moved, again.converged, found.converged),
            )
        return found.y, found.value, found.converged

    def _distinct(self, ends: Tensor, value: Tensor, hidden: Tensor) -> Completion:
        m, s = value.shape
        order = value.argsort(dim=1, stable=True)
        rows = torch.arange(m, device=value.device).unsqueeze(1)
        ends, value = ends[rows, order], value[rows, order]
        parts = (ends * hidden.unsqueeze(1)).flatten(2).double()
        size = hidden.flatten(1).sum(1).double()
        blank = torch.nan if isinstance(self.energy.domain, Real) else 0
        y = ends.new_full((m, self.n, *ends.shape[2:]), blank)
        energy = value.new_full((m, self.n), math.inf)
        count = torch.zeros(m, dtype=torch.int64, device=value.device)
        taken = torch.full((m, self.n), -1, dtype=torch.int64, device=value.device)
        for i in range(s):
            chosen = parts[rows, taken.clamp(min=0)]
            difference = (parts[:, i : i + 1] - chosen).square().sum(2) / size.unsqueeze(1)
            same = ((difference.sqrt() <= self.distinct) & (taken >= 0)).any(1)
            stands = torch.isfinite(value[:, i])
            new = torch.nonzero(stands & ~same & (count < self.n)).flatten()
            taken[new, count[new]] = i
            y[new, count[new]] = ends[new, i]
            energy[new, count[new]] = value[new, i]
            count[new] += 1
        return Completion(y, energy, count)


def _like(per_item: Tensor, points: Tensor) -> Tensor:
    return per_item.reshape(-1, *[1] * (points.dim() - 1))
