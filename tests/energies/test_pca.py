"""Principal components, with a free code and with a penalised one."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA as Reference  # noqa: N811

import lowland as ll

F64 = torch.float64
PCA, ProbabilisticPCA = ll.energies.PCA, ll.energies.ProbabilisticPCA


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def digits() -> torch.Tensor:
    return torch.from_numpy(load_digits().data[:400])


def test_the_score_is_half_the_reconstruction_error_of_scikit_learn() -> None:
    y = digits()
    reference = Reference(10, svd_solver="full").fit(y.numpy())
    rebuilt = reference.inverse_transform(reference.transform(y.numpy()))
    energy = PCA.from_data(y, m=10)
    expected = torch.from_numpy(((y.numpy() - rebuilt) ** 2).sum(1) / 2)
    torch.testing.assert_close(ll.score(energy, y), expected)
    torch.testing.assert_close(ll.project(energy, y), torch.from_numpy(rebuilt))
    codes = ll.encode(energy, y)
    np.testing.assert_allclose(codes.abs(), np.abs(reference.transform(y.numpy())), atol=1e-8)


def test_the_free_energy_is_scikit_learns_likelihood() -> None:
    y = digits()[:, [2, 3, 10, 20, 21, 28, 35, 36]]
    reference = Reference(3, svd_solver="full").fit(y.numpy())
    energy = ProbabilisticPCA.from_data(y, m=3)
    n = len(y)
    # scikit-learn divides by n − 1, the greatest likelihood by n.
    scale = math.sqrt(n / (n - 1))
    energy = ProbabilisticPCA(
        energy.components.detach() * scale, energy.mean.detach(), energy.noise * scale
    )
    constant = 8 / 2 * math.log(2 * math.pi * energy.noise**2) + 3 / 2 * math.log(2 * math.pi)
    density = -ll.free_energy(energy, y, beta=1.0, measure="sum").detach() - constant
    torch.testing.assert_close(density, torch.from_numpy(reference.score_samples(y.numpy())))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coordinate_descent_solves_it_in_one_sweep(dtype: torch.dtype) -> None:
    y = draw(300, 2, 3).to(dtype) @ torch.diag(torch.tensor([3.0, 1.0, 0.2], dtype=dtype)) + 5
    energy = PCA(draw(2, 2, 3, seed=1).to(dtype), torch.zeros(2, 3, dtype=dtype))
    ll.fit(energy, y, ll.CoordinateDescent(), steps=1)
    best = PCA.from_data(y, m=2)
    torch.testing.assert_close(energy.components, best.components, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(energy.mean, best.mean)
    assert ll.fit(energy, y, ll.CoordinateDescent(), steps=5).converged


def test_completion_is_least_squares_in_the_plane() -> None:
    energy, y = PCA.from_data(digits()[:, 20:30], m=3), digits()[:4, 20:30]
    seen = torch.arange(10) < 6
    answer = ll.complete(energy, y, observed=seen, n=1, steps=2000).y[:, 0]
    weight = energy.components.detach()
    mean = energy.mean.detach()
    z = torch.linalg.lstsq(weight[:, :6].T, (y - mean)[:, :6].T).solution.T
    torch.testing.assert_close(answer, torch.where(seen, y, z @ weight + mean), atol=2e-3, rtol=0)


def test_probabilistic_draws_have_their_covariance() -> None:
    energy = ProbabilisticPCA(draw(2, 4), draw(4, seed=1), noise=0.5)
    y = energy.sample_gibbs(200_000, beta=3.0, generator=torch.Generator().manual_seed(0))
    weight = energy.components.detach()
    covariance = (weight.T @ weight + 0.25 * torch.eye(4, dtype=F64)) / 3
    torch.testing.assert_close(y.mean(0), energy.mean.detach(), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(y.T), covariance, atol=0.03, rtol=0)


def test_as_many_components_as_elements_reach_everything() -> None:
    energy = PCA.from_data(draw(20, 4), m=4)
    assert (ll.score(energy, 9 * draw(5, 4, seed=1)) < 1e-20).all()


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ll.ShapeError, match="'components' of PCA"):
        PCA(draw(2, 3), draw(4))
    with pytest.raises(ll.ShapeError, match="between 1 and 3"):
        PCA(draw(5, 3), draw(3))
    with pytest.raises(ll.DomainError, match="floating-point"):
        PCA(draw(2, 3), draw(3).float())
    with pytest.raises(ll.DomainError, match="'m'"):
        PCA.from_data(draw(9, 3), m=4)
    with pytest.raises(ll.DomainError, match="'noise'"):
        ProbabilisticPCA(draw(2, 3), draw(3), noise=0.0)
    with pytest.raises(ll.DomainError, match="less than"):
        ProbabilisticPCA.from_data(draw(9, 3), m=3)
    with pytest.raises(ll.DomainError, match="nothing is left"):
        ProbabilisticPCA.from_data(draw(9, 1) @ draw(1, 4, seed=1), m=2)
