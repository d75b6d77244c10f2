"""What learns from few labels on features: a linear classifier, and the nearest labelled items."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from lowland._errors import DomainError
from lowland.estimators.features import Units

FOLDS = 5


@dataclass(frozen=True)
class Head(ABC):
    """A classifier, its setting and the units of its features chosen by cross-validation.

    Nothing but the labelled items is looked at to choose.

    Attributes:
        name: how a table calls it.
    """

    name: ClassVar[str]

    @abstractmethod
    def settings(self, items: int) -> tuple[float, ...]:
        """What to choose among for so many labelled items; first what is taken without a choice."""

    @abstractmethod
    def classifier(self, setting: float) -> Any:
        """A scikit-learn classifier with that setting."""

    def predict(
        self,
        known: Tensor,
        labels: Tensor,
        unknown: Tensor,
        units: Sequence[Units],
        *,
        seed: int = 0,
    ) -> Tensor:
        """Learn from labelled features and say the class of others.

        The units of the features and the setting are chosen together. A class with one labelled
        item leaves nothing to cross-validate: the first of each is taken.

        Args:
            known: features, `(n, m)`.
            labels: their classes, `(n,)` int64.
            unknown: features of other items, `(k, m)`.
            units: the units to choose among.
            seed: which items go into which fold.

        Returns:
            `(k,)` int64.
        """
        folds = min(FOLDS, int(labels.unique(return_counts=True)[1].min()))
        left = len(known) - -(-len(known) // folds) if folds > 1 else len(known)
        settings, c = self.settings(left), labels.numpy()
        measured = [_spanned(unit(known)) for unit in units]
        best = (units[0], measured[0], settings[0])
        if folds > 1:
            most = -1
            parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(c, c))
            for unit, spanned in zip(units, measured, strict=True):
                for setting in settings:
                    right = self._right(spanned.items.numpy(), c, parts, setting)
                    if right > most:
                        most, best = right, (unit, spanned, setting)
        unit, spanned, setting = best
        fitted = self.classifier(setting).fit(spanned.items.numpy(), c)
        asked = unit(unknown)
        seen = asked if spanned.basis is None else asked @ spanned.basis
        return torch.from_numpy(np.asarray(fitted.predict(seen.numpy()), dtype=np.int64))

    def _right(self, x: Any, c: Any, parts: Any, setting: float) -> int:
        """How many of the items are told right by those of the other folds."""
        right = 0
        for learn, check in parts:
            fitted = self.classifier(setting).fit(x[learn], c[learn])
            right += int((fitted.predict(x[check]) == c[check]).sum())
        return right


class _Spanned(NamedTuple):
    """Items in coordinates of the space that they span, and its basis if that is smaller."""

    items: Tensor
    basis: Tensor | None


def _spanned(items: Tensor) -> _Spanned:
    """In the space that labelled items span, both heads give the same answers from fewer numbers.

    Scalar products with the labelled items, and the order of distances to them, stay.
    """
    if len(items) >= items.shape[1]:
        return _Spanned(items, None)
    basis = torch.linalg.qr(items.T).Q
    return _Spanned(items @ basis, basis)


@dataclass(frozen=True)
class LinearProbe(Head):
    r"""Logistic regression, the strength of its regularisation chosen by cross-validation.

    $$\min_W \; \tfrac{1}{2} \|W\|^2 - C \sum_i \log \mathrm{softmax}(W \phi_i)_{c_i}$$

    Args:
        strengths: the C to choose among; the first is taken where there is nothing to choose by.

    Raises:
        DomainError: a strength is not positive, or there is none.
    """

    name: ClassVar[str] = "linear"
    strengths: tuple[float, ...] = (10.0, 0.1, 1.0, 100.0)

    def __post_init__(self) -> None:
        if not self.strengths or not all(c > 0 for c in self.strengths):
            raise DomainError(f"'strengths' must be positive numbers. Got {self.strengths!r}.")

    def settings(self, items: int) -> tuple[float, ...]:
        """All strengths."""
        return self.strengths

    def classifier(self, setting: float) -> Any:
        """Logistic regression of strength C."""
        return LogisticRegression(C=setting, max_iter=10_000)


@dataclass(frozen=True)
class NeighbourProbe(Head):
    """The majority among the nearest labelled items, their number chosen by cross-validation.

    Args:
        neighbours: the numbers to choose among; the first is taken where there is nothing to choose
            by.

    Raises:
        DomainError: a number is not a positive whole number, or there is none.
    """

    name: ClassVar[str] = "k-NN"
    neighbours: tuple[int, ...] = (1, 3, 5, 10, 20)

    def __post_init__(self) -> None:
        if not self.neighbours or not all(isinstance(k, int) and k > 0 for k in self.neighbours):
            raise DomainError(
                f"'neighbours' must be positive whole numbers. Got {self.neighbours!r}."
            )

    def settings(self, items: int) -> tuple[float, ...]:
        """The numbers of neighbours that so many items have."""
        return tuple(k for k in self.neighbours if k <= items) or (items,)

    def classifier(self, setting: float) -> Any:
        """The vote of that many neighbours."""
        return KNeighborsClassifier(int(setting))
