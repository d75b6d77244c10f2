"""What strategies for joint embeddings share: two views of each datum, and a watch on collapse."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lowland._embedding import Embeds, spread
from lowland._errors import CapabilityError
from lowland.energy import Energy
from lowland.pretext import Corruption, usual_views
from lowland.train.strategy import GradientStrategy, Outcome

# The moments of the embedding are running means over about so many steps.
_MEMORY = 20


@dataclass(frozen=True)
class TwoViews(GradientStrategy):
    """A strategy that embeds two views of each datum and judges the pairs and their batch.

    Attributes:
        needs: an energy that compares embeddings.
    """

    views: Corruption | None = None

    needs: ClassVar[tuple[type, ...]] = (Embeds,)

    @abstractmethod
    def cost(self, energy: Embeds, a: Tensor, b: Tensor, generator: torch.Generator) -> Tensor:
        """What embeddings of the two views, each `(n, d)`, cost: a scalar."""

    def views_of(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Two views of items `(n, *event)`; the pairs (x, y) where the data have an x."""
        if x is not None:
            return x, y
        change = usual_views(energy.event) if self.views is None else self.views
        return change.corrupt(y, generator), change.corrupt(y, generator)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """What the batch costs."""
        return self._judged(energy, y, x, generator)[0]

    def step(
        self,
        energy: Energy,
        state: Any,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Any, Outcome]:
        """One step of the optimizer down the cost; the state follows the embedding's moments."""
        outcome, embedded = self._judged(energy, y, x, generator)
        state = _followed(state, embedded.detach())
        return state, self.descend(energy, outcome, optimizer)

    def remarks(self, state: Any) -> str | None:
        """That the embedding has collapsed, if it has."""
        return spread(state["mean"], state["second"]).collapse if state else None

    def _judged(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> tuple[Outcome, Tensor]:
        if not isinstance(energy, Embeds):
            raise CapabilityError(f"{type(energy).__name__} does not compare embeddings.")
        first, second = self.views_of(energy, y, x, generator)
        a, b = energy.embed(first), energy.embed(second)
        with torch.no_grad():
            value = energy.compare(a, b).mean()
            # Of what is pushed up: views of different data.
            pushed = energy.compare(a, b.roll(1, 0)).mean() if self.kind == "contrastive" else None
        cost = self.cost(energy, a, b, generator)
        return Outcome(cost, data_energy=value, negative_energy=pushed), b


def _followed(state: dict[str, Tensor] | None, embedded: Tensor) -> dict[str, Tensor]:
    mean = embedded.mean(0)
    second = embedded.T @ embedded / len(embedded)
    if not state:
        return {"mean": mean, "second": second}
    return {
        "mean": state["mean"].lerp(mean, 1 / _MEMORY),
        "second": state["second"].lerp(second, 1 / _MEMORY),
    }
