"""Integrals over a longer z by importance sampling, and what the estimate says of itself."""

import math

import pytest
import torch

import lowland as ll
from lowland.infer import estimate
from lowland.latent import Ball, Continuous, Normal, Sparse, Vector

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


class Decoder(ll.Energy):
    """A definition and nothing else."""

    def __init__(self, weight: torch.Tensor, latent: Continuous) -> None:
        super().__init__((len(weight),), latent)
        self.weight = torch.nn.Parameter(weight)

    def forward(self, y, *, x=None, z=None):
        return (y - z @ self.weight.T).square().sum(-1) / 2 + self.latent.regularizer(z)


@pytest.mark.parametrize("beta", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("m", [3, 10])
@pytest.mark.parametrize("latent", [Normal, Vector])
def test_it_agrees_with_the_closed_form(latent: type[Continuous], m: int, beta: float) -> None:
    weight, y = draw(15, m), 3 * draw(6, 15, seed=1)
    found = estimate(Decoder(weight, latent(m)), y, beta=beta, measure="sum")
    assert found.method == "importance"
    assert (found.effective_sample_size > 400).all()
    maker = ll.energies.ProbabilisticPCA if latent is Normal else ll.energies.PCA
    exact = ll.free_energy(maker(weight.T, torch.zeros(15, dtype=F64)), y, beta=beta, measure="sum")
    assert ((found.value - exact).abs() <= 5 * found.standard_error + 1e-9).all()
    assert (found.standard_error < 0.03 / beta).all()


def test_the_error_is_the_spread_over_seeds() -> None:
    energy, y = Decoder(draw(8, 4), Normal(4)), draw(2, 8, seed=1)
    runs = [
        estimate(energy, y, measure="sum", generator=torch.Generator().manual_seed(i))
        for i in range(40)
    ]
    spread = torch.stack([run.value.detach() for run in runs]).std(0)
    said = torch.stack([run.standard_error for run in runs]).mean(0)
    assert (spread <= 1.5 * said).all()
    assert (spread >= said / 4).all()


def test_a_laplace_prior_factorises() -> None:
    """Without a decoder exp(-beta λ |z|_1) integrates to (2 / beta λ)^m."""
    energy = Decoder(torch.zeros(2, 3, dtype=F64), Sparse(3, 0.5))
    found = estimate(energy, torch.zeros(1, 2, dtype=F64), beta=2.0, measure="sum")
    exact = -3 * math.log(2.0) / 2
    assert abs(float(found.value.detach()) - exact) <= 5 * float(found.standard_error)


def test_a_ball_without_a_decoder_has_its_own_volume() -> None:
    energy = Decoder(torch.zeros(2, 5, dtype=F64), Ball(5, 2.0))
    y = draw(3, 2)
    for beta in (1e-6, 1.0, 30.0):
        value = ll.free_energy(energy, y, beta=beta).detach()
        torch.testing.assert_close(value, y.square().sum(1) / 2)
        total = ll.free_energy(energy, y, beta=beta, measure="sum").detach()
        volume = 8 * math.pi**2 / 15 * 2.0**5
        torch.testing.assert_close(total, value - math.log(volume) / beta)


def test_f_of_zero_is_the_mean_over_the_ball() -> None:
    """The mean of ‖y − z‖² / 2 over the unit ball is (‖y‖² + m / (m + 2)) / 2."""
    for m in (1, 2, 4):
        energy, y = Decoder(torch.eye(m, dtype=F64), Ball(m)), draw(3, m)
        found = estimate(energy, y, beta=0.0)
        exact = (y.square().sum(1) + m / (m + 2)) / 2
        allowed = 1e-10 + 5 * found.standard_error * (m > 2)
        assert ((found.value.detach() - exact).abs() <= allowed).all()


def test_an_infinite_volume_has_no_mean() -> None:
    for latent in (Normal(3), Vector(3), Sparse(3)):
        energy = Decoder(draw(4, 3), latent)
        with pytest.raises(ll.CapabilityError, match="divides by the volume"):
            ll.free_energy(energy, draw(2, 4), beta=1.0)
        with pytest.raises(ll.CapabilityError, match="divides by the volume"):
            ll.free_energy(energy, draw(2, 4), beta=0.0)


def test_the_slope_is_the_mean_slope() -> None:
    """For a Gaussian E[y − W z] is known, and the estimate's slope comes near it."""
    weight, y = draw(8, 3), draw(4, 8, seed=1).requires_grad_()
    found = ll.free_energy(Decoder(weight, Normal(3)), y, beta=2.0, measure="sum")
    (slope,) = torch.autograd.grad(found.sum(), y)
    gram = weight.T @ weight + torch.eye(3, dtype=F64)
    mean = torch.linalg.solve(gram, weight.T @ y.detach().T).T
    torch.testing.assert_close(slope, y.detach() - mean @ weight.T, rtol=0.02, atol=0.03)


def test_no_draw_is_made_from_torchs_own_generator() -> None:
    energy, y = Decoder(draw(8, 3), Normal(3)), draw(2, 8, seed=1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = ll.free_energy(energy, y, beta=1.0, measure="sum")
    assert torch.equal(first, ll.free_energy(energy, y, beta=1.0, measure="sum"))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_estimate_names_exact_methods() -> None:
    y = draw(2, 2)
    for energy, beta, measure, method in (
        (ll.energies.KMeans(draw(4, 2)), 1.0, "mean", "log-sum"),
        (ll.energies.KMeans(draw(4, 2)), math.inf, "mean", "minimum"),
        (ll.energies.Ring(), 1.0, "mean", "no latent"),
        (ll.energies.ProbabilisticPCA(draw(1, 2), draw(2)), 1.0, "sum", "closed form"),
    ):
        found = estimate(energy, y, beta=beta, measure=measure)
        assert found.method == method
        assert not found.standard_error.any()
