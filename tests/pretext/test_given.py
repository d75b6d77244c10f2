"""One mask splits a datum into what is given and what is to be found."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lowland as ll

Given = ll.pretext.Given


@given(
    st.integers(0, 10_000), st.sampled_from([(), (4,), (2, 3)]), st.sampled_from([(3,), (1, 2, 4)])
)
def test_split_and_join_are_inverse(
    seed: int, batch: tuple[int, ...], event: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(event, generator=generator) < 0.5
    mask.view(-1)[0], mask.view(-1)[1] = True, False
    data = torch.randn(*batch, *event, generator=generator)
    pair = Given(mask).split(data)
    assert pair.x.shape == (*batch, int(mask.sum()))
    assert torch.equal(Given(mask).join(*pair), data)


def test_refusals() -> None:
    with pytest.raises(ll.DomainError, match=r"'observed'.*float32"):
        Given(torch.ones(3))
    for value in (True, False):
        with pytest.raises(ll.DomainError, match="'observed' must hide some"):
            Given(torch.full((3,), value))
    halves = Given(torch.tensor([True, False]))
    with pytest.raises(ll.ShapeError, match="'data'"):
        halves.split(torch.zeros(5, 3))
    with pytest.raises(ll.ShapeError, match=r"\(\*batch, 1\).*\(5, 2\)"):
        halves.join(torch.zeros(5, 2), torch.zeros(5, 1))
    with pytest.raises(ll.ShapeError, match="Parts"):
        halves.join(torch.zeros(4, 1), torch.zeros(5, 1))
