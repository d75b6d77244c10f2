"""Laws of F_beta for the energies whose z is continuous, whatever the method."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lowland as ll
from lowland.infer import estimate
from lowland.latent import Ball, Continuous, Grid, Normal, Sparse, Vector

F64 = torch.float64
BOUNDED = {
    "Grid": Grid(1, -1.0, 1.0, 32),
    "Grid2": Grid(2, -1.0, 1.0, 12),
    "Ball": Ball(1),
    "Disc": Ball(2, 0.8),
    "Ball5": Ball(5),
}
ENDLESS = {"Normal": Normal(1), "Vector": Vector(1), "Sparse": Sparse(1, 0.4), "Normal3": Normal(3)}
# What importance sampling may be off by; the other methods are exact to rounding.
DRAWN = {"Ball5", "Normal3"}


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


class Decoder(ll.Energy):
    """A definition and nothing else."""

    def __init__(self, latent: Continuous, seed: int) -> None:
        super().__init__((3,), latent)
        self.weight = torch.nn.Parameter(draw(3, latent.m, seed=seed))

    def forward(self, y, *, x=None, z=None):
        linear = z @ self.weight.T
        miss = y - linear - 0.3 * linear.sin()
        return miss.square().sum(-1) / 2 + self.latent.regularizer(z)


@settings(max_examples=4, deadline=None)
@pytest.mark.parametrize("name", BOUNDED)
@given(seed=st.integers(0, 1000), power=st.floats(-4, 3), colder=st.floats(1, 100))
def test_the_bounds(name: str, seed: int, power: float, colder: float) -> None:
    """F_inf ≤ F_beta' ≤ F_beta ≤ F_0 for beta' ≥ beta, and "sum" is lower by log |Z| / beta."""
    energy, y = Decoder(BOUNDED[name], seed), draw(2, 3, seed=seed + 1)
    beta = 10.0**power
    low = ll.free_energy(energy, y).detach()
    hot = estimate(energy, y, beta=beta)
    cold = estimate(energy, y, beta=beta * colder)
    mean = estimate(energy, y, beta=0.0)
    slack = 1e-7 * (1 + low.abs())
    if name in DRAWN:
        slack = slack + 6 * (hot.standard_error + cold.standard_error + mean.standard_error) + 1e-2
    assert (low - slack <= cold.value).all()
    assert (cold.value <= hot.value + slack).all()
    assert (hot.value <= mean.value + slack).all()
    total = ll.free_energy(energy, y, beta=beta, measure="sum").detach()
    expected = hot.value.detach() - energy.latent.log_volume() / beta
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-6 / min(1.0, beta))


@settings(max_examples=3, deadline=None)
@pytest.mark.parametrize("name", {**BOUNDED, **ENDLESS})
@given(seed=st.integers(0, 1000))
def test_the_cold_limit_is_the_minimum(name: str, seed: int) -> None:
    latent = {**BOUNDED, **ENDLESS}[name]
    measure = "sum" if math.isinf(latent.log_volume()) else "mean"
    energy, y = Decoder(latent, seed), draw(2, 3, seed=seed + 1)
    low = ll.free_energy(energy, y).detach()
    last = torch.full_like(low, math.inf)
    for beta in (1e2, 1e4, 1e6):
        away = (ll.free_energy(energy, y, beta=beta, measure=measure).detach() - low).abs()
        assert (away <= 60 * latent.m / beta * math.log(beta)).all()
        assert (away <= last + 1e-9).all()
        last = away


@settings(max_examples=3, deadline=None)
@pytest.mark.parametrize("name", ENDLESS)
@given(seed=st.integers(0, 1000), beta=st.floats(0.1, 50))
def test_beta_times_f_is_concave_in_beta(name: str, seed: int, beta: float) -> None:
    """beta · F of measure "sum" is minus a log of a sum of exponentials of −beta E."""
    energy, y = Decoder(ENDLESS[name], seed), draw(2, 3, seed=seed + 1)
    left, middle, right = (
        b * ll.free_energy(energy, y, beta=b, measure="sum").detach()
        for b in (beta, 1.5 * beta, 2 * beta)
    )
    slack = 0.1 if name in DRAWN else 1e-6 * (1 + middle.abs())
    assert (middle >= (left + right) / 2 - slack).all()
