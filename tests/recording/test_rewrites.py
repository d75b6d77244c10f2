"""Cheaper operations in a trace: used, and the same to the bit."""

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lowland._recording.rewrites import by_channels, by_rows, repeated
from lowland.sample import Target
from lowland.sample._trace import Trace, traced

# The package has a function of the name of the folder that it is in.
_trace = importlib.import_module("lowland.sample._trace")


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def recorded(net: nn.Module, y: Tensor) -> Trace:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(noise(*parameter.shape) / parameter[0].numel() ** 0.5)
    found = traced(lambda y, x: net(y).flatten(1).sum(1), y, None)
    assert isinstance(found, Trace)
    return found


def forced(net: nn.Module, y: Tensor, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """Whether or not this machine finds the same bits, which differs from one to another."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "equal", lambda a, b: True)
        patch.setattr(_trace, "same", lambda a, b: True)
        return recorded(net, y)


def calls(trace: Trace) -> list[object]:
    return [value for name, value in trace.code.names.items() if name.startswith("call_")]


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 2, "dilation": 2}])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [1, 2])
def test_the_slope_of_a_convolution_is_a_transposed_one(
    options: dict[str, int], groups: int, axes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = nn.Conv1d if axes == 1 else nn.Conv2d
    net = nn.Sequential(
        kind(2, 4, 3, **options, groups=groups), nn.Tanh(), kind(4, 3, 3, padding=1), nn.SiLU()
    )
    y = noise(5, 2, *[9] * axes)
    agree(recorded(net, y), net, y)
    trace = forced(net, y, monkeypatch)
    backward = torch.ops.aten.convolution_backward.default
    assert not {backward, backward._op} & set(calls(trace))
    assert (by_channels in calls(trace)) == (axes == 2)
    agree(trace, net, y, exactly=False)


def agree(trace: Trace, net: nn.Module, y: Tensor, *, exactly: bool = True) -> None:
    plain = Target(lambda y: net(y).flatten(1).sum(1), trace=False)
    tolerance = 0.0 if exactly else 1e-4
    for long in (False, True):
        bound = trace.bind(None, long=long)
        for points in (y, 3 * y.flip(0)):
            wanted = plain.slope(points)
            for found in (bound.slope(points), (wanted[0], bound.gradient(points))):
                assert found[1].is_contiguous()
                torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chains", [1, 3, 64, 600])
def test_weights_are_laid_out_for_small_products(
    chains: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 16), nn.Tanh())
    y = noise(chains, 5)
    for trace, exactly in ((recorded(net, y), True), (forced(net, y, monkeypatch), False)):
        assert repeated in calls(trace)
        assert by_rows in calls(trace) or exactly
        agree(trace, net, y, exactly=exactly)
        # Weights that were changed are laid out again.
        with torch.no_grad():
            net[0].weight.mul_(1.5)
        agree(trace, net, y, exactly=exactly)


class Around(nn.Module):
    """What goes in, added to what comes out."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, y: Tensor) -> Tensor:
        return y + self.inner(y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.SiLU(), nn.Conv2d(4, 6, 3, stride=2)],
        lambda: [Around(nn.Conv2d(4, 4, 3, padding=1), nn.Softplus()), nn.Conv2d(4, 2, 1)],
        lambda: [nn.GroupNorm(2, 4), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 3)],
        lambda: [nn.ELU(), nn.Flatten(2), nn.Conv1d(4, 3, 5, stride=3)],
        lambda: [nn.ConvTranspose2d(4, 2, 3, stride=2), nn.GELU(), nn.Conv2d(2, 2, 3)],
    ],
    ids=["strided", "residual", "normalised", "flattened", "upwards"],
)
@pytest.mark.parametrize("inputs", [1, 3])
def test_layouts_are_not_seen_outside(
    layers: Callable[[], list[nn.Module]],
    dtype: torch.dtype,
    inputs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = nn.Sequential(nn.Conv2d(inputs, 4, 3, padding=1), *layers(), nn.SiLU()).to(dtype)
    y = noise(6, inputs, 8, 8).to(dtype)
    agree(recorded(net, y), net, y)
    trace = forced(net, y, monkeypatch)
    assert (by_channels in calls(trace)) == (dtype == torch.float32)
    agree(trace, net, y, exactly=False)


@pytest.mark.parametrize("broken", ["fails", "differs"])
def test_without_rewrites_there_still_is_a_trace(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(graph: object, y: object) -> None:
        raise NotImplementedError("no such product for this type")

    def differs(graph: torch.fx.Graph, y: object) -> None:
        for node in graph.nodes:
            if node.target is torch.ops.aten.tanh.default:
                node.target = torch.ops.aten.sigmoid.default

    monkeypatch.setattr(_trace, "rewrite", {"fails": fails, "differs": differs}[broken])
    net, y = nn.Sequential(nn.Linear(2, 3), nn.Tanh()), noise(4, 2)
    agree(recorded(net, y), net, y)
