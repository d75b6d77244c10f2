"""infer and free_energy."""

import math

import pytest
import torch

import lowland as ll
from lowland.latent import Latent

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3)])
def test_the_certificate(batch: tuple[int, ...]) -> None:
    energy, y = ll.energies.KMeans(draw(6, 2)), draw(*batch, 2, seed=1)
    found = ll.infer(energy, y)
    assert all(tuple(part.shape) == batch for part in found)
    assert found.z.dtype == torch.int64
    assert not found.energy.requires_grad
    assert found.converged.all()
    assert not found.gap.any()
    torch.testing.assert_close(found.energy, energy(y, z=found.z).detach())
    torch.testing.assert_close(found.energy, ll.score(energy, y))


def test_without_a_latent_there_is_no_code() -> None:
    found = ll.infer(ll.energies.Ring(), draw(3, 2))
    assert found.z is None
    torch.testing.assert_close(found.energy, ll.energies.Ring()(draw(3, 2)))


@pytest.mark.parametrize("beta", [-1.0, math.nan, -math.inf])
def test_beta_is_not_negative(beta: float) -> None:
    for ask in (ll.free_energy, ll.score, ll.project):
        with pytest.raises(ll.DomainError, match="'beta'"):
            ask(ll.energies.KMeans(draw(2, 2)), draw(3, 2), beta=beta)


def test_measures() -> None:
    energy, y = ll.energies.KMeans(draw(6, 2)), draw(3, 2)
    with pytest.raises(ll.DomainError, match=r"'measure'.*'volume'"):
        ll.free_energy(energy, y, measure="volume")
    with pytest.raises(ll.DomainError, match="-inf"):
        ll.free_energy(energy, y, beta=0, measure="sum")
    assert torch.equal(
        ll.free_energy(energy, y, measure="sum"), ll.free_energy(energy, y, measure="mean")
    )


def test_an_unknown_latent_is_refused_by_name() -> None:
    class Odd(Latent):
        pass

    class Strange(ll.Energy):
        def __init__(self) -> None:
            super().__init__((2,), Odd())

        def forward(self, y, *, x=None, z=None):
            return y.sum(-1)

    for beta in (1.0, math.inf):
        with pytest.raises(ll.CapabilityError, match=r"Odd.*Strange"):
            ll.free_energy(Strange(), draw(3, 2), beta=beta)


class Conditional(ll.Energy):
    """The definition only, with a condition."""

    def __init__(self) -> None:
        super().__init__((2,), ll.OneHot(4))

    def forward(self, y, *, x=None, z=None):
        centre = torch.stack([z.to(y), z.to(y).square()], -1) * x
        return (y - centre).square().sum(-1)


@pytest.mark.parametrize("beta", [0.0, 0.5, math.inf])
def test_the_condition_reaches_every_code(beta: float) -> None:
    y, x = draw(5, 2), draw(5, 1, seed=4)
    codes = torch.arange(4, dtype=F64)
    centre = torch.stack([codes, codes.square()], -1) * x.unsqueeze(1)
    table = (y.unsqueeze(1) - centre).square().sum(-1)
    want = (
        table.mean(1)
        if beta == 0
        else table.amin(1)
        if beta == math.inf
        else -((-beta * table).exp().mean(1).log()) / beta
    )
    torch.testing.assert_close(ll.free_energy(Conditional(), y, x=x, beta=beta), want)


def test_an_energy_that_overflows_says_so() -> None:
    energy = ll.energies.KMeans(torch.zeros(2, 2))
    with pytest.raises(ll.DivergedError, match=r"first at index \(1,\)"):
        ll.free_energy(energy, torch.tensor([[0.0, 0.0], [1e30, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [1e-12, 1e-8, 1e-6, 1e-4])
def test_hot_free_energies_approach_the_mean(dtype: torch.dtype, beta: float) -> None:
    """F_beta = mean − beta/2 · variance + …, so a small beta must not lose the digits."""
    energy = ll.energies.KMeans(torch.tensor([[0.0], [1.0], [3.0]], dtype=dtype))
    y = torch.tensor([[2.0], [0.5]], dtype=dtype)
    every = (y.double() - torch.tensor([0.0, 1.0, 3.0])).square()
    low = every.amin(1, keepdim=True)
    want = low.squeeze(1) - (-beta * (every - low)).expm1().mean(1).log1p() / beta
    torch.testing.assert_close(
        ll.free_energy(energy, y, beta=beta), want.to(dtype), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("beta", [1e20, 1e30, 1e37])
def test_cold_free_energies_approach_the_minimum(beta: float) -> None:
    energy = ll.energies.KMeans(torch.tensor([[0.0], [1.0], [3.0]]))
    y = torch.tensor([[2.1], [1e5]])
    torch.testing.assert_close(ll.free_energy(energy, y, beta=beta), ll.free_energy(energy, y))


def test_a_wrong_condition_in_an_eliminated_energy_is_named() -> None:
    energy = ll.FreeEnergy(Conditional())
    with pytest.raises(ll.ShapeError, match="'x'"):
        energy(draw(5, 2), x=draw(3, 1))


def test_eliminated_energies_are_energies() -> None:
    energy, y = ll.energies.KMeans(draw(6, 2)), draw(2, 3, 2, seed=3)
    for beta in (0.0, 0.3, math.inf):
        free = ll.FreeEnergy(energy, beta)
        assert isinstance(free.latent, ll.NoLatent)
        torch.testing.assert_close(free(y), ll.free_energy(energy, y, beta=beta))
        torch.testing.assert_close(ll.score(free, y, beta=5.0), ll.score(energy, y, beta=beta))
    with pytest.raises(ll.DomainError, match="'beta'"):
        ll.FreeEnergy(energy, beta=-1.0)
    with pytest.raises(ll.DomainError, match="'measure'"):
        ll.FreeEnergy(energy, measure="max")
