"""Modes and names of modules: as torch has them, in less time."""

import torch
from torch import nn

from lowland._modes import evaluating, named_parameters


class Frozen(nn.BatchNorm1d):
    """A part that stays in evaluation mode, and counts how often it was asked."""

    asked = 0

    def train(self, mode: bool = True) -> "Frozen":
        self.asked += 1
        return super().train(False)


def tied() -> nn.Module:
    inner = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2, bias=False))
    net = nn.Sequential(inner, nn.ReLU(), nn.Linear(2, 2), inner)
    net.register_parameter("own", nn.Parameter(torch.zeros(1)))
    net.register_parameter("none", None)
    net.register_module("nothing", None)
    net[2].register_parameter("again", inner[0].bias)
    return net


def test_names_are_those_of_torch() -> None:
    net = tied()
    found, wanted = named_parameters(net), list(net.named_parameters())
    assert [name for name, _ in found] == [name for name, _ in wanted]
    assert all(a is b for (_, a), (_, b) in zip(found, wanted, strict=True))


def test_modes_come_back_part_by_part() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    net[1][0].eval()
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == [True, True, True, False, True]


def test_a_part_with_something_to_do_then_is_asked() -> None:
    net = nn.Sequential(nn.Linear(1, 1), Frozen(1))
    net[1].training, net[1].asked = True, 0
    with evaluating(net):
        assert net[1].asked == 1
        assert not any(part.training for part in net.modules())
