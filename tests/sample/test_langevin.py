"""Langevin dynamics against its own discretisation law."""

import math
from collections.abc import Callable

import pytest
import torch

import lowland as ll
from lowland.sample import Target, advance, run

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bowl(y: torch.Tensor) -> torch.Tensor:
    return y.square().sum(-1) / 2


@pytest.mark.parametrize("step_size", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_the_variance_is_that_of_the_discretised_process(step_size: float, beta: float) -> None:
    start = torch.zeros(500, 40, dtype=F64)
    draws = run(
        ll.Langevin(step_size), bowl, start, steps=1, warmup=120, beta=beta, generator=seeded()
    )
    want = 1 / (beta * (1 - step_size / 2))
    error = want * math.sqrt(2 / start.numel())
    assert float(draws.last.var()) == pytest.approx(want, abs=5 * error)
    assert float(draws.last.mean()) == pytest.approx(0, abs=5 * math.sqrt(want / start.numel()))


def test_one_step_is_the_formula() -> None:
    start = torch.randn(4, 3, dtype=F64, generator=seeded(1))
    noise = torch.randn(4, 3, dtype=F64, generator=seeded(2))
    draws = run(ll.Langevin(0.2), bowl, start, steps=1, beta=3.0, generator=seeded(2))
    torch.testing.assert_close(draws.last, start - 0.2 * start + math.sqrt(0.4 / 3) * noise)
    torch.testing.assert_close(draws.diagnostics.energy[:, 0], bowl(draws.last))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_proposal_that_is_not_finite_is_refused_and_counted(bad: float) -> None:
    def walled(y: torch.Tensor) -> torch.Tensor:
        return torch.where(y[:, 0] > 0.5, bad, bowl(y))

    start = torch.zeros(50, 2, dtype=F64)
    draws = run(ll.Langevin(0.1), walled, start, steps=60, generator=seeded())
    path = torch.cat([start.unsqueeze(1), draws.y], 1)
    stayed = (path[:, 1:] == path[:, :-1]).all(-1).sum(1)
    assert torch.equal(stayed, draws.diagnostics.nonfinite)
    assert stayed.sum() > 0
    assert draws.y[..., 0].max() <= 0.5
    torch.testing.assert_close(draws.diagnostics.acceptance, 1 - stayed.to(F64) / 60)
    assert torch.isfinite(draws.diagnostics.energy).all()


def test_a_chain_at_rest_does_not_move_the_others() -> None:
    def partly(y: torch.Tensor) -> torch.Tensor:
        return torch.where(y[:, 0] > 100, math.inf, bowl(y))

    start = torch.zeros(3, 1, dtype=F64)
    free = run(ll.Langevin(0.1), bowl, start, steps=30, generator=seeded())
    kept = run(ll.Langevin(0.1), partly, start, steps=30, generator=seeded())
    assert torch.equal(free.y, kept.y)


@pytest.mark.parametrize("step_size", [0.0, -0.1, math.nan, math.inf])
def test_the_step_is_positive(step_size: float) -> None:
    with pytest.raises(ll.DomainError, match="'step_size' of Langevin"):
        ll.Langevin(step_size)


def test_an_energy_without_slope_lets_the_chain_wander() -> None:
    draws = run(
        ll.Langevin(0.5),
        lambda y: torch.zeros(len(y), dtype=y.dtype),
        torch.zeros(2000, 1, dtype=F64),
        steps=4,
        generator=seeded(),
    )
    assert float(draws.last.var()) == pytest.approx(4.0, rel=0.2)


def barrier(y: torch.Tensor) -> torch.Tensor:
    return bowl(y) - y.log().sum(-1)


def hard_wall(y: torch.Tensor) -> torch.Tensor:
    return torch.where(y[:, 0] > 2.0, math.inf, bowl(y))


@pytest.mark.parametrize("shape", [(8, 2), (5, 3), (200, 24)])
@pytest.mark.parametrize("potential", [bowl, barrier, hard_wall])
def test_steps_that_nobody_looks_at_lead_to_the_same_bits(
    shape: tuple[int, ...], potential: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    sampler, start, steps = ll.Langevin(0.2), torch.ones(shape), 230
    target = Target(potential)
    found = advance(sampler, target, start, steps, generator=seeded())
    assert target.explain().startswith("trace")
    assert target.oversees(start) == (potential is not hard_wall)
    state, generator = sampler.init(Target(potential), start), seeded()
    for _ in range(steps):
        state = sampler.step(Target(potential), state, 1.0, generator)
    assert all(torch.equal(a, b) for a, b in zip(found, state, strict=True))
    assert (int(found.nonfinite.sum()) > 0) == (potential is not bowl)
    # At most one stretch of steps is made twice.
    assert steps + 1 <= target.evaluations / len(start) <= steps + 33


def test_what_advance_returns_can_be_differentiated_at() -> None:
    target = Target(bowl)
    for _ in range(3):
        state = advance(ll.Langevin(), target, torch.ones(4, 2), 120, generator=seeded())
    assert not any(tensor.is_inference() for tensor in state)
    draws = run(ll.MALA(), target, torch.ones(4, 2), steps=120, generator=seeded())
    assert not draws.y.is_inference()
    assert not draws.diagnostics.energy.is_inference()
    assert not draws.diagnostics.nonfinite.is_inference()
