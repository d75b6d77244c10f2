"""What every scikit-learn estimator here does: rows in, an energy trained on them."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lowland import energies
from lowland._errors import DomainError
from lowland.data import Dataset
from lowland.energies import KMeans
from lowland.energy import Energy
from lowland.scaling import Scaled, Scaling
from lowland.train import Strategy, default_strategy, fit

SWEEPS, BATCHES = 100, 2000
# Rows for each well of K-means, and the most wells, where their number is not given.
ROWS, MOST = 8, 256


class EnergyEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn carries no hints
    """Base of the estimators: an energy of the rows of a table, in their own units.

    Columns are brought to mean 0 and standard deviation 1 inside; constant ones stay as they are.

    Args:
        energy: the class of the energy, or its name in `lowland.energies`; it is built by
            `from_data`.
        options: what `from_data` takes besides, by name. K-means gets one well for every 8 rows,
            256 at most, from the start "k-means++", if `k` is not among them.
        strategy: how the energy is shaped; by default what suits it best.
        steps: how many steps of the strategy; by default 100 passes over the data or 2,000 batches.
        event: the shape of a row for the energy, such as (1, 28, 28); by default it is a vector.
        random_state: all randomness: a whole number, a numpy.random.RandomState, or None.
    """

    def __init__(
        self,
        energy: str | type[Energy] = "KMeans",
        *,
        options: Mapping[str, Any] | None = None,
        strategy: Strategy | None = None,
        steps: int | None = None,
        event: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.energy = energy
        self.options = options
        self.strategy = strategy
        self.steps = steps
        self.event = event
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Shape an energy on the rows.

        Args:
            X: `(rows, columns)`, an array or a frame, finite.
            y: not used.
        """
        rows = self._rows(X, reset=True)
        self.energy_ = self._shape(rows, self._generator())
        return self

    def _rows(self, X: Any, *, reset: bool = False) -> Tensor:
        """The table as a tensor `(rows, columns)` of its own floating-point type."""
        if not reset:
            check_is_fitted(self)
        checked = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], copy=True)
        return torch.from_numpy(np.ascontiguousarray(checked))

    def _generator(self) -> torch.Generator:
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return torch.Generator().manual_seed(int(seed))

    def _items(self, rows: Tensor) -> Tensor:
        return rows if self.event is None else rows.reshape(-1, *self.event)

    def _shape(self, rows: Tensor, generator: torch.Generator) -> Scaled:
        """A new energy, trained on the rows."""
        cls = _find(self.energy)
        shift, spread = rows.mean(0), rows.double().std(0, correction=0).to(rows.dtype)
        # A constant column has no scale; one whose spread is rounding has none either.
        scale = torch.where(spread > 1e-6 * (1 + shift.abs()), spread, torch.ones_like(spread))
        event = rows.shape[1:] if self.event is None else self.event
        scaling = Scaling(shift.reshape(event), scale.reshape(event))
        options = dict(self.options or {})
        if issubclass(cls, KMeans) and "k" not in options:
            # So many wells stand for a density, to which better minima of their energy add little.
            k = min(MOST, max(1, len(rows) // ROWS))
            options = {"k": k, "start": "k-means++"} | options
        items = self._items(rows)
        inner = cls.from_data(scaling(items), generator=generator, **options)
        strategy = self.strategy or default_strategy(inner)()
        steps = self.steps or (SWEEPS if strategy.whole_data else BATCHES)
        energy = Scaled(inner.to(rows.dtype), scaling)
        fit(energy, Dataset(items), strategy, steps=steps, generator=generator, progress=False)
        return energy


def _find(energy: str | type[Energy]) -> type[Energy]:
    if isinstance(energy, type) and issubclass(energy, Energy):
        return energy
    found = getattr(energies, energy, None) if isinstance(energy, str) else None
    if not (isinstance(found, type) and issubclass(found, Energy)):
        known = ", ".join(energies.__all__)
        raise DomainError(
            f"'energy' must be a class of energies, or the name of one in lowland.energies "
            f"({known}). Got {energy!r}."
        )
    return found
