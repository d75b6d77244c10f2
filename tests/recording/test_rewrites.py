"""Cheaper operations in a trace: used, and the same to the bit."""

import pytest
import torch
from torch import Tensor, nn

from lowland._recording.rewrites import by_rows, repeated
from lowland.sample import Target
from lowland.sample._trace import Trace, traced


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def recorded(net: nn.Module, y: Tensor) -> Trace:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(noise(*parameter.shape) / parameter[0].numel() ** 0.5)
    found = traced(lambda y, x: net(y).flatten(1).sum(1), y, None)
    assert isinstance(found, Trace)
    return found


def calls(trace: Trace) -> list[object]:
    return [value for name, value in trace.code.names.items() if name.startswith("call_")]


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 2, "dilation": 2}])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [1, 2])
def test_the_slope_of_a_convolution_is_a_transposed_one(
    options: dict[str, int], groups: int, axes: int
) -> None:
    kind = nn.Conv1d if axes == 1 else nn.Conv2d
    net = nn.Sequential(
        kind(2, 4, 3, **options, groups=groups), nn.Tanh(), kind(4, 3, 3, padding=1), nn.SiLU()
    )
    y = noise(5, 2, *[9] * axes)
    trace = recorded(net, y)
    backward = torch.ops.aten.convolution_backward.default
    assert not {backward, backward._op} & set(calls(trace))
    agree(trace, net, y)


def agree(trace: Trace, net: nn.Module, y: Tensor) -> None:
    plain = Target(lambda y: net(y).flatten(1).sum(1), trace=False)
    for long in (False, True):
        bound = trace.bind(None, long=long)
        for points in (y, 3 * y.flip(0)):
            for found, wanted in zip(bound.slope(points), plain.slope(points), strict=True):
                assert torch.equal(found, wanted)
            assert torch.equal(bound.gradient(points), plain.slope(points)[1])


@pytest.mark.parametrize("chains", [1, 3, 64, 600])
def test_weights_are_laid_out_for_small_products(chains: int) -> None:
    net = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 16), nn.Tanh())
    y = noise(chains, 5)
    trace = recorded(net, y)
    assert repeated in calls(trace)
    assert by_rows in calls(trace) or chains == 1
    agree(trace, net, y)
    # Weights that were changed are laid out again.
    with torch.no_grad():
        net[0].weight.mul_(1.5)
    agree(trace, net, y)
