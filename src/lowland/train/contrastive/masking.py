"""Masking: hide part of each datum, and push down the energy of what was there."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland._random import uniform
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
            the share that the energy suggests, or 0.3.
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
        if not isinstance(energy, ReadsMasks):
            raise CapabilityError(f"{type(energy).__name__} does not read masks.")
        observed = self._observed(energy, y, generator) | ~energy.hideable(y)
        blank = torch.nan if y.is_floating_point() else HIDDEN
        shown = torch.where(observed, y, torch.full_like(y, blank))
        shares = self._shares(energy)
        if shares == (0, 0) or not isinstance(energy.domain, Categorical):
            return View(shown, y, observed)
        replaced, kept = shares
        # One draw decides what is shown and, by its further digits, which class at random.
        u = uniform(tuple(y.shape), generator, like=torch.zeros((), device=y.device))
        most = energy.domain.n - 1
        drawn = (u * (energy.domain.n / max(replaced, 1e-9))).long().clamp(max=most)
        other = torch.where(u < replaced, drawn, y)
        return View(torch.where((u < replaced + kept) & ~observed, other, shown), y, observed)

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

    def _shares(self, energy: Energy) -> tuple[float, float]:
        if self.corrupt is not None:
            return self.corrupt
        return _BERT if isinstance(energy, ReadsCorrupted) else (0, 0)

    def values(self, energy: Energy, view: View) -> Tensor:
        """The free energy of each item as the view shows it, `(n,)`."""
        if isinstance(energy, ReadsCorrupted) and self._shares(energy) != (0, 0):
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
