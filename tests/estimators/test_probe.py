"""Probes: rows that cannot be left out, the same draws for all, figures that are what they say."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

import lowland as ll
from lowland import CapabilityError, DomainError
from lowland.data import Dataset
from lowland.estimators import (
    FineTuning,
    LinearProbe,
    NeighbourProbe,
    ProbeRow,
    ProbeTable,
    label_efficiency,
    probe,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Dataset]:
    return ll.data.digits().split(0.4, generator())


@pytest.fixture(scope="module")
def kmeans(digits) -> ll.energies.KMeans:
    return ll.energies.KMeans.from_data(digits[0].y, k=100, start="random", generator=generator())


def test_learned_features_beat_those_that_learned_nothing(digits, kmeans) -> None:
    table = probe(
        kmeans,
        *digits,
        labels_per_class=5,
        repeats=5,
        heads=(LinearProbe((10.0,)),),
        generator=generator(),
    )
    rows = {row.features: row for row in table.rows}
    assert list(rows) == ["KMeans", "raw input", "PCA", "random KMeans"]
    assert rows["KMeans"].mean > rows["random KMeans"].mean + 0.03
    assert rows["KMeans"].mean > rows["raw input"].mean + 0.01
    assert [row.control for row in table.rows] == [False, True, True, True]
    assert [row.size for row in table.rows][:2] == [100, 64]
    assert table.best.features == "KMeans"


def test_raw_row_is_scikit_learns_own(digits, kmeans) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, test = digits
    table = probe(kmeans, train, test, heads=(NeighbourProbe((1,)),), generator=generator())
    row = table.select(features="raw input").best
    assert row.labels is None
    peer = KNeighborsClassifier(1).fit(train.y.flatten(1).numpy(), train.labels.numpy())
    expected = peer.score(test.y.flatten(1).numpy(), test.labels.numpy())
    # Of the two units that it may choose, pixels are told best by the one they share.
    assert row.mean == pytest.approx(expected, abs=0.005)


def test_principal_components_are_scikit_learns(digits) -> None:
    from lowland.estimators.controls import _principal

    train, test = (data.y.flatten(1) for data in digits)
    for rows in (train, train[:40]):  # more items than pixels, and fewer
        ours, theirs = _principal(rows, test)[1], PCA(0.9, svd_solver="full").fit(rows.numpy())
        expected = theirs.transform(test.numpy())
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours.abs().numpy(), np.abs(expected), atol=1e-4)


def test_one_seed_gives_one_table(digits, kmeans) -> None:
    tables = [
        probe(kmeans, *digits, labels_per_class=1, repeats=2, generator=generator(seed))
        for seed in (1, 1, 2)
    ]
    same, other = (
        [torch.equal(a.rates, b.rates) for a, b in zip(tables[0].rows, t.rows, strict=True)]
        for t in tables[1:]
    )
    assert all(same)
    assert not all(other)


def test_dropout_does_not_blur_a_probe(digits) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Dropout(0.9))
    net.train()
    tables = [
        probe(net, *digits, labels_per_class=1, repeats=1, random=net, generator=generator())
        for _ in range(2)
    ]
    first, second = (t.select(features="Sequential", head="linear").best for t in tables)
    assert torch.equal(first.rates, second.rates)
    # Its own control here, and the same features give the same figures.
    control = tables[0].select(features="random encoder", head="linear").best
    assert torch.equal(control.rates, first.rates)
    assert net.training


def test_several_encoders_share_their_controls(digits, kmeans) -> None:
    def ink(y: torch.Tensor) -> torch.Tensor:
        return y.flatten(1).sum(1, keepdim=True)

    table = probe({"wells": kmeans, "ink": ink}, *digits, labels_per_class=1, repeats=1)
    names = list(dict.fromkeys(row.features for row in table.rows))
    assert names == ["wells", "ink", "raw input", "PCA", "random wells"]
    assert len(table.remarks) == 1
    assert "No random encoder for ink" in str(table)


def test_counts_stand_for_class_indices() -> None:
    """The order of tokens tells nothing here, and their counts everything."""
    g = generator()
    labels = torch.arange(200) % 2
    tokens = (torch.rand(200, 30, generator=g) < 0.5 + 0.3 * (labels[:, None] - 0.5)).long()
    train = Dataset(tokens[:100], labels=labels[:100])
    test = Dataset(tokens[100:], labels=labels[100:])

    def first(y: torch.Tensor) -> torch.Tensor:
        return y[:, :1].float()

    table = probe(first, train, test, heads=(LinearProbe(),), generator=g)
    raw = table.select(features="raw input").best
    assert raw.size == 2
    assert raw.mean > 0.9
    assert table.select(features="first").best.mean < 0.75


def test_more_labels_and_tuning_help(digits) -> None:
    train, test = digits
    g = generator()
    energy = ll.energies.Autoencoder.from_data(train.y, hidden=(64,), code=32, generator=g)
    ll.fit(energy, train.y, ll.Denoising(noise=0.3), steps=200, generator=g, progress=False)
    before = {name: value.clone() for name, value in energy.state_dict().items()}
    table = label_efficiency(
        energy,
        train,
        test,
        labels_per_class=(1, 10),
        repeats=2,
        heads=(LinearProbe((10.0,)),),
        fine_tune=FineTuning(steps=40, batch_size=32),
        generator=g,
    )
    rates = {(r.features, r.head, r.labels): r.mean for r in table.rows}
    for features, head in {(r.features, r.head) for r in table.rows}:
        assert rates[features, head, 10] > rates[features, head, 1] + 0.05
    assert table.budgets == (1, 10)
    assert all(torch.equal(value, before[key]) for key, value in energy.state_dict().items())


def test_tuning_moves_a_linear_encoder_to_what_the_labels_need() -> None:
    """The class is in the one direction that the encoder begins by almost ignoring."""
    g = generator()
    labels = torch.arange(400) % 2
    y = torch.randn(400, 10, generator=g)
    y[:, 0] = (2.0 * labels - 1) * 0.5 + 0.1 * torch.randn(400, generator=g)
    net = nn.Sequential(nn.Linear(10, 1, bias=False), nn.Tanh())
    with torch.no_grad():
        net[0].weight.fill_(0.3)
        net[0].weight[0, 0] = 0.0
    train, test = Dataset(y[:200], labels=labels[:200]), Dataset(y[200:], labels=labels[200:])
    table = label_efficiency(
        net,
        train,
        test,
        labels_per_class=(100,),
        repeats=1,
        fine_tune=FineTuning(steps=100, learning_rate=0.05),
        generator=g,
    )
    assert table.select(features="Sequential", head="linear").best.mean < 0.7
    assert table.select(features="Sequential", head="fine-tuned").best.mean > 0.95


def test_tuning_wants_features_that_have_slopes(digits) -> None:
    class Bowl(ll.Energy):
        def __init__(self) -> None:
            super().__init__((1, 8, 8))
            self.centre = nn.Parameter(torch.zeros(1, 8, 8))

        def forward(self, y, *, x=None, z=None):
            return (y - self.centre).flatten(-3).square().sum(-1)

    with pytest.raises(CapabilityError, match="Fine-tuning needs"):
        label_efficiency(Bowl(), *digits, labels_per_class=(1,), repeats=1, fine_tune=True)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).requires_grad_(False)
    with pytest.raises(CapabilityError, match="cannot be differentiated"):
        label_efficiency(net, *digits, labels_per_class=(1,), repeats=1, fine_tune=True)


def test_collapse_is_said(digits) -> None:
    def dead(y: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(y), 5)

    with pytest.raises(DomainError, match=r"dead .* collapsed"):
        probe(dead, *digits, labels_per_class=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_per_class": 0}, "labels_per_class"),
        ({"labels_per_class": 10_000}, "smallest class"),
        ({"labels_per_class": 1, "repeats": 0}, "repeats"),
    ],
)
def test_senseless_budgets_are_refused(digits, kmeans, change, message) -> None:
    with pytest.raises(DomainError, match=message):
        probe(kmeans, *digits, **change)


def test_items_without_labels_are_refused(digits, kmeans) -> None:
    train, test = digits
    with pytest.raises(DomainError, match="'train' carries no labels"):
        probe(kmeans, Dataset(train.y), test)


def test_table_prints_what_it_holds() -> None:
    rows = tuple(
        ProbeRow("A", "linear", labels, 7, torch.tensor(rates, dtype=torch.float64), False)
        for labels, rates in ((1, [0.25, 0.75]), (5, [0.5]))
    )
    table = ProbeTable(rows, 1000, ("A remark.",))
    lines = str(table).splitlines()
    assert lines[0].split("  ")[-2:] == ["1 label a class", "5 labels a class"]
    assert "0.500 ± 0.354" in lines[1]
    assert "0.500 ± 0.000" in lines[1]
    assert lines[-1] == "A remark."
    assert table.curves() == {"A, linear": {1: rows[0].rates, 5: rows[1].rates}}
    with pytest.raises(DomainError, match="no such row"):
        table.select(features="B")
