"""Slopes of F by the envelope theorem and of z* by the implicit one, against finite differences."""

import pytest
import torch

import lowland as ll
from lowland.infer.choose import free_energy, infer
from lowland.infer.implicit import implicit

F64 = torch.float64
STEP = 1e-6


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def coding(dictionary: torch.Tensor, penalty: float = 0.3) -> ll.energies.SparseCoding:
    return ll.energies.SparseCoding(dictionary, penalty)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("shape", [(6, 12), (9, 5)])
def test_the_slope_of_the_free_energy(shape: tuple[int, int]) -> None:
    w, y = draw(*shape), draw(7, shape[0], seed=1)
    way_w, way_y = draw(*shape, seed=2), draw(7, shape[0], seed=3)

    def along(t: float) -> torch.Tensor:
        energy = coding(w + t * way_w)
        z = infer(energy, y + t * way_y, tolerance=1e-13).z
        return energy(y + t * way_y, z=z).detach().sum()

    energy, points = coding(w), y.clone().requires_grad_()
    value = free_energy(energy, points).sum()
    in_w, in_y = torch.autograd.grad(value, (energy.dictionary, points))
    slope = (in_w * way_w).sum() + (in_y * way_y).sum()
    numeric = (along(STEP) - along(-STEP)) / (2 * STEP)
    assert relative(slope, numeric) <= 1e-6


@pytest.mark.parametrize("shape", [(6, 12), (9, 5)])
def test_the_slope_of_the_best_code(shape: tuple[int, int]) -> None:
    w, y = draw(*shape), draw(7, shape[0], seed=1)
    way_w, way_y, weight = (
        draw(*shape, seed=2),
        draw(7, shape[0], seed=3),
        draw(7, shape[1], seed=4),
    )

    def along(t: float) -> torch.Tensor:
        return (weight * implicit(coding(w + t * way_w), y + t * way_y)).sum().detach()

    energy, points = coding(w), y.clone().requires_grad_()
    z = implicit(energy, points)
    torch.testing.assert_close(z.detach(), infer(energy, y, tolerance=1e-13).z)
    in_w, in_y = torch.autograd.grad((weight * z).sum(), (energy.dictionary, points))
    slope = (in_w * way_w).sum() + (in_y * way_y).sum()
    numeric = (along(STEP) - along(-STEP)) / (2 * STEP)
    assert relative(slope, numeric) <= 1e-6


def test_where_nothing_is_active_the_code_has_no_slope() -> None:
    y = draw(2, 3, 4, seed=1).requires_grad_()
    z = implicit(coding(draw(4, 6), penalty=100.0), y)
    assert z.shape == (2, 3, 6)
    assert not torch.autograd.grad(z.sum(), y)[0].any()


def test_single_precision_has_slopes() -> None:
    energy, y = coding(draw(6, 12).float()), draw(7, 6, seed=1).float().requires_grad_()
    (slope,) = torch.autograd.grad(implicit(energy, y).square().sum(), y)
    assert slope.dtype == torch.float32
    assert slope.isfinite().all()


def test_atoms_that_repeat_have_no_unique_code() -> None:
    w = draw(4, 3)
    with pytest.raises(ll.DomainError, match="linearly dependent"):
        implicit(coding(torch.cat([w, w], 1), penalty=0.01), draw(5, 4, seed=1))


def test_other_latents_are_refused() -> None:
    with pytest.raises(ll.CapabilityError, match="KMeans"):
        implicit(ll.energies.KMeans(draw(2, 2)), draw(3, 2))
