"""Shapes at the border, and chunks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowland import DivergedError, ShapeError
from lowland._shapes import all_finite, batch_shape, chunks, flatten_batch, require_finite

shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@given(shapes, shapes)
def test_the_batch_is_what_stands_before_the_event(
    batch: tuple[int, ...], event: tuple[int, ...]
) -> None:
    y = torch.zeros((*batch, *event))
    assert batch_shape(y, event) == batch
    assert flatten_batch(y, batch).shape == (math.prod(batch), *event)


@given(shapes, shapes)
def test_another_event_is_refused(shape: tuple[int, ...], event: tuple[int, ...]) -> None:
    ends = len(shape) >= len(event) and shape[len(shape) - len(event) :] == event
    if not ends:
        with pytest.raises(ShapeError, match="'data' must have shape"):
            batch_shape(torch.zeros(shape), event, "data")


@pytest.mark.wrong_types
def test_what_is_not_a_tensor_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'y'.*list.*as_tensor"):
        batch_shape([1.0], (1,))  # type: ignore[arg-type]


@given(st.integers(0, 500), st.integers(0, 50), st.integers(1, 200))
def test_chunks_cover_every_item_once(n: int, size: int, budget: int) -> None:
    parts = list(chunks(n, size, budget))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(n))
    assert all((p.stop - p.start) * size <= max(budget, size) for p in parts)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_seen(bad: float) -> None:
    assert not all_finite(torch.tensor([[0.0, bad], [1.0, 2.0]]))
    assert not all_finite(torch.tensor([math.inf, -math.inf]))


def test_values_whose_sum_overflows_are_finite() -> None:
    assert all_finite(torch.full((4,), 3e38))
    assert all_finite(torch.empty(0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named(bad: float) -> None:
    values = torch.tensor([[0.0, 1.0], [2.0, bad]])
    with pytest.raises(DivergedError, match=rf"The score.*1 of 4.*\(1, 1\) \({bad}\)"):
        require_finite(values, "The score")
    with pytest.raises(DivergedError, match=r"index \(\)"):
        require_finite(torch.tensor(bad), "It")
