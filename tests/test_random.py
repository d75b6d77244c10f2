"""Coins by whole numbers: they fall with their chances, and each for itself."""

import pytest
import torch

from lowland._random import coins

KINDS = (torch.float16, torch.float32, torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", KINDS)
def test_certain_coins_are_certain(dtype: torch.dtype) -> None:
    for seed in range(50):
        assert (coins(torch.ones(20_000, dtype=dtype), seeded(seed)) == 1).all()
        assert (coins(torch.zeros(20_000, dtype=dtype), seeded(seed)) == 0).all()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("n", [1, 999, 8000])
def test_coins_fall_with_their_chances_and_independently(dtype: torch.dtype, n: int) -> None:
    chance = torch.linspace(0.95, 0.05, n).to(dtype)
    g, draws = seeded(), 400
    drawn = torch.stack([coins(chance.clone(), g) for _ in range(draws)])
    assert drawn.dtype == dtype
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    away = drawn.double() - chance.double()
    spread = (chance.double() * (1 - chance.double())).sqrt()
    score = away.mean(0) / spread * draws**0.5
    assert score.abs().max() < 6
    if n > 1:
        assert 0.8 < score.square().mean() < 1.2
        near = (away[:, 1:] * away[:, :-1] / (spread[1:] * spread[:-1])).mean()
        assert near.abs() < 5 / (draws * n) ** 0.5
        assert 0.7 < away.sum(1).var() / spread.square().sum() < 1.4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rare", [2.0**-16, 2.0**-20])
def test_rare_coins_are_as_rare_as_they_should_be(dtype: torch.dtype, rare: float) -> None:
    g, n, calls = seeded(), 2**18, 100
    for chance in (rare, 1 - rare):
        odd = 0.0
        for _ in range(calls):
            heads = float(coins(torch.full((n,), chance, dtype=dtype), g).sum())
            odd += heads if chance < 0.5 else n - heads
        expected = calls * n * rare
        assert abs(odd - expected) < 5 * expected**0.5


def test_one_seed_gives_the_same_coins_of_any_shape() -> None:
    chance = torch.rand(9, 11, generator=seeded())
    first, again, other = (coins(chance.clone(), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == chance.shape
