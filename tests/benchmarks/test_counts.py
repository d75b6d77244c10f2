"""The counts that masked text is compared with: a distribution for any neighbours."""

import importlib.util
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "benchmarks" / "_counts.py"


@pytest.fixture(scope="module")
def counts():
    spec = importlib.util.spec_from_file_location("_counts", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = torch.randint(9, (400,), generator=torch.Generator().manual_seed(0))
    return module.Neighbours(torch.cat([text, torch.tensor([9, 1, 9])]), 12)


def test_it_sums_to_one_for_every_pair_of_neighbours(counts):
    for left in range(-1, 12):
        for right in range(-1, 12):
            chance = counts.chance(left, right)
            assert chance.sum().item() == pytest.approx(1, abs=1e-12)
            assert (chance > 0).all()


def test_it_is_what_the_rule_says(counts):
    # After 9 stood 1, once, with 9 after it; before 9 stood the end of the random text, and 1.
    single = counts.single[1].item()
    assert counts.before[9].total() == 2
    kinds = len(counts.before[9])
    before = (kinds * single + counts.before[9][1]) / (kinds + 2)
    assert counts.chance(9, 9)[1].item() == pytest.approx((((single + 1) / 2 + before) / 2 + 1) / 2)


def test_neighbours_that_were_never_seen_leave_single_words(counts):
    assert torch.equal(counts.chance(-1, -1), counts.single)
