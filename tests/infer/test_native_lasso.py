"""The kernels of every instruction set that this processor runs, certified independently."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import WIDTHS, library

from lowland.infer import native_lasso as module
from lowland.infer.lasso import Lasso, certificate
from lowland.infer.native_lasso import library_for, native_lasso
from lowland.infer.updated_inverse import updated_inverse

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def unit(w: torch.Tensor) -> torch.Tensor:
    return w / w.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, 90),
    d=st.integers(1, 40),
    penalty=st.sampled_from([0.01, 0.2, 1.0, 50.0]),
    warm=st.booleans(),
    single=st.booleans(),
)
def test_codes_are_certified(
    width: int, seed: int, k: int, d: int, penalty: float, warm: bool, single: bool
) -> None:
    problem, y = Lasso(unit(draw(k, d, seed=seed)), penalty), draw(7, d, seed=seed + 1)
    start = draw(7, k, seed=seed + 2) * (draw(7, k, seed=seed + 3) > 0.8) if warm else None
    found = native_lasso(
        library(width),
        problem,
        y,
        start=start,
        dtype=torch.float32 if single else F64,
        width=width,
    )
    want = certificate(problem, y, found.z.double())
    # With a small penalty no code in single precision comes closer.
    assert (found.gap <= (1e-4 if single else 1e-6)).all()
    torch.testing.assert_close(found.gap, want.gap, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.value, want.value)


def test_an_item_has_the_same_code_among_any_others(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, y = Lasso(unit(draw(60, 16)), 0.1), draw(150, 16, seed=1)
    whole = native_lasso(library(), problem, y)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 60 * 17)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        parts = native_lasso(library(), problem, y)
    finally:
        torch.set_num_threads(threads)
    # The product of a block may be rounded otherwise than that of all items.
    torch.testing.assert_close(parts.z, whole.z, rtol=1e-7, atol=1e-9)
    assert (parts.steps != whole.steps).sum() <= 2


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_dependent_atoms_take_each_others_places(penalty: float) -> None:
    w = draw(12, 6)
    atoms = torch.cat([w, w, w[:4] + w[4:8], torch.zeros(2, 6, dtype=F64)])
    problem, y = Lasso(atoms, penalty), draw(40, 6, seed=1)
    found, want = native_lasso(library(), problem, y), updated_inverse(problem, y)
    assert (found.gap <= 1e-6).double().mean() >= 0.9  # the rest is left to `active_set`
    closed = (found.gap <= 1e-6) & (want.gap <= 1e-6)
    assert closed.any()
    torch.testing.assert_close(
        certificate(problem, y, found.z).value[closed], want.value[closed], rtol=2e-6, atol=0
    )


def test_a_good_start_takes_few_steps() -> None:
    problem, y = Lasso(unit(draw(60, 16)), 0.1), draw(150, 16, seed=1)
    cold = native_lasso(library(), problem, y)
    again = native_lasso(library(), problem, y, start=cold.z)
    assert (again.steps <= 1).all()
    torch.testing.assert_close(again.z, cold.z, rtol=1e-7, atol=1e-9)
    loose = native_lasso(library(), problem, y, tolerance=0.1)
    assert loose.steps.double().mean() < cold.steps.double().mean()
    few = native_lasso(library(), problem, y, steps=1)
    assert (few.steps <= 1).all()
    assert (few.gap > 1e-6).any()


def test_what_is_not_a_number_is_no_certificate() -> None:
    problem, y = Lasso(unit(draw(9, 4)), 0.1), draw(5, 4, seed=1)
    y[2, 1] = torch.nan
    found = native_lasso(library(), problem, y)
    assert not found.gap[2] <= 1.0
    assert (found.gap[[0, 1, 3, 4]] <= 1e-6).all()


def test_targets_that_no_kernel_takes_are_left_to_torch() -> None:
    assert library_for(torch.zeros(2, 3)) is None
    assert library_for(torch.zeros(2, 3, dtype=F64, device="meta")) is None
