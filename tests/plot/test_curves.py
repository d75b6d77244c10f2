"""Label-efficiency curves show the means and spreads they were given."""

import pytest
import torch

from lowland import DomainError
from lowland.plot import label_efficiency

RATES = {
    "A": {10: torch.tensor([0.8, 0.9]), 1: torch.tensor([0.2, 0.4])},
    "B": {1: torch.tensor([0.5])},
}


def test_curves_are_means_and_bands_one_standard_deviation() -> None:
    (panel,) = label_efficiency(RATES).axes
    first, second = panel.lines
    assert first.get_xydata().flatten().tolist() == pytest.approx([1, 0.3, 10, 0.85])
    assert second.get_xydata().flatten().tolist() == pytest.approx([1, 0.5])
    band = panel.collections[0].get_paths()[0].vertices
    spread = float(torch.tensor([0.2, 0.4]).std())
    heights = sorted({round(float(y), 6) for x, y in band if x == 1})
    assert heights == pytest.approx([0.3 - spread, 0.3 + spread], abs=1e-5)
    assert panel.get_xscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "10"]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["A", "B"]


@pytest.mark.parametrize(
    "rates", [{}, {"A": {}}, {"A": {1: torch.tensor([])}}, {"A": {1: torch.tensor([float("nan")])}}]
)
def test_what_cannot_be_drawn_is_refused(rates) -> None:
    with pytest.raises(DomainError):
        label_efficiency(rates)
