"""Minimising a batch of functions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lowland as ll
from lowland.infer import minimize, value_and_gradient

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def rosenbrock(y: torch.Tensor) -> torch.Tensor:
    return (1 - y[:, 0]).square() + 100 * (y[:, 1] - y[:, 0].square()).square()


@settings(max_examples=8)
@given(st.integers(0, 1000), st.floats(0, 4))
def test_quadratics_of_any_condition_and_rotation(seed: int, decades: float) -> None:
    basis = torch.linalg.qr(draw(8, 8, seed=seed)).Q
    matrix = basis @ torch.logspace(0, decades, 8, dtype=F64).diag() @ basis.T
    target = draw(8, seed=seed + 1)

    def quadratic(y: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ni,ij,nj->n", y - target, matrix, y - target) / 2

    found = minimize(quadratic, draw(3, 8, seed=seed + 2), steps=3000, tolerance=1e-7)
    assert found.converged.all()
    torch.testing.assert_close(found.y, target.expand(3, 8), atol=1e-6, rtol=0)


def test_the_banana() -> None:
    start = torch.tensor([[-1.2, 1.0], [2.0, 2.0], [0.0, 0.0], [5.0, -5.0]], dtype=F64)
    found = minimize(rosenbrock, start, steps=3000, tolerance=1e-8)
    assert found.converged.all()
    torch.testing.assert_close(found.y, torch.ones_like(found.y), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_items_do_not_influence_one_another(dtype: torch.dtype) -> None:
    start = (3 * draw(6, 2)).to(dtype)
    start[0] = torch.tensor([1.0, 1.01])  # easy, so that it must wait for the others
    together = minimize(rosenbrock, start, steps=400)
    for i in range(6):
        alone = minimize(rosenbrock, start[i : i + 1], steps=400)
        assert torch.equal(alone.y[0], together.y[i])
        assert torch.equal(alone.value[0], together.value[i])


@pytest.mark.parametrize("seed", range(3))
def test_a_bounded_quadratic_has_its_closed_form(seed: int) -> None:
    weights, target = draw(5, seed=seed).exp(), 2 * draw(4, 5, seed=seed + 9)
    found = minimize(
        lambda y: (weights * (y - target).square()).sum(-1),
        draw(4, 5),
        project=lambda y: y.clamp(-1, 1),
        steps=1000,
        tolerance=1e-9,
    )
    assert found.converged.all()
    torch.testing.assert_close(found.y, target.clamp(-1, 1))


def test_the_closest_point_of_a_ball() -> None:
    target = 3 * draw(6, 4)
    found = minimize(
        lambda y: (y - target).square().sum(-1),
        torch.zeros(6, 4, dtype=F64),
        project=lambda y: y / y.norm(dim=-1, keepdim=True).clamp(min=1),
    )
    norm = target.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(found.y, target / norm.clamp(min=1), atol=1e-6, rtol=0)


def test_the_result_is_what_it_says() -> None:
    def quartic(y: torch.Tensor) -> torch.Tensor:
        return (y.square() - 1).square().sum((1, 2))

    found = minimize(quartic, draw(5, 2, 3), steps=7)
    assert found.steps <= 7
    assert found.y.shape == (5, 2, 3)
    value, gradient = value_and_gradient(quartic, found.y)
    torch.testing.assert_close(found.value, value)
    torch.testing.assert_close(found.gradient_norm, gradient.abs().flatten(1).amax(1))
    assert (found.value <= quartic(draw(5, 2, 3))).all()


@pytest.mark.parametrize("wall", [math.nan, math.inf])
def test_walls_that_are_not_finite_are_kept_out_of(wall: float) -> None:
    def function(y: torch.Tensor) -> torch.Tensor:
        inside = y[:, 0].clamp(min=1e-9)  # for the slope of a branch not taken is taken too
        return torch.where(y[:, 0] > 0, inside - inside.log(), wall)

    found = minimize(function, torch.tensor([[0.01], [40.0], [1e-3]], dtype=F64), steps=500)
    torch.testing.assert_close(found.y, torch.ones(3, 1, dtype=F64), atol=1e-4, rtol=0)


def test_a_bad_start_is_named() -> None:
    with pytest.raises(ll.DivergedError, match="start 1 of 3"):
        minimize(lambda y: y.log().sum(-1), torch.tensor([[1.0], [-1.0], [2.0]]))


def test_a_constant_function_stays() -> None:
    found = minimize(lambda y: torch.zeros(len(y)), torch.ones(3, 2))
    assert torch.equal(found.y, torch.ones(3, 2))
    assert found.converged.all()
