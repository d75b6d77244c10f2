"""Curves and histograms show the numbers they were given."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import lowland as ll
from lowland import DomainError
from lowland.plot import histogram, training
from lowland.train import History

HISTORY = History(
    step=(1, 2, 3),
    seconds=(0.1, 0.2, 0.3),
    loss=(100.0, 10.0, 1.0),
    data_energy=(3.0, 2.0, -1.0),
    negative_energy=(4.0, None, 5.0),
)


def test_curves_are_the_history() -> None:
    loss, energies = training(HISTORY).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 100], [2, 10], [3, 1]]
    assert energies.lines[0].get_xydata().tolist() == [[1, 3], [2, 2], [3, -1]]
    assert energies.lines[1].get_xydata().tolist() == [[1, 4], [3, 5]]
    assert [text.get_text() for text in energies.get_legend().get_texts()] == ["data", "negatives"]
    assert (loss.get_yscale(), energies.get_yscale()) == ("log", "linear")
    assert {panel.get_xlabel() for panel in (loss, energies)} == {"step"}


def test_without_negatives_there_is_one_curve_and_no_legend() -> None:
    y = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    run = ll.fit(ll.energies.KMeans(y[:3]), y, ll.CoordinateDescent(), steps=3)
    _, energies = training(run).axes
    assert len(energies.lines) == 1
    assert energies.get_legend() is None


def test_one_step_is_a_dot() -> None:
    history = History((1,), (0.1,), (2.0,), (2.0,), (None,))
    assert training(history).axes[0].lines[0].get_marker() == "o"


def test_an_empty_history_is_refused() -> None:
    with pytest.raises(DomainError, match="no steps"):
        training(History((), (), (), (), ()))


def _bars(figure: Figure) -> list[tuple[np.ndarray, np.ndarray]]:
    stairs = [patch.get_data() for patch in figure.axes[0].patches][::2]
    return [(data.values, data.edges) for data in stairs]


def test_histograms_share_bins_and_lose_no_score() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {
        "digits": torch.rand(50, generator=generator) - 0.5,
        "noise": 1 + torch.rand(7, 3, generator=generator).double(),
    }
    figure = histogram(scores, bins=13)
    (first, edges), (second, same) = _bars(figure)
    np.testing.assert_array_equal(edges, same)
    assert len(first) == 13
    assert first.sum() == pytest.approx(1)
    assert second.sum() == pytest.approx(1)
    expected, _ = np.histogram(scores["noise"].numpy(), edges)
    np.testing.assert_allclose(second, expected / 21)
    assert figure.axes[0].get_xscale() == "linear"


def test_scores_of_many_sizes_have_a_logarithmic_axis() -> None:
    figure = histogram({"a": torch.tensor([0.01, 0.02]), "b": torch.tensor([50.0, 100.0])}, bins=4)
    (first, edges), (second, _) = _bars(figure)
    np.testing.assert_allclose(edges, np.geomspace(0.01, 100, 5))
    assert (first.sum(), second.sum()) == (1, 1)
    assert figure.axes[0].get_xscale() == "log"


def test_equal_scores_can_be_drawn() -> None:
    (counts, _), *_ = _bars(histogram({"a": torch.zeros(3)}))
    assert counts.sum() == 1


def test_given_axes_are_drawn_in() -> None:
    figure = Figure()
    assert histogram({"a": torch.rand(5)}, axes=figure.subplots()) is figure


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "empty"),
        ({"a": torch.zeros(0)}, "at least one number"),
        ({"a": torch.tensor([0.0, math.nan])}, "of which 1 are not"),
    ],
)
def test_scores_that_cannot_be_drawn_are_refused(
    scores: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(DomainError, match=message):
        histogram(scores)
    with pytest.raises(DomainError, match="bins"):
        histogram({"a": torch.rand(3)}, bins=0)
