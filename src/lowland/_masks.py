"""What an energy of the hidden given the visible may offer: x is then a mask of y."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class ReadsMasks(Protocol):
    """Reads x as a mask: E(x, y) is the energy of the elements that x hides, given those it shows.

    x is bool, `(*batch, *event)`, True where y is observed; what y holds elsewhere is judged, and
    not looked at. Without x the energy is that of the whole y.
    """

    def hideable(self, y: Tensor) -> Tensor:
        """Which elements of items `(n, *event)` may be hidden, bool of that shape; not padding."""
        ...


@runtime_checkable
class ReadsCorrupted(ReadsMasks, Protocol):
    """Offers the energy of what is hidden where something false stands in its place."""

    def corrupted(self, y: Tensor, shown: Tensor, *, x: Tensor) -> Tensor:
        """E(x, y), differentiable, with `shown` to be seen where the mask x hides y, `(n,)`.

        Args:
            y: `(n, *event)`.
            shown: like y; a blank where it is NaN (integers: -1). Where x shows y, it is y.
            x: the mask, bool `(n, *event)`.
        """
        ...


@runtime_checkable
class GroupsElements(Protocol):
    """Offers which elements belong together, such as the tokens of a word."""

    def groups(self, y: Tensor) -> Tensor:
        """The number of the group of each element of items `(n, places)`, int64 from 0.

        Elements that may not be hidden have a negative number.
        """
        ...


@runtime_checkable
class SuggestsMasks(Protocol):
    """Offers what to hide of a datum where nobody says what."""

    def usual_mask(self) -> tuple[float, tuple[int, ...]]:
        """The share of the blocks of a datum to hide, and a block's size along the last axes."""
        ...


class Filled(NamedTuple):
    """Answers to what is hidden.

    Attributes:
        y: `(m, s, *event)`, with the observed part as it was given.
        energy: of each answer, `(m, s)`; inf where an item has fewer than s answers.
    """

    y: Tensor
    energy: Tensor


@runtime_checkable
class Fills(Protocol):
    """Offers its own answers for the hidden part of y, so that nothing is searched for."""

    def fill(
        self,
        y: Tensor,
        observed: Tensor,
        *,
        n: int = 1,
        x: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Filled:
        """The energy's best answers, at most about n, in any order.

        Args:
            y: `(m, *event)`; hidden elements are not looked at, and are finite.
            observed: bool, like y; True where y is given.
            n: how many answers are wanted.
            x: `(m, ...)`, or None.
            generator: the source of randomness, if any is needed.
        """
        ...
