"""Masking: hide part of each datum, and push down the energy of what was there."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland._random import integers, shorts
from lowland.capabilities import GroupsElements, ReadsCorrupted, ReadsMasks, SuggestsMasks
from lowland.domain import Categorical
from lowland.energy import Energy
from lowland.infer import check_beta, eliminate
from lowland.pretext import Given, Masked, Task, View
from lowland.pretext.task import HIDDEN, check_share
from lowland.train.strategy import GradientStrategy, Outcome

# Hidden where neither the user nor the energy says how much.
_SHARE = 0.3
# What BERT shows of the tokens that it hides: a random one, and the token itself.
_BERT = (0.1, 0.1)
# How many numbers of 16 bits there are: shares of tokens are rounded to so many parts.
_SHORTS = 2**16


@dataclass(frozen=True)
class Masking(GradientStrategy):
    r"""Hide part of each datum, a fresh part for each batch, and push down the energy of the rest.

    $$L = \frac{\sum_i F_\beta(x_i, y_i)}{\sum_i \#\{\text{elements that } x_i \text{ hides}\}}$$

    x is the mask that the pretext task draws, y the whole datum. What else could stand in the
    hidden places is pushed up by the energy's own normalisation (a softmax over tokens), or by the
    distance to the one answer or the few answers that it has.

    Args:
        task: the pretext task, such as `lowland.pretext.Future(past=3, ahead=1)`; a number hides
            that share of the elements, or of the blocks that the energy suggests, such as the
            patches of an image, chosen at random; `Given(mask)` hides the same ones always. None is
            the share that the energy suggests, or 0.3. Where the energy is `ReadsCorrupted`, a
            number is the chance of each token for itself (to within 2⁻¹⁷), as BERT has it: a short
            sentence may have nothing hidden, and then adds nothing to the loss.
            `lowland.pretext.Masked(share)` hides the same number of places in every sentence.
        corrupt: of the hidden elements of a discrete y, the shares that show a random class and
            their own class instead of a blank, so that the energy learns to doubt what it sees;
            None is (0.1, 0.1), as BERT has it, for an energy that is `ReadsCorrupted`, and (0, 0)
            for others.
        groups: whether to hide whole groups of elements, such as all tokens of a word, until the
            task's share is reached; only for `Masked` without blocks, on an energy that is
            `GroupsElements`.
        beta: inverse temperature of the free energy, for an energy with a latent.

    Raises:
        DomainError: a share is out of range, or groups are asked of a task that draws none.
        CapabilityError: the energy does not read masks, or not in this way.

    Reference:
        BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al., 2019),
        https://arxiv.org/abs/1810.04805; Should You Mask 15% in Masked Language Modeling? (Wettig
        et al., 2023), https://arxiv.org/abs/2202.08005

    Example:
        >>> Masking(ll.pretext.Future(past=2, ahead=1))
        Masking(task=Future(past=2, ahead=1), corrupt=None, groups=False, beta=inf)
    """

    task: Task | Given | float | None = None
    corrupt: tuple[float, float] | None = None
    groups: bool = False
    beta: float = math.inf

    kind: ClassVar[str] = "contrastive"
    needs: ClassVar[tuple[type, ...]] = (ReadsMasks,)

    def __post_init__(self) -> None:
        if isinstance(self.task, float | int):
            check_share(self.task, "task", "Masking")
        if self.corrupt is not None and not (
            len(self.corrupt) == 2 and min(self.corrupt) >= 0 and sum(self.corrupt) <= 1
        ):
            raise DomainError(
                f"'corrupt' of Masking must hold two shares that are not negative and come to 1 "
                f"at most. Got {self.corrupt!r}."
            )
        blocks = isinstance(self.task, Task | Given) and not (
            isinstance(self.task, Masked) and not self.task.block
        )
        if self.groups and blocks:
            raise DomainError(
                f"'groups' hides whole groups by lowland.pretext.Masked(rate) without blocks. Got "
                f"the task {self.task!r}."
            )
        check_beta(self.beta)

    def unsuited(self, energy: Energy) -> str | None:
        """Why not: it reads no masks, or not those that were asked for."""
        if self.corrupt not in (None, (0, 0)) and not (
            isinstance(energy, ReadsCorrupted) and isinstance(energy.domain, Categorical)
        ):
            return (
                f"Masking(corrupt={self.corrupt}) shows false classes, which "
                f"{type(energy).__name__} cannot be shown: leave 'corrupt' out."
            )
        if self.groups and not isinstance(energy, GroupsElements):
            return (
                f"Masking(groups=True) hides whole groups, and {type(energy).__name__} does not "
                f"say which elements belong together: leave 'groups' out."
            )
        return super().unsuited(energy)

    def view(self, energy: Energy, y: Tensor, generator: torch.Generator | None = None) -> View:
        """What the energy is shown of items `(n, *event)`; one seed gives the same every time.

        Returns:
            View: x is y with -1 (NaN) where a blank stands and other classes where the corruption
            put them; `observed` is the mask.
        """
        # Of the class, for that is remembered: asked of the object it costs a tenth of the masking.
        if isinstance(energy.domain, Categorical) and issubclass(type(energy), ReadsCorrupted):
            hidden, shown = self._disguised(energy, energy.domain.n, y, generator)
            return View(shown, y, ~hidden)
        if not isinstance(energy, ReadsMasks):
            raise CapabilityError(f"{type(energy).__name__} does not read masks.")
        hidden = ~self._observed(energy, y, generator) & energy.hideable(y)
        blank = torch.nan if y.is_floating_point() else HIDDEN
        return View(y.masked_fill(hidden, blank), y, ~hidden)

    def _task(self, energy: Energy) -> Task | Given:
        if isinstance(self.task, Task | Given):
            return self.task
        share, block = energy.usual_mask() if isinstance(energy, SuggestsMasks) else (_SHARE, ())
        return Masked(share if self.task is None else self.task, block)

    def _observed(self, energy: Energy, y: Tensor, generator: torch.Generator | None) -> Tensor:
        task = self._task(energy)
        if isinstance(task, Given):
            return task.observed.to(y.device).expand(y.shape)
        if self.groups and isinstance(task, Masked) and isinstance(energy, GroupsElements):
            return task.observed_groups(energy.groups(y), generator)
        return task.observed(tuple(y.shape), generator, device=y.device)

    def _disguised(
        self, energy: Any, classes: int, y: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Which tokens are hidden, and y with blanks, random and true classes in their place."""
        share = self._chance(energy)
        if share is None:
            whole = _SHORTS
            hidden = ~self._observed(energy, y, generator) & energy.hideable(y)
            places = hidden.flatten().nonzero().squeeze(1)
            draw = shorts(places.shape, generator, like=y)
        else:
            whole = round(share * _SHORTS)
            every = shorts(y.shape, generator, like=y)
            hidden = (every < whole - _SHORTS // 2) & energy.hideable(y)
            places = hidden.flatten().nonzero().squeeze(1)
            # Where the draw hides, it is uniform below the limit: it decides what is shown, too.
            draw = every.take(places)
        replaced, kept = _BERT if self.corrupt is None else self.corrupt
        draw = draw.int()  # for a limit may be just beyond 16 bits
        tokens = y.take(places).masked_fill_(draw < whole * (1 - kept) - _SHORTS // 2, HIDDEN)
        false = (draw < whole * replaced - _SHORTS // 2).nonzero().squeeze(1)
        tokens[false] = integers(classes, (len(false),), generator, like=y)
        return hidden, y.flatten().index_copy(0, places, tokens).reshape(y.shape)

    def _chance(self, energy: Energy) -> float | None:
        """The chance of each token to be hidden; None if they are not hidden each for itself."""
        if self.groups or isinstance(self.task, Task | Given):
            return None
        if self.task is not None:
            return self.task
        return None if isinstance(energy, SuggestsMasks) else _SHARE

    def values(self, energy: Energy, view: View) -> Tensor:
        """The free energy of each item as the view shows it, `(n,)`."""
        if isinstance(energy, ReadsCorrupted) and self.corrupt != (0, 0):
            return energy.corrupted(view.y, view.x, x=view.observed)
        return eliminate(energy, view.y, view.observed, beta=self.beta)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """The energy of what is hidden, per hidden element.

        Raises:
            CapabilityError: the data have an x of their own.
        """
        if x is not None:
            raise CapabilityError(
                "Masking makes its own x, the mask of what is observed, and the data have one "
                "already. Give y alone, or use lowland.GradientDescent for pairs (x, y)."
            )
        view = self.view(energy, y, generator)
        value = self.values(energy, view)
        hidden = (~view.observed).sum().clamp(min=1)
        return Outcome(value.sum() / hidden, data_energy=value.detach().mean())

    def judge(self, energy: Energy, y: Tensor, x: Tensor | None) -> Tensor:
        """The energies with masks of a fixed seed."""
        return self.values(energy, self.view(energy, y, torch.Generator().manual_seed(0)))
