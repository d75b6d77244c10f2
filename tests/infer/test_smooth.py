"""Searching for a continuous z under any decoder."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lowland as ll
from lowland.infer import descend, find_codes
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
        if x is not None:
            linear = linear + x
        decoded = linear + self.bend * linear.sin()
        return (y - decoded).square().sum(-1) / 2 + self.latent.regularizer(z)


@pytest.mark.parametrize("m", [1, 3, 7])
def test_a_quadratic_has_its_closed_form(m: int) -> None:
    weight, y = draw(9, m), draw(4, 9, seed=1)
    for latent, ridge in ((Normal(m), 1.0), (Vector(m), 0.0)):
        found = ll.infer(Decoder(weight, latent), y, tolerance=1e-9)
        gram = weight.T @ weight + ridge * torch.eye(m, dtype=F64)
        torch.testing.assert_close(found.z, torch.linalg.solve(gram, weight.T @ y.T).T)
        assert found.converged.all()
        assert (found.gap <= 1e-9 + 1e-14 * found.energy).all()


def test_a_ball_has_the_multiplier_that_fits() -> None:
    """The code of a linear decoder on the surface solves (WᵀW + μ I) z = Wᵀ y."""
    weight, y = draw(9, 5), 4 * draw(3, 9, seed=1)
    found = ll.infer(Decoder(weight, Ball(5, 0.7)), y, tolerance=1e-10)
    slope = (y - found.z @ weight.T) @ weight
    length = found.z.norm(dim=1)
    torch.testing.assert_close(length, torch.full_like(length, 0.7))
    multiplier = (slope * found.z).sum(1, keepdim=True) / 0.49
    assert (multiplier > 0).all()
    torch.testing.assert_close(slope, multiplier * found.z, rtol=1e-6, atol=1e-7)


def test_a_sparse_code_fits_scikit_learns() -> None:
    from sklearn.linear_model import Lasso

    weight, y, penalty = draw(12, 20), draw(5, 12, seed=1), 0.8
    found = ll.infer(Decoder(weight, Sparse(20, penalty)), y, steps=5000, tolerance=1e-9)
    lasso = Lasso(alpha=penalty / 12, fit_intercept=False, tol=1e-14, max_iter=100_000)
    for i in range(5):
        lasso.fit(weight.numpy(), y[i].numpy())
        torch.testing.assert_close(found.z[i], torch.from_numpy(lasso.coef_), atol=1e-6, rtol=0)
        zeros = lasso.coef_ == 0
        assert (found.z[i].numpy()[zeros] == 0).all()


@pytest.mark.parametrize("latent", [Normal(1), Ball(1, 3.0), Sparse(1, 0.5)])
def test_the_lowest_of_several_minima_is_found(latent: Continuous) -> None:
    energy, y = Decoder(2 * draw(6, 1), latent, bend=2.5), 4 * draw(20, 6, seed=1)
    line = torch.linspace(-3, 3, 6001, dtype=F64).unsqueeze(1)
    table = energy(y.unsqueeze(1).expand(-1, len(line), -1), z=line.expand(20, -1, -1))
    found = ll.infer(energy, y)
    assert (found.energy <= table.detach().amin(1) + 1e-6).all()
    several = ll.infer(energy, y, starts=1)
    assert (several.energy >= found.energy - 1e-9).all()
    if not isinstance(latent, Normal):  # whose single well is wide here
        assert (several.energy > found.energy + 1e-3).any()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["ball", "normal", "sparse"]))
def test_an_item_does_not_see_the_others(seed: int, kind: str) -> None:
    latent = {"ball": Ball(6), "normal": Normal(6), "sparse": Sparse(6, 0.3)}[kind]
    energy, y = Decoder(draw(8, 6, seed=seed), latent, bend=0.1), draw(4, 8, seed=seed + 1)
    y[0] = 0.0  # soon done, so that the batch is thinned
    whole = ll.infer(energy, y, tolerance=1e-9)
    for i in range(len(y)):
        alone = ll.infer(energy, y[i : i + 1], tolerance=1e-9)
        torch.testing.assert_close(alone.energy[0], whole.energy[i], rtol=1e-9, atol=1e-9)
    assert len(set(whole.steps.tolist())) > 1


def test_a_warm_start_takes_fewer_steps() -> None:
    energy, y = Decoder(draw(20, 8), Ball(8, 2.0), bend=0.5), 2 * draw(30, 20, seed=1)
    cold = ll.infer(energy, y)
    warm = ll.infer(energy, y + 1e-3, start=cold.z)
    assert (warm.steps.double().mean() < cold.steps.double().mean() / 1.5).item()
    assert (warm.energy <= energy(y + 1e-3, z=cold.z)).all()


def test_a_start_outside_the_ball_is_refused() -> None:
    with pytest.raises(ll.DomainError, match="no longer than"):
        ll.infer(Decoder(draw(5, 3), Ball(3)), draw(2, 5), start=torch.full((2, 3), 5.0, dtype=F64))


def test_batches_conditions_and_steps() -> None:
    energy = Decoder(draw(5, 6), Normal(6), bend=0.2)
    y, x = draw(2, 3, 5, seed=1), draw(2, 3, 5, seed=2)
    found = ll.infer(energy, y, x=x, steps=3)
    assert found.z.shape == (2, 3, 6)
    assert (found.steps <= 3).all()
    assert not found.converged.any()
    one = ll.infer(energy, y[1, 2], x=x[1, 2])
    assert one.z.shape == (6,)
    assert one.converged


def test_the_answer_is_a_function_of_the_input() -> None:
    energy, y = Decoder(draw(5, 2), Vector(2), bend=2.0), draw(6, 5, seed=1)
    torch.manual_seed(0)
    first = ll.infer(energy, y)
    torch.manual_seed(1)
    assert torch.equal(first.z, ll.infer(energy, y).z)
    other = ll.infer(energy, y, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(first.energy, other.energy, rtol=1e-4, atol=1e-4)


def test_float32_converges_to_its_rounding() -> None:
    energy, y = Decoder(draw(300, 6), Ball(6), bend=0.1).float(), 3 * draw(10, 300, seed=1).float()
    assert ll.infer(energy, y, tolerance=0.0).converged.all()


@pytest.mark.parametrize("latent", [Normal(5), Ball(5), Sparse(5, 0.2), Normal(2), Ball(2)])
def test_the_envelope_slope_is_the_finite_difference(latent: Continuous) -> None:
    """In the parameters, y and x, to 1e-6: z* is held fixed and nothing is unrolled."""
    energy = Decoder(draw(7, latent.m), latent, bend=0.4)
    y, x = draw(2, 7, seed=1).requires_grad_(), draw(2, 7, seed=2).requires_grad_()
    leaves = [energy.weight, y, x]
    slopes = torch.autograd.grad(ll.free_energy(energy, y, x=x).sum(), leaves)
    for number, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        direction, ends = draw(*leaf.shape, seed=10 + number), []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                leaf += step * direction
                ends.append(float(ll.free_energy(energy, y, x=x).sum()))
                leaf -= step * direction
        numeric = (ends[0] - ends[1]) / 2e-4
        assert float((slope * direction).sum()) == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_descend_leaves_what_has_no_slope() -> None:
    found = descend(
        lambda rows: lambda z: torch.zeros(len(z), dtype=z.dtype),
        draw(3, 2),
        proximal=lambda z, step: z,
        steps=5,
        tolerance=1e-6,
    )
    assert torch.equal(found.y, draw(3, 2))
    assert found.converged.all()


def test_memory_is_bounded_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    energy, y = Decoder(draw(6, 5), Ball(5), bend=0.3), draw(40, 6, seed=1)
    whole = ll.infer(energy, y).energy
    largest = []
    forward = Decoder.forward

    def watched(self, y, *, x=None, z=None):
        largest.append(len(z))
        return forward(self, y, x=x, z=z)

    monkeypatch.setattr(Decoder, "forward", watched)
    monkeypatch.setattr(
        sys.modules["lowland.infer.smooth"],
        "chunks",
        lambda n, size: (slice(i, i + 8) for i in range(0, n, 8)),
    )
    torch.testing.assert_close(ll.infer(energy, y).energy, whole)
    assert max(largest) == 8
    assert find_codes(energy, y, None).shape == (40, 5)


def test_an_energy_that_is_not_finite_says_so() -> None:
    with pytest.raises(ll.DivergedError, match="cannot start"):
        ll.infer(Decoder(torch.full((3, 2), math.inf, dtype=F64), Normal(2)), draw(2, 3))
