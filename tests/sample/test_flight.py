"""Negatives in haste: many steps at once lead where single ones do."""

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import lowland as ll
from lowland.sample import MALA, Gibbs, Target, advance
from lowland.sample import target as target_module
from lowland.sample._flight import Pilot
from lowland.sample.mala import MALAState

_flight = importlib.import_module("lowland.sample._flight")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curved(y: Tensor) -> Tensor:
    return (y.square().sum(-1) - 1).square() + (y[..., 0] - 0.3).cosh()


def begun(target: Target, y: Tensor, **options: Any) -> tuple[MALA, MALAState]:
    sampler = MALA(**options)
    return sampler, advance(sampler, target, y, 0)


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("largest", [None, 0.15])
def test_a_flight_is_mala_written_out(beta: float, largest: float | None) -> None:
    y = torch.randn(40, 3, generator=seeded(1), dtype=torch.float64)
    sampler, state = begun(Target(curved), y, step_size=0.1, largest=largest)
    found = sampler.flight(Target(curved), state, 12, beta, seeded(2))

    # By the definition, each density as torch.distributions has it, with the same numbers.
    g = seeded(2)
    units = torch.randn(12, 40, 3, generator=g, dtype=torch.float64)
    levels = torch.rand(12, 40, generator=g, dtype=torch.float64).log()
    log_step, taken = math.log(0.1), torch.zeros(40, dtype=torch.float64)
    for i in range(12):
        eta = math.exp(log_step)

        def proposed(at: Tensor, eta: float = eta) -> torch.distributions.Normal:
            at = at.detach().requires_grad_()
            (slope,) = torch.autograd.grad(curved(at).sum(), at)
            return torch.distributions.Normal(at.detach() - eta * slope, math.sqrt(2 * eta / beta))

        forward = proposed(y)
        new = forward.loc + forward.scale * units[i]
        ratio = beta * (curved(y) - curved(new))
        ratio += (proposed(new).log_prob(y) - forward.log_prob(new)).sum(1)
        accept = levels[i] < ratio
        taken += accept
        y = torch.where(accept.unsqueeze(1), new, y)
        rate = max(0.1, 1 / math.sqrt(i + 1))
        log_step += rate * (float(ratio.clamp(max=0).exp().mean()) - 0.574)
        log_step = min(log_step, math.log(largest or math.inf))
    torch.testing.assert_close(found.y, y)
    torch.testing.assert_close(found.energy, curved(y))
    assert torch.equal(found.rejected, (12 - taken).long())
    assert found.step_size.item() == pytest.approx(math.exp(log_step))
    assert found.learned.item() == 12
    assert 0 < int(taken.sum()) < 12 * 40


def test_a_proposal_that_is_not_finite_brings_back_single_steps() -> None:
    def wall(y: Tensor) -> Tensor:
        return torch.where(y[..., 0] > 0.5, torch.inf, curved(y))

    y = 0.3 * torch.randn(60, 2, generator=seeded(3)).clamp(max=1.0)
    sampler, state = begun(Target(wall), y, step_size=0.3)
    found = sampler.flight(Target(wall), state, 8, 1.0, seeded(4))
    wanted, g = state, seeded(4)
    with torch.no_grad():
        for _ in range(8):
            wanted = sampler.step(Target(wall), wanted, 1.0, g, adapt=True)
    assert int(found.nonfinite.sum()) > 0
    assert all(map(torch.equal, found, wanted))


def test_chains_that_tune_themselves_apart_take_single_steps() -> None:
    y = torch.randn(10, 2, generator=seeded(3))
    sampler, state = begun(Target(curved), y, shared=False)
    found = sampler.flight(Target(curved), state, 5, 1.0, seeded(4))
    wanted = advance(sampler, Target(curved), state, 5, generator=seeded(4))
    assert all(map(torch.equal, found, wanted))


def test_whether_there_is_a_trace_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "_CALLS_BEFORE_TRACE", 2)
    energy = ll.energies.Network.from_data(torch.zeros(4, 2), hidden=(8, 8), generator=seeded())
    y = torch.randn(30, 2, generator=seeded(1))
    ends = []
    for trace in (True, False):
        target = Target(energy, trace=trace)
        sampler, state = begun(target, y)
        state = sampler.flight(target, state, 10, 1.0, seeded(5))
        ends.append(sampler.flight(target, state, 10, 1.0, seeded(6)))
        assert target.explain().startswith("trace of" if trace else "automatic")
        assert not any(part.is_inference() for part in ends[-1])
        assert not torch.equal(ends[-1].y, y)
    assert all(map(torch.equal, *ends))


def test_observed_elements_stay() -> None:
    y = torch.randn(30, 2, generator=seeded(1))
    target = Target(curved, observed=torch.tensor([True, False]))
    sampler, state = begun(target, y)
    found = sampler.flight(target, state, 10, 1.0, seeded(5))
    assert torch.equal(found.y[:, 0], y[:, 0])
    assert not torch.equal(found.y[:, 1], y[:, 1])


@pytest.mark.parametrize("noise", [None, 1.0])
@pytest.mark.parametrize("observed", [None, torch.tensor([True, False, False])])
def test_sweeps_of_gibbs_end_where_single_steps_do(noise: Any, observed: Any) -> None:
    y = (torch.rand(20, 3, generator=seeded(1)) > 0.5).float()
    energy = ll.energies.RestrictedBoltzmann.from_data(y, 4, noise=noise, generator=seeded())
    target = Target(energy, observed=observed)
    found = Gibbs().sweeps(target, y, 7, seeded(2))
    wanted = advance(Gibbs(), target, y, 7, generator=seeded(2)).y
    assert torch.equal(found, wanted)
    assert not torch.equal(found, y)


def test_a_flight_from_a_slope_that_is_known_is_the_same() -> None:
    y, sampler, target = torch.randn(40, 3, generator=seeded(1)), MALA(), Target(curved)
    looked = sampler.init(target, y)
    known = sampler.init(Target(curved), y, known=target.slope(y))
    ends = [sampler.flight(Target(curved), s, 8, 1.0, seeded(2)) for s in (looked, known)]
    assert all(map(torch.equal, looked, known))
    assert all(map(torch.equal, *ends))


def image_energy() -> ll.Energy:
    y = torch.randn(4, 1, 8, 8, generator=seeded())
    return ll.energies.ConvNetwork.from_data(y, channels=(4,), generator=seeded())


class Bowl(ll.Energy):
    """Its slope is y itself."""

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return y.square().flatten(1).sum(1) / 2


SURFACES: dict[str, Callable[[], ll.Energy]] = {
    "perceptron": lambda: ll.energies.Network.from_data(
        torch.zeros(4, 3, 2), hidden=(8, 8), generator=seeded()
    ),
    "images": image_energy,
    "bowl": lambda: Bowl((3,)),
}


def pilot_of(target: Target) -> Pilot:
    assert target._last is not None
    assert target._last.trace is not None
    return target._last.trace._pilot


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [1.0, 0.7])
@pytest.mark.parametrize("largest", [None, 0.15])
@pytest.mark.parametrize("name", SURFACES)
def test_the_interpreter_flies_as_single_steps_do(
    name: str,
    largest: float | None,
    beta: float,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(target_module, "_CALLS_BEFORE_TRACE", 1)
    energy = SURFACES[name]().to(dtype)
    with torch.no_grad():  # steep enough for some proposals to be refused
        for parameter in energy.parameters():
            parameter.mul_(3.0)
    y = torch.randn(12, *energy.event, generator=seeded(1), dtype=dtype)
    ends = []
    for trace in (True, False):
        target = Target(energy, trace=trace)
        sampler, state = begun(target, y, step_size=0.5, largest=largest)
        for seed in (5, 6):
            state = sampler.flight(target, state, 10, beta, seeded(seed))
        ends.append(state)
        if trace:
            assert pilot_of(target)._written is not None
    assert all(map(torch.equal, *ends))
    assert 0 < int(ends[0].rejected.sum()) < 20 * 12


@pytest.mark.parametrize("cause", ["no words", "other bits"])
def test_where_the_interpreter_will_not_do_python_flies(
    cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_module, "_CALLS_BEFORE_TRACE", 1)
    # The interpreter reads another rate than Python learns at.
    source = _flight._written

    def written(body: Any) -> Any:
        if cause == "no words":
            return source(body._replace(last={body.y: next(iter(body.last.values()))}))
        monkeypatch.setattr(_flight, "RATE", 0.9)
        other = source(body)
        monkeypatch.setattr(_flight, "RATE", 0.1)
        return other

    monkeypatch.setattr(_flight, "_written", written)
    energy, y = SURFACES["perceptron"](), torch.randn(12, 3, 2, generator=seeded(1))
    ends = []
    for trace in (True, False):
        target = Target(energy, trace=trace)
        sampler, state = begun(target, y)
        ends.append(sampler.flight(target, state, 10, 1.0, seeded(5)))
        if trace:
            assert pilot_of(target)._written is None
    assert all(map(torch.equal, *ends))
