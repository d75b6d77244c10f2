"""The kernels of every instruction set that this processor runs, against the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import WIDTHS, library
from torch import Tensor

from lowland.energies._native_pass import NativePass, library_for
from lowland.energies._scored_pass import Sums


def held(n: int, k: int, d: int) -> Sums:
    return Sums(
        torch.full((n,), -1),
        torch.zeros(k, d, dtype=torch.float64),
        torch.zeros(k, dtype=torch.float64),
        torch.zeros((), dtype=torch.float64),
    )


def assigned(y: Tensor, prototypes: Tensor, width: int, origin: Tensor | None = None) -> Sums:
    sums = held(len(y), *prototypes.shape)
    one = NativePass(library(width), y, origin, sums, width)
    assert one(prototypes, afresh=True, measure=True) == len(y)
    return sums


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 150),
    d=st.integers(1, 40),
    k=st.integers(1, 70),
    shifted=st.booleans(),
)
def test_a_pass_equals_its_definition(
    width: int, seed: int, n: int, d: int, k: int, shifted: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Small whole numbers: every score is exact, and there are ties.
    y = torch.randint(-3, 4, (n, d), generator=generator).float()
    prototypes = torch.randint(-3, 4, (k, d), generator=generator).float()
    origin = torch.randint(-3, 4, (d,), generator=generator).float() if shifted else None
    got = assigned(y, prototypes, width, origin)
    points = (y if origin is None else y - origin).double()
    codes = torch.cdist(points, prototypes.double()).square().round().argmin(1)
    assert torch.equal(got.codes, codes)  # the first on ties
    want = torch.zeros(k, d, dtype=torch.float64).index_add_(0, codes, points)
    assert torch.equal(got.sums, want)
    assert torch.equal(got.counts, torch.bincount(codes, minlength=k).double())
    assert got.squares == points.square().sum()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_sums_follow_the_items_that_move(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(-9, 10, (5000, 7), generator=generator).float()
    sums = held(5000, 20, 7)
    one = NativePass(library(width), y, None, sums, width)
    before = sums.codes.clone()
    for step in range(4):
        prototypes = torch.randint(-9, 10, (20, 7), generator=generator).float()
        moved = one(prototypes, afresh=step == 0, measure=step == 0)
        assert moved == (sums.codes != before).sum()
        before = sums.codes.clone()
        want = torch.zeros(20, 7, dtype=torch.float64).index_add_(0, before, y.double())
        assert torch.equal(sums.sums, want)
        assert torch.equal(sums.counts, torch.bincount(before, minlength=20).double())


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("d", [1, 8, 33])
def test_an_item_scores_the_same_wherever_it_stands(width: int, d: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(1000, d, generator=generator)
    # Pairs of prototypes within rounding of each other: a code tells how its score was rounded.
    half = torch.randn(40, d, generator=generator)
    prototypes = torch.cat([half, half * (1 + 1e-7)])
    whole = assigned(y, prototypes, width).codes
    for start in (1, 5, 47, 999):
        assert torch.equal(assigned(y[start:].clone(), prototypes, width).codes, whole[start:])


def test_data_that_no_kernel_takes_are_left_to_torch() -> None:
    y = torch.zeros(6, 4)
    assert library_for(y.double()) is None
    assert library_for(y.T) is None
    assert library_for(y.to("meta")) is None
