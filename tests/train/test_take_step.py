"""Steps without their surroundings: to the bit what torch's own do."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from lowland.train.take_step import take_step


def parameters(seed: int = 0) -> list[nn.Parameter]:
    g = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(torch.randn(shape, generator=g)) for shape in ((3, 4), (4,), (2, 2))]
    for one in made[:2]:  # the last has no gradient
        one.grad = torch.randn(one.shape, generator=g)
    return made


class Own(torch.optim.SGD):
    """Another optimizer by inheritance."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["lr"] *= 0.5
        super().step(closure)


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "plain": lambda p: torch.optim.SGD(p, lr=0.3),
    "two groups": lambda p: torch.optim.SGD(
        [{"params": p[:1], "lr": 0.5}, {"params": p[1:]}], lr=0.1
    ),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9),
    "decay": lambda p: torch.optim.SGD(p, lr=0.3, weight_decay=0.1),
    "uphill": lambda p: torch.optim.SGD(p, lr=0.3, maximize=True),
    "a tensor for a rate": lambda p: torch.optim.SGD(p, lr=torch.tensor(0.3)),
    "inherited": lambda p: Own(p, lr=0.3),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.3),
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.3, weight_decay=0.1, fused=True),
    "fused Adam, two groups": lambda p: torch.optim.Adam(
        [{"params": p[:1], "lr": 0.5, "betas": (0.5, 0.6)}, {"params": p[1:]}], fused=True
    ),
    "fused Adam with AMSGrad": lambda p: torch.optim.Adam(p, lr=0.3, amsgrad=True, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.3, fused=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_the_optimizer(name: str) -> None:
    ours, theirs = parameters(), parameters()
    one, other = OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)
    for step in range(4):
        if step == 2:  # one that had no gradient before
            ours[2].grad, theirs[2].grad = torch.ones(2, 2), torch.ones(2, 2)
        take_step(one)
        other.step()
    states = [list(each.state_dict()["state"].values()) for each in (one, other)]
    assert str(states[0]) == str(states[1])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], parameters()[0])


@pytest.mark.parametrize("kind", [torch.optim.SGD, partial(torch.optim.Adam, fused=True)])
def test_hooks_are_called(kind: Any) -> None:
    optimizer, called = kind(parameters(), lr=0.1), []
    handle = optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    take_step(optimizer)
    handle.remove()
    handle = optimizer.register_step_post_hook(lambda *_: called.append("after"))
    take_step(optimizer)
    handle.remove()
    everywhere = register_optimizer_step_post_hook(lambda *_: called.append("everywhere"))
    take_step(optimizer)
    everywhere.remove()
    take_step(optimizer)
    assert called == ["before", "after", "everywhere"]


def test_a_schedule_sees_the_steps() -> None:
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(2):
        take_step(optimizer)
        schedule.step()  # which warns, an error here, if it has seen no step
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
