"""An energy of fifteen lines, as a user would write it, gets everything else for nothing."""

import math

import pytest
import torch

import lowland as ll
from lowland.testing import check_energy


class Clusters(ll.Energy):
    """Squared distance to one of k centres: nothing but the definition."""

    def __init__(self, event: tuple[int, ...], k: int = 8) -> None:
        super().__init__(event, latent=ll.OneHot(k))
        self.k = k
        angle = torch.arange(k) * (2 * math.pi / k)
        self.centres = torch.nn.Parameter(torch.stack([angle.cos(), angle.sin()], 1))

    def forward(self, y, *, x=None, z=None):
        return (y - self.centres[z]).square().sum(-1)


@pytest.fixture
def energy() -> Clusters:
    return Clusters((2,))


@pytest.fixture
def oracle(energy: Clusters) -> ll.energies.KMeans:
    return ll.energies.KMeans(energy.centres)


@pytest.fixture
def y() -> torch.Tensor:
    return torch.randn(20, 2, generator=torch.Generator().manual_seed(3))


def test_passes_the_contract(energy: Clusters) -> None:
    check_energy(energy)


def test_infers_and_scores_like_the_energy_it_rewrites(
    energy: Clusters, oracle: ll.energies.KMeans, y: torch.Tensor
) -> None:
    torch.testing.assert_close(ll.infer(energy, y).z, ll.infer(oracle, y).z)
    for beta in (0.0, 0.5, 20.0, math.inf):
        ours, theirs = ll.score(energy, y, beta=beta), ll.score(oracle, y, beta=beta)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_is_trained_by_gradient_descent(energy: Clusters) -> None:
    data = ll.data.eight_gaussians(400, generator=torch.Generator().manual_seed(0))
    before = ll.score(energy, data.y).mean()
    g = torch.Generator().manual_seed(0)
    fit = ll.fit(
        energy,
        data,
        ll.GradientDescent(),
        epochs=40,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.1),
        generator=g,
    )
    after = ll.score(energy, data.y).mean()
    assert fit.stopped == "steps"
    assert after < 0.3 < before


def test_completes_and_projects_by_descent(
    energy: Clusters, oracle: ll.energies.KMeans, y: torch.Tensor
) -> None:
    observed = torch.tensor([True, False])
    g = torch.Generator().manual_seed(0)
    ours = ll.complete(energy, y, observed=observed, n=3, starts=64, generator=g)
    exact = ll.complete(oracle, y, observed=observed, n=3)
    torch.testing.assert_close(ours.energy[:, 0], exact.energy[:, 0], rtol=1e-4, atol=1e-5)
    assert (ours.count >= 2).any()
    moved = ll.project(energy, y)
    assert (ll.score(energy, moved) <= 0.06 * ll.score(energy, y) + 1e-6).all()


def test_samples_encodes_and_predicts(energy: Clusters, y: torch.Tensor) -> None:
    g = torch.Generator().manual_seed(0)
    draws = ll.sample(energy, 64, sampler=ll.Langevin(0.02), steps=200, beta=20.0, generator=g).last
    assert ll.score(energy, draws).mean() < 0.2
    assert ll.encode(energy, y).shape == (20, 8)
    assert (ll.encode(energy, y).argmax(1) == ll.infer(energy, y).z).all()


def test_is_saved_and_loaded(energy: Clusters, y: torch.Tensor, tmp_path) -> None:
    ll.save(energy, tmp_path / "run")
    loaded = ll.load(tmp_path / "run")
    assert type(loaded) is Clusters
    assert torch.equal(ll.score(loaded, y), ll.score(energy, y))


def test_joins_the_algebra(energy: Clusters, y: torch.Tensor) -> None:
    both = energy + ll.energies.Ring()
    expected = ll.score(energy, y) + ll.energies.Ring()(y)
    torch.testing.assert_close(ll.score(both, y), expected)
    torch.testing.assert_close(ll.score(energy / 2, y), ll.score(energy, y) / 2)
