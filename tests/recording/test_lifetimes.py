"""Recorded code that frees and overwrites its tensors: never one that is still looked at."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lowland.sample import Target
from lowland.sample._trace import Trace, traced


def twice_used(y: Tensor) -> Tensor:
    a = torch.nn.functional.silu(y)
    return (a * a.sigmoid() + a).sum(1)


def through_views(y: Tensor) -> Tensor:
    a = torch.tanh(y)
    return (a + a.t().t() * a.reshape(-1).view_as(a)).square().sum(1)


def its_own_gradient(y: Tensor) -> Tensor:
    return y.square().sum(1) / 2


def against_its_transpose(y: Tensor) -> Tensor:
    a = y.exp()
    return (a - (2 * a).t()).square().sum(1)


@pytest.mark.parametrize(
    "function", [twice_used, through_views, its_own_gradient, against_its_transpose]
)
def test_what_is_overwritten_is_not_needed_again(function: Callable[[Tensor], Tensor]) -> None:
    y = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    found = traced(lambda y, x: function(y), y, None)
    assert isinstance(found, Trace)
    bound, plain = found.bind(None), Target(function, trace=False)
    for points in (y, 2 * y.flip(0)):
        given = points.clone()
        energy, gradient = bound.slope(points)
        wanted = plain.slope(points)
        assert torch.equal(energy, wanted[0])
        assert torch.equal(gradient, wanted[1])
        assert torch.equal(bound.gradient(points), wanted[1])
        with torch.inference_mode():
            for _ in range(2):
                assert torch.equal(bound.passing(points), wanted[1])
        assert torch.equal(points, given)
        # A second call makes something new, and leaves what the first returned as it is.
        bound.slope(3 * points)
        assert torch.equal(gradient, wanted[1])


def test_memory_is_kept_from_one_call_to_the_next_for_who_does_not_look_back() -> None:
    y = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    found = traced(lambda y, x: twice_used(y), y, None)
    assert isinstance(found, Trace)
    bound = found.bind(None)
    with torch.inference_mode():
        assert bound.passing(y).data_ptr() == bound.passing(2 * y).data_ptr()
        assert bound.gradient(y).data_ptr() != bound.passing(y).data_ptr()
    # For few calls it does not pay.
    brief = found.bind(None, long=False)
    assert brief.passing is brief.gradient
