"""How chains are kicked, clipped and moved in each domain."""

import functools
import math
from typing import Any

import pytest
import torch
from contrasts import Precision, Walk, frozen, one_step, seeded
from torch import Tensor, nn

import lowland as ll
from lowland.sample import MALA, Target
from lowland.train.contrastive.chains import Clipped, kicked

CD, PCD = ll.ContrastiveDivergence, ll.PersistentContrastiveDivergence


def test_clipping_shortens_slopes_and_leaves_energies() -> None:
    target = Clipped(lambda y: y.square().sum(-1) / 2, 1.0)
    y = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    energy, gradient = target.slope(y)
    torch.testing.assert_close(energy, torch.tensor([12.5, 0.125]))
    torch.testing.assert_close(gradient, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    torch.testing.assert_close(target.gradient(y), gradient)


def test_clipped_chains_with_an_accept_test_still_aim_at_the_energy() -> None:
    target = Clipped(lambda y: y.square().sum(-1) / 2, 0.5)
    start = 3 * torch.randn(4000, 1, generator=seeded())
    end = ll.train.contrastive.chains.advance(
        MALA(step_size=0.5), target, start, 60, generator=seeded(1)
    )
    assert end.y.mean().item() == pytest.approx(0.0, abs=5 / math.sqrt(4000))
    assert end.y.var().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("domain", [ll.Real(), ll.Binary(), ll.Categorical(5)])
def test_a_kick_stays_in_the_domain(domain: Any) -> None:
    y = torch.zeros(20_000, 1)
    y = y.long() if isinstance(domain, ll.Categorical) else y
    assert kicked(domain, y, 0.0, seeded()) is y
    moved = kicked(domain, y, 0.2, seeded())
    domain.check(moved)
    if isinstance(domain, ll.Real):
        assert moved.std().item() == pytest.approx(0.2, rel=0.03)
    else:
        assert (moved != y).double().mean().item() == pytest.approx(0.2, abs=0.015)
    if isinstance(domain, ll.Categorical):
        counts = torch.bincount(moved.flatten(), minlength=5)[1:]
        assert counts.min() > 0.85 * counts.max()


class Flip(Walk):
    """Flips the first symbol at each step."""

    def step(self, target: Target, state: Any, beta: float, generator: Any, **more: Any) -> Any:
        y = state.y.clone()
        y[:, 0] = 1 - y[:, 0]
        return state._replace(y=y)


@pytest.mark.parametrize("strategy", [CD(k=1, sampler=Flip()), PCD(k=1, sampler=Flip())])
def test_symbols_are_served_by_a_sampler_of_their_own(strategy: Any) -> None:
    y = torch.randint(2, (50, 3), generator=seeded()).double()
    energy = Precision((3,), domain=ll.Binary())
    fit = one_step(energy, y, strategy, steps=3, optimizer=frozen)
    assert fit.state is not None
    if "buffer" in fit.state:
        ll.Binary().check(fit.state["buffer"])
        assert fit.state["buffer"].mean().item() == pytest.approx(0.5, abs=0.05)


class Fields(ll.Energy):
    """E = −bᵀ(y = 1): each symbol on its own, whose maximum likelihood is its frequency."""

    def __init__(self, domain: Any) -> None:
        super().__init__((3,), domain=domain)
        self.b = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        ones = y if y.is_floating_point() else (y == 1).to(self.b)
        return -(ones * self.b).sum(-1)


@pytest.mark.parametrize("strategy", [CD(k=6), PCD(k=6, buffer=300, reinit=0.0)])
@pytest.mark.parametrize("domain", [ll.Binary(), ll.Categorical(3)])
def test_symbols_are_moved_by_the_sampler_of_their_domain(domain: Any, strategy: Any) -> None:
    chance = torch.tensor([0.2, 0.5, 0.8]).double()
    y = (torch.rand(400, 3, generator=seeded(4), dtype=torch.float64) < chance).double()
    y = y if isinstance(domain, ll.Binary) else y.long()
    energy = Fields(domain)
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    ll.fit(energy, y, strategy, steps=80, batch_size=400, optimizer=adam, generator=seeded())
    seen = y.double().mean(0)
    others = 1 if isinstance(domain, ll.Binary) else 2
    torch.testing.assert_close(
        energy.b.detach(), (seen / (1 - seen)).log() + math.log(others), rtol=0.0, atol=0.25
    )
