"""The learning rate rises, falls, and goes on where a run resumed."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch

import lowland as ll
from lowland.train import one_cycle

Y = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def energy() -> ll.energies.Autoencoder:
    return ll.energies.Autoencoder.from_data(Y, hidden=(4,), code=2, generator=seeded())


def test_the_rate_follows_the_formula() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    maker = one_cycle(partial(torch.optim.SGD, lr=0.5), 20, warmup=0.2, final=0.1)
    optimizer = maker([parameter])
    rates = []
    for _ in range(24):
        parameter.grad = torch.ones(1)
        before = parameter.item()
        optimizer.step()
        rates.append(before - parameter.item())
    expected = [0.5 * t / 4 for t in range(1, 5)]
    expected += [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * t / 16)) / 2) for t in range(1, 17)]
    assert rates == pytest.approx([*expected, *4 * [0.05]], abs=1e-6)


def test_a_run_resumes_exactly(tmp_path: Path) -> None:
    maker = one_cycle(partial(torch.optim.AdamW, lr=1e-2), 30)
    whole, part, again = energy(), energy(), energy()
    options = {"batch_size": 16, "optimizer": maker, "generator": seeded()}
    ll.fit(whole, Y, ll.Denoising(0.1), steps=30, **options)
    options |= {"checkpoint": tmp_path, "generator": seeded()}
    ll.fit(part, Y, ll.Denoising(0.1), steps=11, **options)
    ll.fit(again, Y, ll.Denoising(0.1), steps=30, resume=True, **options)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"warmup": 1.0}, {"final": -0.1}])
def test_wrong_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ll.DomainError, match="one_cycle needs"):
        one_cycle(torch.optim.AdamW, **{"steps": 10, **wrong})
