"""Features: what the energy encodes of each row, for whatever comes next in a pipeline."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from lowland.ask import encode
from lowland.estimators._fitted import EnergyEstimator

Array = np.ndarray[Any, np.dtype[Any]]


class EnergyTransformer(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # scikit-learn carries no hints
    TransformerMixin,  # type: ignore[misc]
    EnergyEstimator,
):
    """Replaces rows by the features that an energy learned from them without labels.

    `lowland.encode` of the trained energy: an encoder's code where there is one, the wells by how
    near they are for K-means, the best z for a continuous latent, value and slope otherwise.

    Takes the arguments of every estimator here: `energy`, `options`, `strategy`, `steps`, `event`
    and `random_state`.

    Attributes:
        energy_: the trained energy, which answers every question of lowland.

    Reference:
        An Analysis of Single-Layer Networks in Unsupervised Feature Learning (Coates, Ng and Lee,
        2011), https://proceedings.mlr.press/v15/coates11a.html

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> rows, labels = load_digits(return_X_y=True)
        >>> features = EnergyTransformer(options={"k": 64}, steps=10, random_state=0)
        >>> model = make_pipeline(features, LogisticRegression(max_iter=1000))
        >>> model.fit(rows[:500], labels[:500]).score(rows[500:], labels[500:]) > 0.85
        True
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Shape an energy on the rows; y is not used."""
        super().fit(X)
        self._n_features_out = encode(self.energy_, self._items(self._rows(X)[:1])).shape[1]
        return self

    def transform(self, X: Any) -> Array:
        """The features of each row, `(rows, features)`."""
        found: Array = encode(self.energy_, self._items(self._rows(X))).numpy()
        return found
