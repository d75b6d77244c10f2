"""What an energy may offer to start codes again that no datum uses, and to start well.

They are part of `lowland.capabilities`, where to import them from.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class RestartsUnused(Protocol):
    """Offers to start parts again that no item uses, by the sums of `SolvesParameters`."""

    def unused(self, statistics: dict[str, Tensor]) -> Tensor | None:
        """The parts that no item uses, `(m,)`; None until the sums are over enough items."""

    def restart_unused(self, statistics: dict[str, Tensor]) -> int:
        """Start the unused parts again, in place and in the sums; return how many there were."""


@runtime_checkable
class StatesPrior(Protocol):
    """Offers sums that stand for its parameters, for use while few items have been seen."""

    def prior_statistics(self, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums that `solve_parameters` leaves its parameters at, of the weight of those given.

        Only those that `solve_parameters` looks at need be there.
        """


@runtime_checkable
class SplitsCodes(Protocol):
    """Offers to start codes again beside others, for strategies that follow slopes."""

    def split_codes(
        self, used: Tensor, unused: Tensor, *, generator: torch.Generator | None
    ) -> None:
        """Make each unused code, in place, a near copy of a used one that halves its mass."""
