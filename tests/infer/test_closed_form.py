"""Exact inference with a linear decoder, against densities and dense grids."""

import math

import pytest
import torch

import lowland as ll
from lowland.infer.closed_form import solve_linear
from lowland.latent import Ball

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("m", [1, 4, 6])
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.5])
def test_the_free_energy_is_a_normal_density(m: int, noise: float) -> None:
    energy = ll.energies.ProbabilisticPCA(draw(m, 7), draw(7, seed=1), noise)
    y = 2 * draw(5, 7, seed=2)
    weight = energy.components.detach().T
    covariance = weight @ weight.T + noise**2 * torch.eye(7, dtype=F64)
    density = torch.distributions.MultivariateNormal(energy.mean.detach(), covariance)
    constant = 7 / 2 * math.log(2 * math.pi * noise**2) + m / 2 * math.log(2 * math.pi)
    value = ll.free_energy(energy, y, beta=1.0, measure="sum")
    torch.testing.assert_close(value, -density.log_prob(y) - constant)


@pytest.mark.parametrize("beta", [0.01, 1.0, 300.0])
def test_any_temperature_against_a_dense_grid(beta: float) -> None:
    for energy in (
        ll.energies.ProbabilisticPCA(draw(1, 4), draw(4, seed=1), 0.7),
        ll.energies.PCA(draw(1, 4), draw(4, seed=1)),
    ):
        y = draw(3, 4, seed=2)
        best = ll.infer(energy, y).z
        line = torch.linspace(-60, 60, 200_001, dtype=F64).unsqueeze(1) / math.sqrt(beta)
        step = 120 / 200_000 / math.sqrt(beta)
        for i in range(3):
            value = energy(y[i].expand(len(line), 4), z=best[i] + line)
            expected = -(torch.logsumexp(-beta * value, 0) + math.log(step)) / beta
            found = ll.free_energy(energy, y[i], beta=beta, measure="sum")
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_best_code_has_no_slope() -> None:
    for energy in (
        ll.energies.ProbabilisticPCA(draw(3, 5), draw(5, seed=1), 0.5),
        ll.energies.PCA(draw(3, 5), draw(5, seed=1)),
    ):
        y = draw(4, 5, seed=2)
        z = solve_linear(energy.latent, energy.linear_decoder(), y).detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(y, z=z).sum(), z)
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-10, rtol=0)
        torch.testing.assert_close(z.detach(), energy.solve_codes(y).detach())


def test_a_decoder_that_leaves_a_choice_takes_the_shortest_code() -> None:
    components = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=F64)
    energy = ll.energies.PCA(components, torch.zeros(3, dtype=F64))
    found = ll.infer(energy, torch.tensor([[4.0, 1.0, 0.0]], dtype=F64))
    torch.testing.assert_close(found.z, torch.tensor([[2.0, 2.0]], dtype=F64))
    with pytest.raises(ll.CapabilityError, match="does not determine z"):
        ll.free_energy(energy, draw(2, 3), beta=1.0, measure="sum")


def test_a_ball_has_no_closed_form() -> None:
    energy = ll.energies.PCA(draw(2, 5), draw(5, seed=1))
    with pytest.raises(ll.CapabilityError, match="no closed form"):
        solve_linear(Ball(2), energy.linear_decoder(), draw(3, 5))
