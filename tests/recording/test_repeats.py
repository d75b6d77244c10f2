"""What is recorded twice is done once, if it is the same a second time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lowland._recording import Untraceable, record, without_changes, without_repeats


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WEIGHT = torch.nn.Parameter(noise(3, 3, seed=1))


def slopes(y: Tensor) -> list[Tensor]:
    """Of one function in two tensors, each by a way of its own there and back."""
    with torch.enable_grad():
        at = y.detach().requires_grad_()
        (first,) = torch.autograd.grad((at @ WEIGHT).tanh().square().sum(), at)
        (second,) = torch.autograd.grad((y @ WEIGHT).tanh().square().sum(), WEIGHT)
    return [first, second]


def operations(function: Callable[[Tensor], list[Tensor]]) -> tuple[list[str], list[Tensor]]:
    """What is left of a recording, and what it gives."""
    y = noise(4, 3)
    recorded = record(function, y)
    assert not isinstance(recorded, Untraceable)
    without_changes(recorded)
    without_repeats(recorded)
    recorded.recompile()
    names = [str(node.target) for node in recorded.graph.nodes if node.op == "call_function"]
    return names, list(recorded(y))


def test_two_derivatives_go_one_way_there_and_back() -> None:
    names, found = operations(slopes)
    assert all(map(torch.equal, found, slopes(noise(4, 3))))
    assert names.count("aten.tanh.default") == names.count("aten.tanh_backward.default") == 1
    assert names.count("aten.mm.default") == 3


@pytest.mark.parametrize(
    "function",
    [
        lambda y: [y + 1, y + 2],
        lambda y: [torch.div(1, y), torch.div(2, y)],
        lambda y: [y.sum(0), y.sum(1)],
        lambda y: [y.mul(0.0), y.mul(-0.0)],
        lambda y: [y @ WEIGHT, y @ WEIGHT.t()],
        lambda y: [y.flip(0).exp(), y.exp()],
    ],
)
def test_what_differs_stays_apart(function: Callable[[Tensor], list[Tensor]]) -> None:
    found, wanted = operations(function)[1], function(noise(4, 3))
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.signbit(), other.signbit())


def test_random_numbers_are_drawn_each_time() -> None:
    names, (one, other) = operations(lambda y: [torch.rand_like(y), torch.rand_like(y)])
    assert len(names) == 2
    assert not torch.equal(one, other)
