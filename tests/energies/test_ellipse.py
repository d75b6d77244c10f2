"""The two-parameter ellipse."""

import math

import pytest
import torch

import lowland as ll

F64 = torch.float64
AXES = torch.tensor([2.0, 1.5], dtype=F64)
VALUES = [(1.0, 2.0348), (10.0, 0.5501), (math.inf, 0.25)]


def on_the_ellipse() -> torch.Tensor:
    angle = torch.arange(48, dtype=F64) * (2 * math.pi / 48)
    return torch.stack([2 * angle.cos(), 1.5 * angle.sin()], -1)


class Points(ll.Energy):
    """As a user would write it: the definition, and nothing else."""

    def __init__(self) -> None:
        super().__init__((2,), ll.OneHot(48))

    def forward(self, y, *, x=None, z=None):
        return (y - on_the_ellipse()[z]).square().sum(-1)


@pytest.mark.parametrize(("beta", "value"), VALUES)
@pytest.mark.parametrize(
    "energy",
    [ll.energies.Ellipse(AXES, 48), ll.energies.KMeans(on_the_ellipse()), Points()],
    ids=lambda energy: type(energy).__name__,
)
def test_the_values_of_the_lecture(energy: ll.Energy, beta: float, value: float) -> None:
    y = torch.tensor([[0.0, 1.0]], dtype=F64)
    assert ll.free_energy(energy, y, beta=beta).item() == pytest.approx(value, abs=1e-3)


def test_the_axes_are_found() -> None:
    energy = ll.energies.Ellipse.from_data(on_the_ellipse())
    ll.fit(energy, on_the_ellipse(), ll.CoordinateDescent(), steps=300)
    torch.testing.assert_close(energy.axes.data, AXES, atol=1e-2, rtol=0)


def test_the_codes_are_the_nearest_points() -> None:
    y = 2 * torch.randn(50, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    brute = torch.cdist(y, on_the_ellipse()).argmin(1)
    assert torch.equal(ll.infer(ll.energies.Ellipse(AXES), y).z, brute)


def test_whole_numbers_are_half_axes_too() -> None:
    torch.testing.assert_close(
        ll.score(ll.energies.Ellipse((2, 1)), torch.tensor([[2.0, 0.0]])), torch.zeros(1)
    )


def test_refusals() -> None:
    with pytest.raises(ll.ShapeError, match=r"'axes' of Ellipse.*\(3,\)"):
        ll.energies.Ellipse(torch.ones(3))
    with pytest.raises(ll.DomainError, match="'k'"):
        ll.energies.Ellipse(AXES, codes=0)
    with pytest.raises(ll.DomainError, match="all zero"):
        ll.energies.Ellipse.from_data(torch.zeros(4, 2))


def test_an_axis_that_nothing_speaks_for_stays() -> None:
    energy = ll.energies.Ellipse(AXES, 48)
    flat = torch.tensor([[3.0, 0.0], [5.0, 0.0]], dtype=F64)
    energy.solve_parameters(energy.statistics(flat, torch.tensor([0, 0])))
    torch.testing.assert_close(energy.axes.data, torch.tensor([4.0, 1.5], dtype=F64))
