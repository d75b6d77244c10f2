"""Heads answer as scikit-learn's own search does, and choose by the labelled items alone."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from lowland import DomainError
from lowland.estimators.features import units_of
from lowland.estimators.heads import LinearProbe, NeighbourProbe


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    x, labels = load_digits(return_X_y=True)
    return torch.from_numpy(x), torch.from_numpy(labels).long()


def labelled(labels: torch.Tensor, each: int) -> torch.Tensor:
    return torch.cat([torch.nonzero(labels == c).flatten()[:each] for c in range(10)])


@pytest.mark.parametrize("each", [3, 20])  # fewer items than features, and more
@pytest.mark.parametrize(
    ("head", "peer", "grid"),
    [
        (LinearProbe((10.0, 1.0)), LogisticRegression(max_iter=10_000), {"C": [10.0, 1.0]}),
        (NeighbourProbe((1, 3, 5)), KNeighborsClassifier(), {"n_neighbors": [1, 3, 5]}),
    ],
)
def test_answers_are_those_of_a_grid_search(digits, each, head, peer, grid) -> None:
    x, labels = digits
    rows, rest = labelled(labels, each), torch.arange(1000, 1797)
    units = units_of(x, "digits")[1]
    said = head.predict(x[rows], labels[rows], x[rest], (units,), seed=5)
    folds = StratifiedKFold(min(5, each), shuffle=True, random_state=5)
    search = GridSearchCV(peer, grid, cv=folds)
    search.fit(units(x[rows]).numpy(), labels[rows].numpy())
    assert float((said.numpy() == search.predict(units(x[rest]).numpy())).mean()) > 0.99


def test_units_are_chosen_by_the_labelled_items() -> None:
    """One informative feature of small scale beside a loud one: only a scale for each shows it."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    loud = 1e4 * torch.randn(400, 1, generator=g)
    quiet = labels[:, None] + 0.1 * torch.randn(400, 1, generator=g)
    x = torch.cat([loud, quiet], 1).double()
    units = units_of(x, "two")
    head = NeighbourProbe()
    rates = [
        float(
            (head.predict(x[:100], labels[:100], x[100:], chosen) == labels[100:]).double().mean()
        )
        for chosen in ((units[0],), (units[1],), units)
    ]
    assert rates[0] < 0.65
    assert rates[1] > 0.97
    assert rates[2] == rates[1]


def test_with_one_label_a_class_the_first_setting_stands(digits) -> None:
    x, labels = digits
    rows = labelled(labels, 1)
    units = units_of(x, "digits")
    said = LinearProbe((1.0, 100.0)).predict(x[rows], labels[rows], x[100:], units)
    scaled = units[0](x).numpy()
    peer = LogisticRegression(C=1.0, max_iter=10_000).fit(
        scaled[rows.numpy()], labels[rows].numpy()
    )
    assert np.array_equal(said.numpy(), peer.predict(scaled[100:]))


def test_units_make_the_mean_square_one_and_drop_what_never_varies() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 5.0, 0.0, 0.1]
    )
    for units in units_of(x, "x"):
        measured = units(x)
        assert measured.shape == (500, 3)
        assert float(measured.square().sum(1).mean()) == pytest.approx(1.0)
        assert measured.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_features_that_never_vary_are_called_collapsed() -> None:
    with pytest.raises(DomainError, match="collapsed"):
        units_of(torch.ones(10, 3), "VICReg")


@pytest.mark.parametrize("make", [lambda: LinearProbe((0.0,)), lambda: NeighbourProbe(())])
def test_senseless_settings_are_refused(make) -> None:
    with pytest.raises(DomainError):
        make()
