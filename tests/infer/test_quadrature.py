"""Integrals over one or two elements of z."""

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
    """A definition and nothing else: a matrix, and a bend if asked for."""

    def __init__(self, weight: torch.Tensor, latent: Continuous, bend: float = 0.0) -> None:
        super().__init__((len(weight),), latent)
        self.weight = torch.nn.Parameter(weight)
        self.bend = bend

    def forward(self, y, *, x=None, z=None):
        linear = z @ self.weight.T
        miss = y - linear - self.bend * linear.sin()
        return miss.square().sum(-1) / 2 + self.latent.regularizer(z)


def by_brute_force(energy: ll.Energy, y: torch.Tensor, beta: float) -> torch.Tensor:
    """-log of the integral / beta by the midpoint rule on a fine grid, polar for a disc."""
    latent = energy.latent
    m = latent.m
    if isinstance(latent, Ball) and m == 2:
        length = (torch.arange(600, dtype=F64) + 0.5) / 600 * latent.radius
        angle = (torch.arange(600, dtype=F64) + 0.5) / 600 * 2 * math.pi
        grid = torch.cartesian_prod(length, angle)
        z = torch.stack([grid[:, 0] * grid[:, 1].cos(), grid[:, 0] * grid[:, 1].sin()], 1)
        log_cell = (grid[:, 0] * latent.radius / 600 * 2 * math.pi / 600).log()
    else:
        reach = latent.radius if isinstance(latent, Ball) else 8.0
        points = 40_000 if m == 1 else 800
        axis = ((torch.arange(points, dtype=F64) + 0.5) / points * 2 - 1) * reach
        z = torch.cartesian_prod(*[axis] * m).reshape(-1, m)
        log_cell = torch.full((len(z),), m * math.log(2 * reach / points), dtype=F64)
    value = torch.stack([energy(one.expand(len(z), -1), z=z).detach() for one in y])
    return -torch.logsumexp(log_cell - beta * value, 1) / beta


@pytest.mark.parametrize("beta", [1e-3, 0.3, 1.0, 50.0, 1e6])
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("latent", [Normal, Vector])
def test_it_converges_to_the_closed_form(latent: type[Continuous], m: int, beta: float) -> None:
    weight, y = draw(6, m), 3 * draw(4, 6, seed=1)
    found = estimate(Decoder(weight, latent(m)), y, beta=beta, measure="sum")
    assert found.method == "quadrature"
    if latent is Normal:
        known = ll.energies.ProbabilisticPCA(weight.T, torch.zeros(6, dtype=F64), noise=1.0)
    else:
        known = ll.energies.PCA(weight.T, torch.zeros(6, dtype=F64))
    exact = ll.free_energy(known, y, beta=beta, measure="sum")
    torch.testing.assert_close(
        found.value, exact, rtol=1e-9, atol=(1e-8 if m == 1 else 1e-7) / beta
    )
    assert torch.isinf(found.effective_sample_size).all()


@pytest.mark.parametrize("beta", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("latent", [Normal(1), Ball(1, 1.5), Sparse(1, 0.7), Normal(2), Ball(2)])
def test_several_modes_are_all_counted(latent: Continuous, beta: float) -> None:
    energy, y = Decoder(draw(3, latent.m), latent, bend=1.5), draw(2, 3, seed=1)
    found = estimate(energy, y, beta=beta, measure="sum")
    # The midpoint rule's own error at a kink or a boundary is of the order of its cells' squares.
    expected = by_brute_force(energy, y, beta)
    torch.testing.assert_close(found.value.detach(), expected, rtol=1e-5, atol=2e-5)


def test_a_narrow_far_mode_is_not_missed() -> None:
    """Two needles far apart, of equal mass."""

    class Needles(ll.Energy):
        def __init__(self) -> None:
            super().__init__((1,), Vector(1))

        def forward(self, y, *, x=None, z=None):
            gap = torch.where(z > 0.2, z - 1.3, z + 0.9)[..., 0]
            return (1e4 * gap.square()) + 0 * y[..., 0]

    found = ll.free_energy(Needles(), torch.zeros(2, 1, dtype=F64), beta=3.0, measure="sum")
    exact = -math.log(2 * math.sqrt(math.pi / 3e4)) / 3.0
    torch.testing.assert_close(found, torch.full((2,), exact, dtype=F64), rtol=1e-8, atol=0)


def test_an_integral_that_is_infinite_is_refused() -> None:
    class Flat(ll.Energy):
        def __init__(self) -> None:
            super().__init__((1,), Vector(1))

        def forward(self, y, *, x=None, z=None):
            return (y[..., 0] - z[..., 0].tanh()).square()

    with pytest.raises(ll.DivergedError, match="Ball or a Normal"):
        ll.free_energy(Flat(), torch.zeros(2, 1, dtype=F64), beta=1.0, measure="sum")


@pytest.mark.parametrize("latent", [Normal(1), Ball(2), Sparse(1, 0.5)])
def test_the_slope_is_the_finite_difference(latent: Continuous) -> None:
    energy = Decoder(draw(3, latent.m), latent, bend=0.7)
    y = draw(2, 3, seed=1).requires_grad_()
    for leaf in (energy.weight, y):
        value = ll.free_energy(energy, y, beta=1.5, measure="sum").sum()
        (slope,) = torch.autograd.grad(value, leaf)
        direction, ends = draw(*leaf.shape, seed=10), []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                leaf += step * direction
                ends.append(float(ll.free_energy(energy, y, beta=1.5, measure="sum").sum()))
                leaf -= step * direction
        numeric = (ends[0] - ends[1]) / 2e-4
        assert float((slope * direction).sum()) == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_float32() -> None:
    energy, y = Decoder(draw(4, 2), Normal(2), bend=0.5), draw(3, 4, seed=1)
    double = ll.free_energy(energy, y, measure="sum", beta=2.0).detach()
    single = ll.free_energy(energy.float(), y.float(), measure="sum", beta=2.0)
    torch.testing.assert_close(single.double().detach(), double, rtol=1e-4, atol=1e-4)
