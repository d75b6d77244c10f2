"""An energy with a known Gibbs distribution and a sampler that shows where its chains come from."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import lowland as ll
from lowland.sample import Target
from lowland.train import Strategy

Y = torch.randn(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
sgd = functools.partial(torch.optim.SGD, lr=1.0)
frozen = functools.partial(torch.optim.SGD, lr=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Precision(ll.Energy):
    """E = p‖y − m‖²/2, a normal distribution; with an x its mean is mx."""

    def __init__(self, event: tuple[int, ...] = (2,), p: float = 3.0, domain: Any = None) -> None:
        super().__init__(event, domain=domain)
        self.p = nn.Parameter(torch.tensor(p, dtype=torch.float64))
        self.m = nn.Parameter(torch.full(event, 0.5, dtype=torch.float64))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        away = y.to(self.m) - (self.m if x is None else self.m * x)
        return self.p * away.flatten(-len(self.event)).square().sum(-1) / 2

    def configuration(self) -> dict[str, object]:
        return {"event": self.event}


class Steps(NamedTuple):
    y: Tensor
    energy: Tensor
    rejected: Tensor
    nonfinite: Tensor


class Walk:
    """A sampler that adds a fixed shift at each step, so that where chains come from shows."""

    def __init__(self, shift: float = 0.0, refuse: bool = False) -> None:
        self.shift, self.refuse = shift, refuse

    def init(self, target: Target, y: Tensor, like: Any = None) -> Steps:
        none = torch.zeros(len(y), dtype=torch.int64)
        return Steps(y, target.energy(y), none, none)

    def step(
        self,
        target: Target,
        state: Any,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> Any:
        if self.refuse:
            return state._replace(rejected=state.rejected + 1)
        return state._replace(y=state.y + self.shift)


def one_step(energy: ll.Energy, data: Any, strategy: Strategy, **more: Any) -> ll.Fit:
    options: dict[str, Any] = {"steps": 1, "batch_size": 200, "generator": seeded(3), **more}
    return ll.fit(energy, data, strategy, **{"optimizer": sgd, **options})
