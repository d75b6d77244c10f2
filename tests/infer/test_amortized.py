"""Codes from an encoder, and how far they fall short."""

import pytest
import torch

import lowland as ll
from lowland.infer import guess, shortfall

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def plane() -> ll.energies.PCA:
    return ll.energies.PCA(draw(2, 5), draw(5, seed=1))


def test_the_best_encoder_falls_short_of_nothing() -> None:
    energy, y = plane(), draw(6, 5, seed=2)
    guessed = guess(energy, y, energy.encode)
    torch.testing.assert_close(guessed.energy, ll.score(energy, y))
    gap = shortfall(guessed, ll.infer(energy, y))
    torch.testing.assert_close(gap, torch.zeros_like(gap))


def test_a_worse_one_falls_short_by_what_it_misses() -> None:
    energy, y = plane(), draw(2, 3, 5, seed=2)
    guessed = guess(energy, y, lambda items: 0.5 * energy.encode(items))
    assert guessed.z.shape == (2, 3, 2)
    assert torch.isinf(guessed.gap).all()
    assert not guessed.converged.any()
    expected = (0.5 * energy.encode(y) @ energy.components.flatten(1)).square().sum(-1) / 2
    torch.testing.assert_close(shortfall(guessed, ll.infer(energy, y)), expected.detach())


def test_a_guess_outside_the_ball_is_moved_into_it() -> None:
    energy = ll.energies.GLO(torch.nn.Linear(2, 3), event=(3,), m=2).double()
    found = guess(energy, draw(4, 3), lambda y: 10 * y[:, :2])
    assert (found.z.norm(dim=1) <= 1 + 1e-12).all()


def test_the_energys_own_guess_is_where_the_search_starts() -> None:
    y = draw(40, 6)
    generator = torch.Generator().manual_seed(0)
    energy = ll.energies.GLO.from_data(y, m=5, hidden=(8,), generator=generator)
    torch.testing.assert_close(guess(energy, y).z, energy.guess_codes(y))
    one = ll.infer(energy, y, steps=1)
    torch.testing.assert_close(one.z, guess(energy, y).z)
    refined = ll.infer(energy, y, start=guess(energy, y).z)
    assert (shortfall(guess(energy, y), refined) >= 0).all()
    assert refined.converged.all()


def test_what_cannot_be_guessed_is_refused() -> None:
    with pytest.raises(ll.CapabilityError, match="use infer"):
        guess(ll.energies.KMeans(draw(3, 2)), draw(2, 2), lambda y: y)
    with pytest.raises(ll.CapabilityError, match="offers no guess"):
        guess(plane(), draw(2, 5))
    with pytest.raises(ll.ShapeError, match="a code for each item"):
        guess(plane(), draw(2, 5), lambda y: y)
    with pytest.raises(ll.DivergedError, match="energy of a guess"):
        guess(plane(), draw(2, 5), lambda y: y[:, :2] * torch.inf)
