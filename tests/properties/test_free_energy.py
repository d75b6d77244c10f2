"""Laws of F_beta, and of its slopes, for every energy with a finite latent."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lowland as ll

F64 = torch.float64


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


class ThirdParty(ll.Energy):
    """A definition and nothing else, with a parameter that enters nonlinearly."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__((2,), ll.OneHot(len(weight)))
        self.weight = torch.nn.Parameter(weight)

    def forward(self, y, *, x=None, z=None):
        return ((y * self.weight[z]).sum(-1) + self.weight[z].prod(-1)).square() + y[..., 0].cos()


def gaussians(seed: int) -> ll.Mixture:
    parts = [
        ll.energies.Gaussian(mean, torch.eye(2, dtype=F64) * (1 + i))
        for i, mean in enumerate(2 * draw(3, 2, seed=seed))
    ]
    return ll.Mixture(parts, draw(3, seed=seed + 1).exp())


MAKERS: dict[str, Callable[[int, int], ll.Energy]] = {
    "KMeans": lambda k, seed: ll.energies.KMeans(3 * draw(k, 2, seed=seed)),
    "Ellipse": lambda k, seed: ll.energies.Ellipse(draw(2, seed=seed).abs() + 0.1, codes=k),
    "Mixture": lambda k, seed: gaussians(seed),
    "Tempered": lambda k, seed: ll.energies.KMeans(draw(k, 2, seed=seed)) / 0.3,
    "Scaled": lambda k, seed: ll.Scaled(
        ll.energies.KMeans(draw(k, 2, seed=seed)),
        ll.Scaling(draw(2, seed=seed), draw(2, seed=seed + 1).exp()),
    ),
    "Sum": lambda k, seed: ll.energies.KMeans(draw(k, 2, seed=seed)) + ll.energies.DoubleWell(),
    "ThirdParty": lambda k, seed: ThirdParty(draw(k, 2, seed=seed)),
}
names = pytest.mark.parametrize("name", MAKERS)
codes, seeds = st.integers(1, 9), st.integers(0, 10_000)
betas = st.floats(1e-9, 1e9)


def table(energy: ll.Energy, y: torch.Tensor) -> torch.Tensor:
    k = energy.latent.k
    return torch.stack([energy(y, z=torch.full((len(y),), j)) for j in range(k)], -1).detach()


@names
@given(k=codes, seed=seeds, beta=betas, colder=st.floats(1, 1e3))
def test_the_bounds(name: str, k: int, seed: int, beta: float, colder: float) -> None:
    energy, y = MAKERS[name](k, seed), 3 * draw(5, 2, seed=seed + 7)
    k = energy.latent.k
    low, mean = ll.score(energy, y), ll.score(energy, y, beta=0.0)
    value, cold = ll.score(energy, y, beta=beta), ll.score(energy, y, beta=beta * colder)
    slack = 1e-11 * (1 + table(energy, y).abs().amax(1))
    assert (low - slack <= value).all()
    assert (value <= low + math.log(k) / beta + slack).all()
    assert (value <= mean + slack).all()
    assert (cold <= value + slack).all()


@names
@given(k=codes, seed=seeds, beta=st.floats(1e-3, 1e3))
def test_the_definition(name: str, k: int, seed: int, beta: float) -> None:
    energy, y = MAKERS[name](k, seed), 3 * draw(5, 2, seed=seed + 7)
    every = table(energy, y)
    k = every.shape[1]
    low = every.amin(1, keepdim=True)
    log_sum = (-beta * (every - low)).exp().sum(1).log() / beta
    total = low.squeeze(1) - log_sum
    torch.testing.assert_close(ll.score(energy, y), low.squeeze(1))
    torch.testing.assert_close(ll.score(energy, y, beta=0.0), every.mean(1))
    torch.testing.assert_close(ll.free_energy(energy, y, beta=beta, measure="sum").detach(), total)
    torch.testing.assert_close(ll.score(energy, y, beta=beta), total + math.log(k) / beta)
    torch.testing.assert_close(ll.score(energy, y, beta=1e12), low.squeeze(1))


@names
@given(k=codes, seed=seeds, beta=st.sampled_from([0.0, 0.1, 3.0, math.inf]))
def test_the_slopes_are_expected_slopes(name: str, k: int, seed: int, beta: float) -> None:
    """dF_beta = E_{p(z|y)}[dE]; at inf, z* is held fixed: the envelope theorem."""
    energy, y = MAKERS[name](k, seed), draw(4, 2, seed=seed + 3).requires_grad_()
    leaves = [y, *(p for p in energy.parameters() if p.requires_grad)]
    value = ll.free_energy(energy, y, beta=beta).sum()
    found = torch.autograd.grad(value, leaves)
    every = table(energy, y)
    hot = torch.nn.functional.one_hot(every.argmin(1), every.shape[1]).to(F64)
    weight = hot if beta == math.inf else torch.softmax(-beta * every, 1)
    expected = torch.zeros((), dtype=F64)
    for j in range(every.shape[1]):
        expected = expected + (weight[:, j] * energy(y, z=torch.full((4,), j))).sum()
    for a, b in zip(found, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    wrapped = torch.autograd.grad(ll.FreeEnergy(energy, beta)(y).sum(), leaves)
    for a, b in zip(found, wrapped, strict=True):
        assert torch.equal(a, b)


@names
@pytest.mark.parametrize("beta", [0.5, math.inf])
def test_the_slopes_are_finite_differences(name: str, beta: float) -> None:
    energy, y = MAKERS[name](5, 11), draw(3, 2, seed=5).requires_grad_()
    for leaf in [y, *energy.parameters()]:
        if not leaf.requires_grad:
            continue
        (slope,) = torch.autograd.grad(ll.free_energy(energy, y, beta=beta).sum(), leaf)
        for i in range(leaf.numel()):
            ends = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    leaf.view(-1)[i] += step
                    ends.append(float(ll.score(energy, y.detach(), beta=beta).sum()))
                    leaf.view(-1)[i] -= step
            numeric = (ends[0] - ends[1]) / 2e-6
            assert float(slope.flatten()[i]) == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@names
@given(k=codes, seed=seeds)
def test_an_item_does_not_see_the_others(name: str, k: int, seed: int) -> None:
    energy, y = MAKERS[name](k, seed), draw(6, 2, seed=seed + 3)
    for beta in (1.0, math.inf):
        whole = ll.score(energy, y, beta=beta)
        one = torch.stack([ll.score(energy, item, beta=beta) for item in y])
        torch.testing.assert_close(whole, one)
