"""VICReg and SIGReg: their terms against formulas, and collapse without them."""

import math

import numpy as np
import pytest
import torch

import lowland as ll
from lowland.train.architectural.variance import epps_pulley


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_terms_are_those_of_the_formula() -> None:
    a, b = torch.randn(2, 40, 5, generator=seeded(), dtype=torch.float64).unbind(0)
    a = 0.4 * a
    energy = ll.energies.JointEmbedding(torch.nn.Identity(), (5,))
    found = ll.VarianceCovariance(invariance=3.0, variance=5.0, covariance=7.0).cost(
        energy, a, b, seeded()
    )
    expected = 3.0 * ((a - b) ** 2).mean().item()
    for part in (a.numpy(), b.numpy()):
        covariance = np.cov(part.T)
        deviations = np.sqrt(np.diag(covariance) + 1e-4)
        expected += 5.0 * np.maximum(0, 1 - deviations).mean()
        expected += 7.0 * (covariance[~np.eye(5, dtype=bool)] ** 2).sum() / 5
    assert float(found) == pytest.approx(expected)


def test_epps_pulley_is_its_closed_form() -> None:
    s = torch.randn(60, 3, generator=seeded(), dtype=torch.float64) * torch.tensor([1.0, 0.3, 2.0])
    n = len(s)
    # The weight and both characteristic functions are Gaussian, so the integral is a sum of them.
    pairs = torch.exp(-((s.unsqueeze(0) - s.unsqueeze(1)) ** 2) / 2).sum((0, 1)) / n**2
    cross = torch.exp(-(s**2) / 4).mean(0)
    expected = n * (
        math.sqrt(2 * math.pi) * pairs - 2 * math.sqrt(math.pi) * cross + math.sqrt(2 * math.pi / 3)
    )
    torch.testing.assert_close(epps_pulley(s, 201), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(epps_pulley(s), expected, rtol=2e-3, atol=2e-3)


def test_sigreg_is_least_for_a_standard_normal_embedding() -> None:
    energy = ll.energies.JointEmbedding(torch.nn.Identity(), (4,))
    normal = torch.randn(500, 4, generator=seeded())

    def cost(embedded: torch.Tensor) -> float:
        return float(ll.SIGReg(weight=0.5).cost(energy, embedded, embedded, seeded(1)))

    best = cost(normal)
    flat = normal * torch.tensor([1.0, 1.0, 1.0, 0.0])
    for other in (0.5 * normal, 2 * normal, normal + 1, normal.sign(), flat, 0 * normal):
        assert cost(other) > 2 * best


def shapes() -> torch.Tensor:
    """Rows in four groups, by two bits that all their elements share in."""
    bits = torch.randint(0, 2, (600, 2), generator=seeded()).float() * 2 - 1
    mixed = bits @ torch.randn(2, 12, generator=seeded(1))
    return mixed + 0.3 * torch.randn(600, 12, generator=seeded(2))


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        (ll.VarianceCovariance(), ll.VarianceCovariance(variance=0.0, covariance=0.0)),
        (ll.SIGReg(directions=32), ll.SIGReg(weight=0.0)),
    ],
    ids=["VarianceCovariance", "SIGReg"],
)
def test_without_its_regularizer_the_embedding_collapses_and_the_fit_says_so(
    kept: ll.VarianceCovariance, dropped: ll.VarianceCovariance
) -> None:
    y = shapes()
    collapsed = {}
    for strategy in (kept, dropped):
        energy = ll.energies.JointEmbedding.from_data(y, hidden=(32,), d=8, generator=seeded())
        fit = ll.fit(energy, y, strategy, steps=300, generator=seeded())
        found = ll.diagnose.embedding(energy, y)
        collapsed[strategy] = found.collapsed
        assert (fit.caution is not None) == found.collapsed
        if found.collapsed:
            assert "has collapsed" in str(fit.caution)
    assert collapsed == {kept: False, dropped: True}


def test_pairs_of_the_data_are_their_own_views() -> None:
    strategy = ll.VarianceCovariance()
    energy = ll.energies.JointEmbedding(torch.nn.Identity(), (4,))
    x, y = torch.randn(2, 6, 4, generator=seeded()).unbind(0)
    first, second = strategy.views_of(energy, y, x, seeded())
    assert torch.equal(first, x)
    assert torch.equal(second, y)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ll.VarianceCovariance(variance=-1.0), "variance"),
        (lambda: ll.SIGReg(weight=1.0), "weight"),
        (lambda: ll.SIGReg(directions=0), "directions"),
        (lambda: ll.SIGReg(frequencies=2), "frequencies"),
    ],
)
def test_options_out_of_range_are_refused(make: object, says: str) -> None:
    with pytest.raises(ll.DomainError, match=says):
        make()


def test_an_energy_that_compares_nothing_is_refused() -> None:
    y = torch.randn(20, 3, generator=seeded())
    with pytest.raises(ll.CapabilityError, match="Embeds"):
        ll.fit(ll.energies.KMeans(y[:2]), y, ll.SIGReg(), steps=1)
