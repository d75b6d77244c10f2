"""The closest plausible point."""

import math

import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from torch import nn

import lowland as ll

F64 = torch.float64
LEFT = math.sqrt(0.05)  # a twentieth of the energy of a quadratic valley is left at this distance


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_kmeans_gives_the_nearest_prototype() -> None:
    energy, y = ll.energies.KMeans(draw(20, 3)), draw(4, 5, 3, seed=1)
    brute = energy.prototypes.data[torch.cdist(y.reshape(-1, 3), energy.prototypes.data).argmin(1)]
    answer = ll.project(energy, y)
    assert torch.equal(answer, brute.reshape(4, 5, 3))
    assert torch.equal(ll.project(energy, answer), answer)


@pytest.mark.parametrize("beta", [0.0, 0.3, 5.0])
def test_kmeans_at_a_temperature_gives_the_posterior_mean(beta: float) -> None:
    energy, y = ll.energies.KMeans(draw(20, 3)), draw(8, 3, seed=1)
    prototypes = energy.prototypes.data
    weight = torch.softmax(-beta * torch.cdist(y, prototypes).square(), 1)
    torch.testing.assert_close(ll.project(energy, y, beta=beta), weight @ prototypes)


def test_a_conditional_decoder_at_a_temperature() -> None:
    class Shifted(ll.Energy):
        def __init__(self) -> None:
            super().__init__((2,), ll.OneHot(3))

        def decode(self, z, *, x=None):
            return x + z.unsqueeze(-1)

        def forward(self, y, *, x=None, z=None):
            return (y - self.decode(z, x=x)).square().sum(-1)

    y, x = draw(6, 2), draw(6, 2, seed=3)
    points = x.unsqueeze(1) + torch.arange(3, dtype=F64).reshape(1, 3, 1)
    table = (y.unsqueeze(1) - points).square().sum(-1)
    want = (torch.softmax(-0.7 * table, 1).unsqueeze(-1) * points).sum(1)
    torch.testing.assert_close(ll.project(Shifted(), y, x=x, beta=0.7), want)


def test_an_autoencoder_gives_its_reconstruction() -> None:
    energy = ll.energies.Autoencoder(nn.Identity(), nn.Hardtanh(), event=(2,))
    y = torch.tensor([[3.0, -0.5]])
    assert ll.project(energy, y).tolist() == [[1.0, -0.5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.3, 1.7, 3.0])
def test_a_ring_keeps_the_direction(radius: float, dtype: torch.dtype) -> None:
    angle = torch.linspace(0, 6, 9, dtype=dtype)
    unit = torch.stack([angle.cos(), angle.sin()], -1)
    answer = ll.project(ll.energies.Ring(), radius * unit)
    torch.testing.assert_close(answer, (1 + LEFT * (radius - 1)) * unit, atol=2e-3, rtol=0)
    exact = ll.project(ll.energies.Ring(), radius * unit, level=1e-8)
    torch.testing.assert_close(exact, unit, atol=1e-3, rtol=0)


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e-1, 1e2, 1e4, 1e6])
def test_the_same_lowlands_at_another_temperature(temperature: float) -> None:
    """E / T has the same manifold, and the twentieth of the way is the same place."""
    y = torch.tensor([[0.0, 3.0], [2.0, 0.0], [-0.4, 0.3]], dtype=F64)
    want = ll.project(ll.energies.Ring(), y)
    answer = ll.project(ll.energies.Ring() / temperature, y)
    torch.testing.assert_close(answer, want, atol=5e-3, rtol=0)


@pytest.mark.parametrize("start", [1.3, 2.0, -1.6, 0.7, -0.9])
def test_a_double_well_has_a_closed_form(start: float) -> None:
    answer = ll.project(ll.energies.DoubleWell((1,)), torch.tensor([[start]], dtype=F64))
    want = math.copysign(math.sqrt(1 + LEFT * (start**2 - 1)), start)
    assert float(answer) == pytest.approx(want, abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_closest_point_by_another_optimizer(seed: int) -> None:
    energy = ll.energies.DoubleWell((3,), height=1.0)
    y = draw(1, 3, seed=seed) * 0.5 + torch.tensor([1.2, 0.8, -0.5], dtype=F64)
    level = 0.05 * float(energy(y))
    answer = ll.project(energy, y, level=level)
    oracle = scipy_minimize(
        lambda p: float(((p - y[0].numpy()) ** 2).sum()),
        answer[0].numpy(),
        method="SLSQP",
        constraints={
            "type": "ineq",
            "fun": lambda p: level - float(energy(torch.as_tensor(p).unsqueeze(0))),
        },
        options={"ftol": 1e-12},
    )
    assert float(energy(answer)) <= level * (1 + 1e-9)
    assert float((answer - y).norm()) == pytest.approx(math.sqrt(oracle.fun), rel=5e-3)


@pytest.mark.parametrize("level", [1e-2, 1e-4])
def test_a_closer_well_is_not_overleapt(level: float) -> None:
    """F_inf of K-means as an energy without codes: the closest point is known."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.rand(40, 1, generator=generator, dtype=F64) * 3
    y = torch.rand(200, 1, generator=generator, dtype=F64) * 3
    energy = ll.energies.KMeans(prototypes)
    nearest = ll.project(energy, y)
    way = nearest - y
    want = y + way * (1 - math.sqrt(level) / way.abs()).clamp(min=0)
    answer = ll.project(ll.FreeEnergy(energy), y, level=level)
    torch.testing.assert_close(answer, want, atol=5e-3, rtol=0)


def test_points_on_the_manifold_stay() -> None:
    ring = ll.energies.Ring()
    y = draw(10, 2)
    once = ll.project(ring, y, level=0.01)
    assert (ring(once) <= 0.01).all()
    assert torch.equal(ll.project(ring, once, level=0.01), once)
    bottom = torch.tensor([[0.0, 1.0]], dtype=F64)
    assert torch.equal(ll.project(ring, bottom), bottom)


@pytest.mark.parametrize("energy", [ll.energies.Ring(), ll.energies.DoubleWell()])
def test_a_level_that_is_not_reached_is_not_passed_over(energy: ll.Energy) -> None:
    """No point lies below -1, and from the ridge no descent finds one below 1e-6."""
    for level, y in ((-1.0, torch.tensor([[0.5, 3.0]])), (1e-6, torch.zeros(1, 2))):
        with pytest.raises(ll.LowlandError, match="level"):
            ll.project(energy, y, level=level)


@pytest.mark.parametrize("level", [math.nan, math.inf])
def test_a_level_is_a_number(level: float) -> None:
    with pytest.raises(ll.DomainError, match="'level'"):
        ll.project(ll.energies.Ring(), torch.ones(1, 2), level=level)


def test_scaled_energies_project_in_scaled_units() -> None:
    scaling = ll.Scaling(torch.tensor([5.0, -5.0]), torch.tensor([2.0, 0.5]))
    y = torch.tensor([[0.5, 3.0], [-2.0, 0.3]])
    torch.testing.assert_close(
        ll.project(ll.Scaled(ll.energies.Ring(), scaling), scaling.inverse(y)),
        scaling.inverse(ll.project(ll.energies.Ring(), y)),
    )


def test_options_that_do_not_apply_are_refused() -> None:
    y = torch.zeros(1, 2)
    with pytest.raises(ll.DomainError, match=r"'beta'.*Ring"):
        ll.project(ll.energies.Ring(), y, beta=1.0)
    with pytest.raises(ll.DomainError, match=r"'level'.*KMeans"):
        ll.project(ll.energies.KMeans(y), y, level=1.0)


def test_steps_are_at_least_one() -> None:
    with pytest.raises(ll.DomainError, match="'steps'"):
        ll.project(ll.energies.Ring(), torch.ones(1, 2), steps=0)
