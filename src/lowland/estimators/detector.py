"""Outliers: rows of higher energy than a share of normal ones that was agreed on beforehand."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import OutlierMixin

from lowland._errors import DomainError
from lowland.ask import score
from lowland.energy import Energy
from lowland.estimators._fitted import EnergyEstimator
from lowland.train import Strategy

Array = np.ndarray[Any, np.dtype[Any]]


class EnergyDetector(OutlierMixin, EnergyEstimator):  # type: ignore[misc]  # no hints
    r"""Tells rows unlike those it was fitted on, at a rate of false alarms that is agreed on.

    A row is an outlier if its free energy lies above the threshold of split-conformal prediction.
    Of m normal rows that the energy was not shaped on, of energies $F_{(1)} \le \dots \le F_{(m)}$,

    $$q = F_{(\lceil (m + 1)(1 - \alpha) \rceil)}, \qquad P(F(y) > q) \le \alpha$$

    for a fresh row of the same kind, whatever the energy has learned. A quantile of the rows that
    it was shaped on would promise the same and not hold it, for those lie lower than fresh ones.
    The rows given to `fit` should be normal: K-means digs wells for outliers too if it sees some.

    Args:
        energy: as for every estimator here: the class of the energy, or its name.
        options: what `from_data` takes besides.
        strategy: how the energy is shaped.
        steps: how many steps of the strategy.
        event: the shape of a row for the energy.
        false_alarm_rate: α, the share of normal rows that may be called outliers.
        calibration: the share of the rows that the energy is not shaped on, for the threshold.
        beta: inverse temperature of the free energy; inf takes the best z.
        random_state: all randomness.

    Attributes:
        energy_: the trained energy, which answers every question of lowland.
        offset_: −q; `decision_function` is `score_samples` − `offset_`. It is −inf, and nothing is
            called an outlier, if there are fewer than 1/α − 1 rows to calibrate with.

    Reference:
        Conformal Anomaly Detection (Laxhammar, 2014),
        https://www.diva-portal.org/smash/get/diva2:690997/FULLTEXT02

    Example:
        >>> import numpy as np
        >>> rows = np.random.RandomState(0).randn(500, 2)
        >>> detector = EnergyDetector(false_alarm_rate=0.05, random_state=0).fit(rows)
        >>> detector.predict([[0.0, 0.5], [8.0, 8.0]]).tolist()
        [1, -1]
    """

    def __init__(
        self,
        energy: str | type[Energy] = "KMeans",
        *,
        options: Mapping[str, Any] | None = None,
        strategy: Strategy | None = None,
        steps: int | None = None,
        event: tuple[int, ...] | None = None,
        false_alarm_rate: float = 0.05,
        calibration: float = 0.3,
        beta: float = math.inf,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            energy,
            options=options,
            strategy=strategy,
            steps=steps,
            event=event,
            random_state=random_state,
        )
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.beta = beta

    def fit(self, X: Any, y: Any = None) -> Self:
        """Shape the energy on some of the rows, and set the threshold by the others.

        Args:
            X: normal rows, `(rows, columns)`, an array or a frame, finite.
            y: not used.
        """
        if not (0 < self.false_alarm_rate < 1 and 0 < self.calibration < 1):
            raise DomainError(
                f"'false_alarm_rate' and 'calibration' must lie between 0 and 1. Got "
                f"{self.false_alarm_rate!r} and {self.calibration!r}."
            )
        rows = self._rows(X, reset=True)
        if len(rows) < 2:
            raise DomainError(
                "EnergyDetector needs some rows to shape the energy and others to set the "
                "threshold by. Got n_samples = 1."
            )
        generator = self._generator()
        order = torch.randperm(len(rows), generator=generator)
        held = max(1, round(self.calibration * len(rows)))
        held = min(held, len(rows) - 1)
        self.energy_ = self._shape(rows[order[held:]], generator)
        energies = self._free_energy(rows[order[:held]]).sort().values
        rank = math.ceil((held + 1) * (1 - self.false_alarm_rate))
        self.offset_ = -float(energies[rank - 1]) if rank <= held else -math.inf
        if rank > held:
            warnings.warn(
                f"A false alarm rate of {self.false_alarm_rate:g} cannot be promised from {held} "
                f"row(s): nothing will be called an outlier. Give at least "
                f"{math.ceil((1 / self.false_alarm_rate - 1) / self.calibration)} rows, or a "
                f"larger 'false_alarm_rate'.",
                stacklevel=2,
            )
        return self

    def _free_energy(self, rows: torch.Tensor) -> torch.Tensor:
        return score(self.energy_, self._items(rows), beta=self.beta).double()

    def score_samples(self, X: Any) -> Array:
        """−F of each row, `(rows,)`: the larger, the more normal."""
        found: Array = -self._free_energy(self._rows(X)).numpy()
        return found

    def decision_function(self, X: Any) -> Array:
        """`score_samples` − `offset_`: negative for outliers, `(rows,)`."""
        found: Array = self.score_samples(X) - self.offset_
        return found

    def predict(self, X: Any) -> Array:
        """1 for normal rows and −1 for outliers, `(rows,)`."""
        return np.where(self.decision_function(X) < 0, -1, 1)
