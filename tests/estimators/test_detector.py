"""The detector keeps scikit-learn's contract and its promise on false alarms."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import binom
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lowland as ll
from lowland import DomainError
from lowland.estimators import EnergyDetector

# Wells begin at random rows where it does not matter how low the energy gets.
QUICK = {"start": "random"}


@pytest.mark.filterwarnings("ignore:A false alarm rate")  # their tables are small
@pytest.mark.wrong_types  # their checks build estimators of nonsense
@parametrize_with_checks([EnergyDetector(options=QUICK, steps=5)])
def test_scikit_learns_contract(estimator, check) -> None:
    check(estimator)


def rows(n: int, seed: int) -> np.ndarray:
    """Two uneven clusters in ten dimensions, with columns of unlike units."""
    random = np.random.RandomState(seed)
    centre = np.where(random.rand(n, 1) < 0.7, -2.0, 3.0)
    return (centre + random.randn(n, 10)) * 10.0 ** np.arange(-4, 6)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_false_alarms_on_fresh_rows_are_what_was_agreed(rate) -> None:
    """Over many fits the mean rate is α, to the bound of a beta-binomial's mean and a margin."""
    fits, fresh = 12, 1000
    alarms = 0
    for seed in range(fits):
        detector = EnergyDetector(
            options={"k": 60, **QUICK},
            steps=3,
            false_alarm_rate=rate,
            random_state=seed,
        ).fit(rows(400, seed))
        alarms += int((detector.predict(rows(fresh, 1000 + seed)) == -1).sum())
    # The rate of one fit has variance α(1 − α)/(m + 2) over calibration sets of m = 120 rows.
    spread = math.sqrt(rate * (1 - rate) * (1 / 122 + 1 / fresh) / fits)
    assert abs(alarms / (fits * fresh) - rate) < 4 * spread


def test_a_quantile_of_the_fitted_rows_would_not_hold_the_rate() -> None:
    """What the threshold is for: many wells fit their own rows too well."""
    train, fresh = rows(400, 0), rows(2000, 1)
    detector = EnergyDetector(options={"k": 60, **QUICK}, random_state=0).fit(train)
    naive = np.quantile(detector.score_samples(train), 0.05)
    alarms = int((detector.score_samples(fresh) < naive).sum())
    assert alarms > binom.ppf(1 - 1e-9, 2000, 0.05)


def test_outliers_are_found() -> None:
    normal, fresh = rows(600, 0), rows(300, 1)
    strange = fresh * np.random.RandomState(2).permutation(np.repeat([1, -1], 150))[:, None]
    strange = np.where(np.arange(10) < 5, strange, fresh)[:, :]
    kept = ~np.isclose(strange, fresh).all(1)
    strange = strange[kept]
    truth = np.r_[np.zeros(300), np.ones(len(strange))]
    both = np.r_[fresh, strange]
    ours = EnergyDetector(random_state=0).fit(normal)
    theirs = IsolationForest(random_state=0).fit(normal)
    ours_auc = roc_auc_score(truth, -ours.score_samples(both))
    assert ours_auc > 0.95
    assert ours_auc > roc_auc_score(truth, -theirs.score_samples(both))


def test_scores_are_the_energys() -> None:
    x = rows(200, 0)
    detector = EnergyDetector(options=QUICK, beta=2.0, random_state=0).fit(x)
    y = ll.data.read(x, dtype=detector.energy_.dtype).y
    expected = ll.score(detector.energy_, y, beta=2.0)
    np.testing.assert_allclose(-detector.score_samples(x), expected.numpy())
    np.testing.assert_array_equal(
        detector.predict(x) == 1, detector.score_samples(x) >= detector.offset_
    )


def test_frames_are_taken_and_their_columns_remembered() -> None:
    x = rows(100, 0)
    names = [f"c{i}" for i in range(10)]
    model = EnergyDetector(options=QUICK, steps=5, random_state=0)
    expected = clone(model).fit(x).score_samples(x)
    for frame in (pd.DataFrame(x, columns=names), pl.DataFrame(x, schema=names)):
        detector = clone(model).fit(frame)
        assert detector.feature_names_in_.tolist() == names
        np.testing.assert_allclose(detector.score_samples(frame), expected)


def test_it_can_be_cloned_searched_and_piped() -> None:
    x = rows(200, 0)
    truth = np.r_[np.ones(150), -np.ones(50)]
    x[150:] = x[150:] + 1e3 * np.random.RandomState(0).randn(50, 10)
    model = make_pipeline(StandardScaler(), EnergyDetector(steps=5, random_state=0))
    search = GridSearchCV(
        clone(model),
        {"energydetector__options": [{"k": 2, **QUICK}, {"k": 8, **QUICK}]},
        scoring=lambda fitted, rows, truth: float((fitted.predict(rows) == truth).mean()),
        cv=2,
    )
    search.fit(x, truth)
    assert search.best_params_["energydetector__options"]["k"] in (2, 8)


def test_any_energy_and_strategy_of_lowland() -> None:
    x = rows(200, 0)
    detector = EnergyDetector(
        ll.energies.Autoencoder,
        options={"hidden": (16,), "code": 4},
        strategy=ll.Denoising(noise=0.3),
        steps=30,
        random_state=0,
    ).fit(x)
    assert isinstance(detector.energy_.energy, ll.energies.Autoencoder)
    assert detector.score_samples(x).shape == (200,)


def test_constant_column_and_image_event() -> None:
    images = ll.data.digits().y[:200]  # some pixels never have ink
    detector = EnergyDetector(options=QUICK, event=(1, 8, 8), random_state=0).fit(
        images.flatten(1).numpy()
    )
    assert detector.energy_.event == (1, 8, 8)


def test_too_few_rows_for_the_rate_are_said() -> None:
    with pytest.warns(UserWarning, match="at least 64 rows"):
        detector = EnergyDetector(options=QUICK, random_state=0).fit(rows(30, 0))
    assert (detector.predict(1e9 * np.ones((3, 10))) == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"false_alarm_rate": 0.0}, "false_alarm_rate"),
        ({"calibration": 1.0}, "calibration"),
        ({"energy": "Kmeans"}, "the name of one"),
    ],
)
def test_senseless_options_are_refused_when_fitted(options, message) -> None:
    with pytest.raises(DomainError, match=message):
        EnergyDetector(**options).fit(rows(100, 0))
