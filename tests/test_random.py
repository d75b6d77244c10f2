"""Coins by 16 bits of their own and lower bits that they share."""

import pytest
import torch

from lowland._random import coins

KINDS = (torch.float16, torch.float32, torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("n", [100, 20_000])
def test_certain_coins_are_certain(dtype: torch.dtype, n: int) -> None:
    for seed in range(50):
        assert (coins(torch.ones(n, dtype=dtype), seeded(seed)) == 1).all()
        assert (coins(torch.zeros(n, dtype=dtype), seeded(seed)) == 0).all()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("n", [1000, 8000])
def test_coins_fall_with_their_chances_and_independently(dtype: torch.dtype, n: int) -> None:
    chance = torch.linspace(0.05, 0.95, n).to(dtype)
    g, draws = seeded(), 400
    drawn = torch.stack([coins(chance.clone(), g) for _ in range(draws)])
    assert drawn.dtype == dtype
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    away = drawn.double() - chance.double()
    spread = (chance.double() * (1 - chance.double())).sqrt()
    score = away.mean(0) / spread * draws**0.5
    assert score.abs().max() < 6
    assert 0.9 < score.square().mean() < 1.1
    neighbours = (away[:, 1:] * away[:, :-1] / (spread[1:] * spread[:-1])).mean()
    assert neighbours.abs() < 5 / (draws * n) ** 0.5
    # The sums over all coins of a call vary as those of independent ones do.
    assert 0.7 < away.sum(1).var() / spread.square().sum() < 1.4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chances_below_sixteen_bits_are_met(dtype: torch.dtype) -> None:
    g, n, calls, chance = seeded(), 2**16, 400, 2.0**-18
    heads = sum(float(coins(torch.full((n,), chance, dtype=dtype), g).sum()) for _ in range(calls))
    # Of some 100 calls in which the shared bits allow it, each brings one on average.
    assert abs(heads - calls * n * chance) < 5 * (100 + 75) ** 0.5


def test_one_seed_gives_the_same_coins() -> None:
    chance = torch.rand(90, 100, generator=seeded())
    first, again, other = (coins(chance.clone(), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
