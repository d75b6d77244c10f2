"""The transformer keeps scikit-learn's contract, and gives the energy's own features."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import lowland as ll
from lowland.estimators import EnergyTransformer


@pytest.mark.wrong_types  # their checks build estimators of nonsense
@parametrize_with_checks([EnergyTransformer(options={"start": "random"}, steps=5)])
def test_scikit_learns_contract(estimator, check) -> None:
    check(estimator)


def test_features_are_the_energys_and_named() -> None:
    rows = load_digits().data[:300]
    transformer = EnergyTransformer(options={"k": 20, "start": "random"}, random_state=0).fit(rows)
    y = ll.data.read(rows, dtype=transformer.energy_.dtype).y
    np.testing.assert_array_equal(
        transformer.transform(rows), ll.encode(transformer.energy_, y).numpy()
    )
    assert transformer.get_feature_names_out().tolist()[:2] == [
        "energytransformer0",
        "energytransformer1",
    ]
    frame = transformer.set_output(transform="pandas").transform(rows)
    assert frame.shape == (300, 20)


def test_the_search_over_a_pipeline_sees_the_wells() -> None:
    rows, labels = load_digits(return_X_y=True)
    rows, labels = rows[:300], labels[:300]
    model = make_pipeline(
        EnergyTransformer(steps=5, random_state=0),
        LogisticRegression(max_iter=1000),
    )
    grid = {"energytransformer__options": [{"k": k, "start": "random"} for k in (2, 60)]}
    search = GridSearchCV(model, grid, cv=2).fit(rows, labels)
    assert search.best_params_ == {
        "energytransformer__options": grid["energytransformer__options"][1]
    }
    assert search.best_score_ > 0.8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_rows_stays(dtype) -> None:
    rows = load_digits().data[:50].astype(dtype)
    transformer = EnergyTransformer(steps=5, random_state=0).fit(rows)
    assert transformer.transform(rows).dtype == dtype
