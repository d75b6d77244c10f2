"""The demonstration on small settings: every part runs, and the report stands alone."""

import json
import math
import re
from collections.abc import Iterator

import pytest
import torch

from lowland import DomainError, load
from lowland.cli.demo import demo
from lowland.cli.demo.section import Line, Table, line, said
from lowland.cli.demo.settings import Settings
from lowland.cli.demo.train import split_digits, train

TITLES = (
    "In short",
    "In the plane",
    "Training",
    "Hidden halves completed",
    "Noisy digits projected",
    "New digits",
    "Is this a digit?",
    "Features for few labels",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    demo(folder, quick=True)
    return folder


def test_report_holds_every_section_and_needs_no_network(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    for title in TITLES:
        assert f"<h2>{title}</h2>" in page
    words = re.sub(r'src="data:image/png;base64,[^"]*"', "", page)
    assert not re.search(r"https?://", words)
    assert "<script" not in words
    assert "<link" not in words
    assert page.count("<img ") == page.count('src="data:image/png;base64,')
    assert page.count("<img ") >= 15


def test_figures_are_finite_and_each_has_its_yardsticks(out):
    found = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    numbers = list(_numbers(found))
    assert len(numbers) > 100
    assert all(math.isfinite(number) for number in numbers)
    figures = found["figures"]
    assert {"least squares", "KNNImputer", "IterativeImputer"} <= set(figures["completion"])
    assert {"PCA residual", "IsolationForest"} <= set(figures["scores"])
    assert figures["training"]["lowland"]["inertia"] == pytest.approx(
        figures["training"]["scikit-learn"]["inertia"], rel=1e-5
    )
    for row in figures["scores"].values():
        assert row["worst"] == min(row[kind] for kind in row)


def test_energies_lie_beside_the_report(out):
    assert load(out / "k-means").prototypes.shape == (Settings.quick().prototypes, 1, 8, 8)
    assert all((out / name / "energy.json").is_file() for name in ("autoencoder", "network"))


def _numbers(tree) -> Iterator[float]:
    if isinstance(tree, dict):
        for branch in tree.values():
            yield from _numbers(branch)
    else:
        yield tree


def test_training_twice_gives_the_same_energies(tmp_path):
    settings = Settings.quick()
    split = split_digits(settings, seed=3)
    first, second = (train(split, settings, 3, tmp_path / name) for name in ("a", "b"))
    for name, energy in first.energies.items():
        again = second.energies[name].state_dict()
        for key, tensor in energy.state_dict().items():
            assert torch.equal(tensor, again[key]), (name, key)


def test_training_and_held_out_digits_are_apart():
    split = split_digits(Settings(), seed=0)
    assert (len(split.y), len(split.held_y)) == (1437, 360)
    assert float(torch.cdist(split.held_y.flatten(1), split.y.flatten(1)).min()) > 0


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DomainError, match="cannot be written"):
        demo(tmp_path / "file" / "out", quick=True)


def test_line_compares_the_best_with_the_best_and_says_who_loses():
    figures = {"a": {"m": 1.0}, "b": {"m": 3.0}, "c": {"m": 2.0}, "without": {}}
    up = line(figures, "m", question="q", label="m", ours=("a", "b"), larger=True)
    assert (up.ours, up.value, up.yardstick, up.reference, up.verdict) == (
        "b", 3.0, "c", 2.0, "better",
    )  # fmt: skip
    worse = line(figures, "m", question="q", label="m", ours=("c",), larger=False)
    assert (worse.yardstick, worse.verdict) == ("a", "worse")
    assert "we lose" in said(worse)
    assert Line("q", "m", "a", 1.0, "b", 1.0, True).verdict == "equal"


def test_table_leaves_out_what_was_not_measured():
    table = Table({"a": {"m": 1.0}, "b": {}}, {"m": "measure"}, "caption", {})
    assert [row.get("m") for row in table.figures.values()] == [1.0, None]
