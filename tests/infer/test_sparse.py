"""Sparse codes: every method against scikit-learn, and every certificate against its definition."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso as SklearnLasso

import lowland as ll
from lowland._native import kernels
from lowland.capabilities import LinearDecoder
from lowland.infer import proximal
from lowland.infer.choose import infer
from lowland.infer.lasso import duality_gap
from lowland.infer.shrinkage import FISTA, ISTA, CyclicCoordinateDescent, follow
from lowland.latent import Sparse

F64 = torch.float64


@pytest.fixture(autouse=True, scope="module", params=["compiled", "torch"])
def _solver(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here holds for the kernel and for what runs where none was compiled."""
    if request.param == "compiled":
        if kernels() is None:
            pytest.skip("lowland was installed without a C compiler")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proximal, "library_for", lambda target: None)
        yield


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def coding(d: int, k: int, penalty: float, seed: int = 0) -> ll.energies.SparseCoding:
    atoms = draw(d, k, seed=seed)
    return ll.energies.SparseCoding(atoms / atoms.norm(dim=0), penalty)


def independent_gap(w: np.ndarray, y: np.ndarray, z: np.ndarray, penalty: float) -> np.ndarray:
    """P − D by their definitions, relative to P, in NumPy."""
    r = y - z @ w.T
    primal = 0.5 * (r**2).sum(1) + penalty * np.abs(z).sum(1)
    scale = np.minimum(1, penalty / np.maximum(np.abs(r @ w).max(1), 1e-300))[:, None]
    dual = 0.5 * (y**2).sum(1) - 0.5 * ((y - scale * r) ** 2).sum(1)
    return (primal - dual) / np.maximum(primal, 1e-300)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (1, 5), (6, 1), (16, 100)])
@pytest.mark.parametrize("penalty", [0.01, 0.3, 2.0])
def test_the_codes_are_those_of_scikit_learn(shape: tuple[int, int], penalty: float) -> None:
    energy, y = coding(*shape, penalty), draw(30, shape[0], seed=1)
    found = infer(energy, y, tolerance=1e-10)
    w = energy.dictionary.detach().numpy()
    assert found.converged.all()
    assert independent_gap(w, y.numpy(), found.z.numpy(), penalty).max() <= 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SklearnLasso(penalty / len(w), fit_intercept=False, tol=1e-14, max_iter=100_000)
        codes = np.atleast_2d(theirs.fit(w, y.numpy().T).coef_).reshape(found.z.shape)
    # The least energy is unique; the code is where its atoms are independent.
    value = energy(y, z=torch.as_tensor(codes)).detach()
    assert (found.energy <= value * (1 + 1e-9)).all()
    torch.testing.assert_close(found.energy, value, rtol=1e-4, atol=1e-9)
    if penalty > 0.1 and shape[0] > 1:  # in one dimension all atoms are equal
        torch.testing.assert_close(found.z, torch.as_tensor(codes), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_certificate_is_of_the_codes_returned(dtype: torch.dtype) -> None:
    energy, y = coding(16, 60, 0.2).to(dtype), draw(700, 16, seed=2).to(dtype)
    found = infer(energy, y)
    w, z = energy.dictionary.detach().double().numpy(), found.z.double().numpy()
    gap = independent_gap(w, y.double().numpy(), z, energy.penalty)
    assert found.z.dtype == dtype
    assert found.converged.all()
    assert gap.max() <= 1e-6
    np.testing.assert_allclose(found.gap.numpy(), gap, atol=1e-9)
    recomputed = duality_gap(energy.latent, energy.linear_decoder(), y, found.z)
    np.testing.assert_allclose(recomputed.numpy(), gap, atol=1e-9)
    torch.testing.assert_close(found.energy, energy(y, z=found.z).detach())


def test_items_do_not_depend_on_one_another() -> None:
    energy, y = coding(16, 60, 0.2), draw(90, 16, seed=3)
    whole = infer(energy, y, tolerance=1e-10).z
    alone = torch.cat([infer(energy, part, tolerance=1e-10).z for part in y.split(13)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_a_penalty_too_large_gives_no_code() -> None:
    energy, y = coding(8, 20, 100.0), draw(5, 8, seed=1)
    found = infer(energy, y)
    assert not found.z.any()
    assert not found.gap.any()
    torch.testing.assert_close(found.energy, y.square().sum(1) / 2)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_without_a_penalty_it_is_least_squares(shape: tuple[int, int]) -> None:
    energy, y = coding(*shape, 0.0), draw(9, shape[0], seed=1)
    found = infer(energy, y)
    want = torch.linalg.lstsq(energy.dictionary.detach(), y.T, driver="gelsd").solution.T
    torch.testing.assert_close(found.z, want)
    assert found.converged.all()


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_equal_dependent_and_zero_atoms(penalty: float) -> None:
    atoms = draw(6, 10)
    atoms = torch.cat([atoms, atoms, -atoms[:, :3], torch.zeros(6, 2, dtype=F64)], 1)
    atoms = torch.cat([atoms, atoms[:, :4] + 1e-9 * draw(6, 4, seed=5)], 1)
    energy, y = ll.energies.SparseCoding(atoms, penalty), draw(40, 6, seed=1)
    found = infer(energy, y)
    assert found.converged.all()
    gap = independent_gap(atoms.numpy(), y.numpy(), found.z.numpy(), penalty)
    assert gap.max() <= 1e-6
    assert not found.z[:, 23:25].any()


def test_zero_items_have_zero_codes() -> None:
    y = draw(4, 8, seed=1)
    y[1] = 0
    for penalty in (0.0, 0.1):
        found = infer(coding(8, 20, penalty), y)
        assert not found.z[1].any()
        assert found.energy[1] == 0
        assert found.gap[1] == 0
        assert found.converged.all()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale: float) -> None:
    y = draw(30, 8, seed=1)
    one = infer(coding(8, 20, 0.1), y, tolerance=1e-10)
    other = infer(coding(8, 20, 0.1 * scale), scale * y, tolerance=1e-10)
    assert other.converged.all()
    torch.testing.assert_close(other.z / scale, one.z, rtol=1e-4, atol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    d=st.integers(1, 12),
    k=st.integers(1, 24),
    penalty=st.floats(1e-4, 3.0),
    rank=st.integers(1, 12),
)
def test_any_problem_is_solved_and_certified(
    seed: int, d: int, k: int, penalty: float, rank: int
) -> None:
    atoms = draw(d, rank, seed=seed) @ draw(rank, k, seed=seed + 1)
    energy, y = ll.energies.SparseCoding(atoms, penalty), draw(5, d, seed=seed + 2)
    found = infer(energy, y)
    assert found.converged.all()
    gap = independent_gap(atoms.numpy(), y.numpy(), found.z.numpy(), penalty)
    assert gap.max() <= 1e-6
    slack = 1e-9 * (1 + found.energy)
    assert (found.energy <= energy(y, z=draw(5, k, seed=seed + 3)).detach() + slack).all()


def test_a_warm_start_takes_few_steps() -> None:
    energy, y = coding(16, 60, 0.1), draw(300, 16, seed=1)
    cold = infer(energy, y)
    warm = infer(energy, y, start=cold.z)
    assert warm.converged.all()
    assert warm.steps.double().mean() < cold.steps.double().mean() / 4
    torch.testing.assert_close(warm.energy, cold.energy, rtol=1e-5, atol=0)
    wrong = infer(energy, y, start=-cold.z, tolerance=1e-8)
    assert wrong.converged.all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_refused_and_never_certified(bad: float) -> None:
    energy, y = coding(4, 6, 0.1), draw(5, 4, seed=1)
    start = torch.zeros(5, 6, dtype=F64)
    start[3, 2] = bad
    with pytest.raises(ll.DomainError, match=r"'start' of infer must be finite.* item 3"):
        infer(energy, y, start=start)
    with torch.no_grad():
        energy.dictionary[0, 1] = bad
    with pytest.raises(ll.DivergedError, match=r"The dictionary.* index \(1, 0\)"):
        infer(energy, y)


def test_too_few_steps_are_admitted() -> None:
    found = infer(coding(16, 60, 0.1), draw(300, 16, seed=1), steps=2)
    assert not found.converged.any()
    assert (found.gap > 1e-6).all()
    assert int(found.steps.max()) <= 4


def test_a_precision_and_an_offset_are_heeded() -> None:
    weight, offset, y = draw(6, 9), draw(6, seed=3), draw(20, 6, seed=4)
    latent = Sparse(9, penalty=0.4)
    found = proximal.solve_sparse(
        latent, LinearDecoder(weight, offset, 2.5), y, proximal.Search(tolerance=1e-10)
    )
    # Dividing the energy by the precision leaves the same code with a smaller penalty.
    same = infer(ll.energies.SparseCoding(weight, 0.4 / 2.5), y - offset, tolerance=1e-10)
    torch.testing.assert_close(found.z, same.z, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.energy, 2.5 * same.energy)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_without_room_for_a_gram_matrix(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    energy, y = coding(16, 40, 0.3).to(dtype), draw(600, 16, seed=1).to(dtype)
    newton = infer(energy, y)
    monkeypatch.setattr(proximal, "_GRAM_BYTES", 0)
    shrunk = infer(energy, y)
    assert shrunk.converged.all()
    assert shrunk.steps.double().mean() > 5 * newton.steps.double().mean()
    torch.testing.assert_close(shrunk.energy, newton.energy, rtol=2e-6, atol=0)
    warm = infer(energy, y, start=newton.z)
    assert int(warm.steps.max()) <= 10


def test_what_newton_leaves_open_is_finished_by_shrinkage(monkeypatch: pytest.MonkeyPatch) -> None:
    energy, y = coding(16, 40, 0.3), draw(60, 16, seed=1)
    want = infer(energy, y)
    monkeypatch.setattr(proximal, "_NEWTON_STEPS", 1)
    found = infer(energy, y, steps=5000)
    assert found.converged.all()
    torch.testing.assert_close(found.energy, want.energy, rtol=2e-6, atol=0)


METHODS = [ISTA, FISTA, CyclicCoordinateDescent]
ENOUGH = {ISTA: 3000, FISTA: 1000, CyclicCoordinateDescent: 200}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_down_to_the_same_energy(method: type) -> None:
    energy, y = coding(12, 30, 0.4), draw(3, 5, 12, seed=1)
    path = follow(energy, y, method(steps=ENOUGH[method]))
    assert path.energy.shape == (ENOUGH[method] + 1, 3, 5)
    assert path.z.shape == (3, 5, 30)
    torch.testing.assert_close(path.energy[0], y.square().sum(-1) / 2)
    torch.testing.assert_close(path.energy[-1], energy(y, z=path.z).detach())
    torch.testing.assert_close(path.energy[-1], infer(energy, y).energy, rtol=1e-5, atol=0)
    if method is not FISTA:
        assert (path.energy.diff(dim=0) <= 1e-12).all()


def test_the_methods_keep_their_order() -> None:
    """At equal iterations coordinate descent is ahead of FISTA, and FISTA of ISTA."""
    energy, y = coding(16, 48, 0.2), draw(100, 16, seed=1)
    least = infer(energy, y).energy
    excess = [(follow(energy, y, m(steps=30)).energy[-1] - least).mean() for m in METHODS]
    assert excess[2] < excess[1] < excess[0]


def test_ista_is_its_formula() -> None:
    energy, y = coding(5, 7, 0.3), draw(4, 5, seed=1)
    w = energy.dictionary.detach()
    curvature = (1 + 1e-6) * torch.linalg.matrix_norm(w, 2) ** 2
    z = draw(4, 7, seed=2)
    moved = z - (z @ w.T - y) @ w / curvature
    want = moved.sign() * (moved.abs() - 0.3 / curvature).clamp(min=0)
    torch.testing.assert_close(follow(energy, y, ISTA(steps=1), start=z).z, want)


def test_methods_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ll.DomainError, match="'steps' of FISTA"):
        FISTA(steps=0)
    with pytest.raises(ll.CapabilityError, match="OneHot"):
        follow(ll.energies.KMeans(torch.zeros(2, 2)), torch.zeros(1, 2), ISTA(steps=1))
    with pytest.raises(ll.ShapeError):
        infer(coding(8, 20, 0.1), draw(5, 8), start=draw(5, 19))
