"""Many steps made at once lead where the same steps lead one by one, to the bit."""

import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import lowland as ll
from lowland.sample import HMC, Sampler, Target, advance, run
from lowland.sample._leapfrog import Arrival, Leapfrog

# The package has a function of the name of the folder that it is in.
_leapfrog = importlib.import_module("lowland.sample._leapfrog")
STEPS = 150


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(mean: float) -> ll.Energy:
    turn = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 2.0]])
    return ll.energies.Gaussian(torch.full((3,), mean), turn)


def bowl(y: Tensor) -> Tensor:
    return y.square().sum(-1) / 2


def barrier(y: Tensor) -> Tensor:
    return bowl(y) - y.log().sum(-1)


def one_by_one(sampler: Sampler, target: Target, start: Tensor) -> list[Any]:
    state, generator = sampler.init(target, start), seeded()
    states = []
    for _ in range(STEPS):
        state = sampler.step(target, state, 1.0, generator)
        states.append(state)
    return states


@pytest.mark.parametrize(
    "potential",
    [gaussian(0.0), gaussian(1.0), bowl, barrier],
    ids=["centred", "off", "bowl", "log"],
)
@pytest.mark.parametrize(
    "sampler",
    [HMC(0.4, leapfrogs=3), HMC(0.9), HMC(3.0, leapfrogs=6), ll.Langevin(0.3)],
    ids=["HMC", "HMC, own length", "HMC too far", "Langevin"],
)
def test_a_stride_is_its_steps(sampler: Sampler, potential: Any) -> None:
    start = torch.ones(20, 3)
    states = one_by_one(sampler, Target(potential), start)
    found = advance(sampler, Target(potential), start, STEPS, generator=seeded(), adapt=False)
    # A state may hold what a sampler learns; here none does, so its tensors are all there is to it.
    for name, wanted in states[-1]._asdict().items():
        if isinstance(wanted, Tensor):
            assert torch.equal(getattr(found, name), wanted), name
    draws = run(sampler, Target(potential), start, steps=STEPS, generator=seeded())
    assert torch.equal(draws.y, torch.stack([state.y for state in states], 1))
    assert torch.equal(draws.diagnostics.energy, torch.stack([s.energy for s in states], 1))
    refused = (states[-1].rejected / STEPS).to(draws.y)
    torch.testing.assert_close(draws.diagnostics.acceptance, 1 - refused)


def test_the_refusals_of_a_stride_are_counted() -> None:
    start = torch.ones(20, 3)
    far = advance(HMC(3.0, leapfrogs=8), Target(gaussian(0.0)), start, 40, adapt=False)
    assert int(far.rejected.min()) == int(far.divergent.min()) == 40
    blind = advance(HMC(0.5, leapfrogs=2), Target(barrier), start, 40, adapt=False)
    assert 0 < int(blind.nonfinite.sum()) <= int(blind.rejected.sum())


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("observed", [None, torch.tensor([True, False, False])])
def test_a_kick_is_push_times_the_gradient(mean: float, observed: Tensor | None) -> None:
    y, velocity = torch.randn(2, 7, 3, generator=seeded())
    push = torch.tensor([0.1, 2.0, 0.5])
    target = Target(gaussian(mean), observed=observed)
    wanted = velocity - push * target.slope(y)[1]
    before = target.evaluations
    target.kicks(y, push, 2)(velocity, y)
    torch.testing.assert_close(velocity, wanted)
    # Counted beforehand where the energy kicks, else when it is asked.
    assert target.evaluations == before + len(y) * (2 if observed is None else 1)


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_leaps_in_one_call_are_the_leaps_one_by_one(
    mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, momentum = torch.randn(2, 7, 3, generator=seeded())
    target, scale = Target(gaussian(mean)), torch.tensor([0.5, 1.0, 2.0])

    def arrival() -> Arrival:
        leapfrog = Leapfrog(target, y, scale, 0.1, 2.0, 4)
        assert (leapfrog.leaps is None) == plain
        return leapfrog.go(y, target.slope(y)[1], momentum, 5)

    with torch.inference_mode():
        plain = False
        found = arrival()
        monkeypatch.setattr(_leapfrog, "_leaps", lambda: None)
        plain = True
        wanted = arrival()
    assert all(map(torch.equal, found, wanted))


def test_an_energy_that_kicks_is_asked_without_derivatives_and_can_be_derived_later() -> None:
    energy = gaussian(1.0)
    advance(HMC(0.3, leapfrogs=2), Target(energy), torch.ones(4, 3), 3, adapt=False)
    y = torch.ones(4, 3, requires_grad=True)
    energy.slope(y)[0].sum().backward()
    assert y.grad is not None
    torch.testing.assert_close(y.grad, energy.slope(y.detach())[1])


@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_hmc_keeps_a_gaussian(temperature: float) -> None:
    """Exact draws stay exact when the momenta are kicked by the energy itself."""
    from scipy import stats

    energy, generator = gaussian(1.0), seeded()
    start = energy.sample_gibbs(20_000, beta=1 / temperature, generator=generator)
    state = advance(
        HMC(0.5, leapfrogs=4), Target(energy), start, 3, 1 / temperature, generator, adapt=False
    )
    white = (state.y - 1.0) / (temperature * energy.get_buffer("covariance").diagonal()).sqrt()
    for column in white.T:
        assert stats.kstest(column.numpy(), stats.norm.cdf).pvalue > 1e-6
    correlation = float(white[:, :2].T.corrcoef()[0, 1])
    assert correlation == pytest.approx(0.6, abs=6 / math.sqrt(len(white)))
