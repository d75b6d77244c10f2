"""Integrals by quadrature as judges of F_beta and of exact draws."""

import math

import pytest
import torch
from scipy.integrate import quad

import lowland as ll

F64 = torch.float64


@pytest.mark.parametrize("beta", [0.5, 1.0, 20.0])
def test_the_ellipse_with_many_codes_is_the_integral_over_the_angle(beta: float) -> None:
    energy = ll.energies.Ellipse(torch.tensor([2.0, 1.5], dtype=F64), codes=2000)
    y = (0.3, 1.0)

    def density(angle: float) -> float:
        distance = (y[0] - 2 * math.cos(angle)) ** 2 + (y[1] - 1.5 * math.sin(angle)) ** 2
        return math.exp(-beta * distance)

    want = -math.log(quad(density, 0, 2 * math.pi, limit=200)[0] / (2 * math.pi)) / beta
    value = ll.score(energy, torch.tensor(y, dtype=F64), beta=beta)
    assert float(value) == pytest.approx(want, rel=1e-8)


@pytest.mark.parametrize("beta", [0.7, 3.0])
def test_the_gibbs_distribution_of_kmeans_is_its_mixture(beta: float) -> None:
    """exp(-beta F) integrates to the volume of one well, and has the mixture's moments."""
    energy = ll.energies.KMeans(torch.tensor([[-1.0], [2.5]], dtype=F64))

    def weight(y: float) -> float:
        return math.exp(-beta * float(ll.score(energy, torch.tensor([y], dtype=F64), beta=beta)))

    total = quad(weight, -8, 10, points=[-1, 2.5])[0]
    assert total == pytest.approx(math.sqrt(math.pi / beta), rel=1e-8)
    second = quad(lambda y: y * y * weight(y), -8, 10, points=[-1, 2.5])[0] / total
    assert second == pytest.approx((1 + 6.25) / 2 + 1 / (2 * beta), rel=1e-8)


def test_a_mixture_of_normalised_gaussians_is_normalised() -> None:
    weights = torch.tensor([0.3, 0.7], dtype=F64)
    variances = torch.tensor([0.5, 2.0], dtype=F64)
    parts = [
        ll.energies.Gaussian(torch.tensor([m], dtype=F64), v.reshape(1, 1))
        for m, v in zip((-1.0, 3.0), variances, strict=True)
    ]
    mixture = ll.Mixture(parts, weights / (2 * math.pi * variances).sqrt())

    def density(y: float) -> float:
        value = ll.free_energy(mixture, torch.tensor([y], dtype=F64), beta=1.0, measure="sum")
        return math.exp(-float(value))

    assert quad(density, -15, 20, points=[-1, 3])[0] == pytest.approx(1, rel=1e-8)
