"""The kernel of NUTS goes where its definition in torch goes."""

import importlib
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instruction_sets import WIDTHS, library
from torch import Tensor

from lowland.sample import NUTS, Target, run
from lowland.sample._half_trees import Course, End, HalfTrees
from lowland.sample._native_half_trees import NativeHalfTrees, halves

F64 = torch.float64
nuts = importlib.import_module("lowland.sample.nuts")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cliff(y: Tensor) -> Tensor:
    """A bowl with a place to fall from, a wall, and a place without a value."""
    bowl = y.square().sum(-1)
    fallen = torch.where(y[:, 0] > 2.5, bowl + 1e5, bowl)
    walled = torch.where(y[:, 0] < -2.5, torch.inf, fallen)
    return torch.where(y[:, -1] > 3.0, torch.nan, walled)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@given(
    seed=st.integers(0, 1000),
    d=st.integers(1, 40),
    level=st.integers(0, 5),
    step=st.sampled_from([0.05, 0.3, 1.0]),
    beta=st.sampled_from([1.0, 0.5]),
)
def test_a_half_equals_its_definition(
    width: int, dtype: torch.dtype, seed: int, d: int, level: int, step: float, beta: float
) -> None:
    g, n = seeded(seed), 11
    y, p = (torch.randn(n, d, generator=g, dtype=F64) for _ in range(2))
    scale = 0.5 + torch.rand(1, d, generator=g, dtype=F64)
    forward, growing = (torch.rand(n, generator=g) < 0.5 for _ in range(2))
    drawn = torch.rand(2**level, n, generator=g, dtype=F64).log()
    ends = []
    for kind, of in ((HalfTrees, F64), (partial(NativeHalfTrees, library(width)), dtype)):
        target, start = Target(cliff), y.to(of)
        energy, gradient = target.slope(start)
        energy = energy.nan_to_num(nan=1.0, posinf=1.0)
        at_start = beta * energy + 0.5 * p.to(of).square().sum(1)
        extra = {"width": width} if kind is not HalfTrees else {}
        made = kind(Course(target, y.shape, energy, at_start, (step * scale).to(of), beta), **extra)
        end = End(start, p.to(of), gradient)
        ends.append((made, *made.extend(end, forward, growing, drawn.to(of))))
    (one, end, tree, on), (other, end2, tree2, on2) = ends
    if dtype is torch.float32:  # there a decision on the edge may fall the other way
        assert (on == on2).double().mean() > 0.6
        same = (on == on2) & (one.leapfrogs() == other.leapfrogs())
    else:
        same = torch.ones(n, dtype=torch.bool)
        assert torch.equal(on, on2)
        for what in ("divergent", "nonfinite"):
            assert torch.equal(getattr(one, what), getattr(other, what))
        assert torch.equal(one.leapfrogs(), other.leapfrogs())
    close = partial(torch.testing.assert_close, check_dtype=False)
    if dtype is F64:
        close(one.likely(), other.likely())
    for a, b in zip(end, end2, strict=True):
        close(b[on & same].to(F64), a[on & same], rtol=1e-3, atol=1e-3)
    # A weight is a difference of energies, that may be large.
    large = 1 + one.at_start.abs()[on & same]
    weights = (each.log_weight[on & same].to(F64) / large for each in (tree2, tree))
    close(*weights, rtol=1e-3, atol=1e-5)
    if dtype is F64:
        for a, b in zip(tree, tree2, strict=True):
            close(b[on], a[on])


@pytest.mark.parametrize("event", [(3,), (2, 2)])
def test_draws_are_those_of_the_definition(
    event: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    library()
    energy = Target(lambda y: (y.square() - 1).square().flatten(1).sum(1))
    start = 0.5 * torch.randn(20, *event, generator=seeded(), dtype=F64)
    found = [run(NUTS(0.2), energy, start, steps=15, warmup=15, generator=seeded(1))]
    monkeypatch.setattr(nuts, "halves", HalfTrees)
    found.append(run(NUTS(0.2), energy, start, steps=15, warmup=15, generator=seeded(1)))
    torch.testing.assert_close(found[0].y, found[1].y, rtol=1e-4, atol=1e-4)
    assert found[0].diagnostics.gradients == found[1].diagnostics.gradients


def test_chains_that_are_done_do_no_harm() -> None:
    """Where one chain falls off, the next slopes are taken at a place with an energy."""
    seen = []

    def watched(y: Tensor) -> Tensor:
        seen.append(y.detach().clone())
        return cliff(y)

    target, y = Target(watched, trace=False), torch.tensor([[-2.4, 0.0], [0.1, 0.0]], dtype=F64)
    p, yes = torch.tensor([[-2.0, 0.0], [0.2, 0.0]], dtype=F64), torch.ones(2, dtype=torch.bool)
    energy, gradient = target.slope(y)
    drift = torch.full((1, 2), 0.1, dtype=F64)
    made = NativeHalfTrees(library(), Course(target, y.shape, energy, energy, drift, 1.0))
    drawn = torch.full((4, 2), -1.0, dtype=F64)
    _, _, on = made.extend(End(y, p, gradient), yes, yes, drawn)
    assert made.nonfinite.tolist() == [True, False] == (~on).tolist()
    assert seen[1][0, 0] < -2.5
    assert all(torch.equal(each[0], y[0]) for each in seen[2:])


@pytest.mark.parametrize("strided", ["start", "gradient"])
def test_how_memory_is_laid_out_cannot_be_seen(
    strided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library()
    weights = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.5, 0.3], [0.0, 0.0, 2.0]], dtype=F64)

    def surface(y: Tensor) -> Tensor:
        return (weights @ y.T.contiguous()).square().sum(0) / 2

    start = torch.randn(20, 3, generator=seeded(), dtype=F64)
    start = start.T.contiguous().T if strided == "start" else start
    found = [run(NUTS(0.3), Target(surface), start, steps=20, generator=seeded(1))]
    monkeypatch.setattr(nuts, "halves", HalfTrees)
    found.append(run(NUTS(0.3), Target(surface), start, steps=20, generator=seeded(1)))
    torch.testing.assert_close(found[0].y, found[1].y)


@pytest.mark.parametrize(
    ("of", "drift", "d", "kind"),
    [
        (torch.float32, torch.float32, 2, NativeHalfTrees),
        (F64, F64, 2, NativeHalfTrees),
        (torch.bfloat16, torch.bfloat16, 2, HalfTrees),
        (F64, torch.float32, 2, HalfTrees),
        (F64, F64, 0, HalfTrees),
    ],
)
def test_the_kernel_is_taken_where_it_fits(
    of: torch.dtype, drift: torch.dtype, d: int, kind: type
) -> None:
    library()
    energy, steps = torch.zeros(3, dtype=of), torch.ones(1, d, dtype=drift)
    assert (
        type(halves(Course(Target(cliff), torch.Size((3, d)), energy, energy, steps, 1.0))) is kind
    )


def test_a_weight_beyond_its_precision_is_not_finite() -> None:
    target, y = Target(lambda y: y[:, 0] * 3e38), torch.tensor([[0.0, 0.0]])
    p, yes, drift = torch.tensor([[10.0, 0.0]]), torch.tensor([True]), torch.full((1, 2), 0.1)
    energy, gradient = torch.zeros(1), torch.zeros(1, 2)
    for kind in (HalfTrees, partial(NativeHalfTrees, library())):
        made = kind(Course(target, y.shape, energy, energy, drift, 2.0))
        made.extend(End(y, p, gradient), yes, yes, torch.full((1, 1), -1.0))
        assert made.nonfinite.tolist() == made.divergent.tolist() == [True]
