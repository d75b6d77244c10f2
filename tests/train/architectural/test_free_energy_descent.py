"""Codes part as beta rises; the run is the same after a kill, and unused codes are told."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import lowland as ll
from lowland import CapabilityError, DomainError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clumps(n: int = 400) -> torch.Tensor:
    """Points about the corners of a square."""
    g = seeded(5)
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    return corners[torch.randint(4, (n,), generator=g)] + 0.1 * torch.randn(n, 2, generator=g)


ADAM = partial(torch.optim.Adam, lr=0.05)


def test_beta_rises_from_one_over_the_spread_to_what_was_asked() -> None:
    strategy = ll.FreeEnergyDescent(beta=80.0, anneal=10)
    energy = ll.energies.KMeans(torch.randn(5, 2, generator=seeded()))
    y = clumps()
    state = strategy.begin(energy, lambda n: (y[:n], None), seeded())
    distances = torch.cdist(y[:128], energy.prototypes).square().detach().double()
    start = 1 / float(distances.std(1, correction=0).mean())
    assert math.isclose(strategy.beta_at(state), start, rel_tol=1e-5)
    betas = [strategy.beta_at({**state, "steps": torch.tensor(t)}) for t in range(14)]
    ratios = [b / a for a, b in pairwise(betas[:11])]
    assert max(ratios) / min(ratios) < 1 + 1e-9
    assert betas[10] == betas[13] == pytest.approx(80.0)
    low = ll.FreeEnergyDescent(beta=start / 2)
    assert low.beta_at(low.begin(energy, lambda n: (y[:n], None), seeded())) == start / 2


def test_a_step_follows_the_slope_of_the_free_energy() -> None:
    y = clumps(32)
    energies = [ll.energies.KMeans(torch.randn(3, 2, generator=seeded())) for _ in range(2)]
    strategy = ll.FreeEnergyDescent(beta=2.0, start_beta=2.0)
    plain = [torch.optim.SGD(energy.parameters(), lr=0.1) for energy in energies]
    state = strategy.begin(energies[0], lambda n: (y, None), seeded())
    state, outcome = strategy.step(
        energies[0], state, y, None, optimizer=plain[0], generator=seeded()
    )
    loss = ll.free_energy(energies[1], y, beta=2.0).mean()
    loss.backward()
    plain[1].step()
    assert torch.allclose(outcome.loss, loss.detach())
    assert torch.allclose(energies[0].prototypes, energies[1].prototypes)
    assert math.isclose(float(state["shares"].sum()), 1.0, rel_tol=1e-9)


def test_annealed_codes_are_all_used_where_hard_ones_are_left_behind() -> None:
    y = clumps()
    # Two far beyond the data: another code is always nearer.
    start = torch.tensor([[1.0, 1.0], [0.9, 1.0], [4.0, 4.5], [5.0, 4.0]])
    soft, hard = ll.energies.KMeans(start), ll.energies.KMeans(start)
    annealed = ll.FreeEnergyDescent(beta=50.0, start_beta=0.02, anneal=200)
    result = ll.fit(soft, y, annealed, steps=300, optimizer=ADAM, generator=seeded())
    ll.fit(hard, y, ll.GradientDescent(), steps=300, optimizer=ADAM, generator=seeded())
    assert torch.equal(hard.prototypes[2:].detach(), start[2:])
    assert soft.prototypes.abs().max() < 1.5
    assert result.reseeded == 0
    assert ll.score(soft, y).mean() < 0.6 * ll.score(hard, y).mean()


def test_a_run_goes_on_exactly_after_a_kill(tmp_path: Path) -> None:
    x = torch.randn(60, 2, 1, 6, 6, generator=seeded())
    y = torch.randn(60, 1, 6, 6, generator=seeded(1))

    def energy() -> ll.energies.NextFrame:
        return ll.energies.NextFrame.from_data(y, x=x, k=3, widths=(3, 4), generator=seeded())

    def trained(
        model: ll.Energy, steps: int, folder: Path, resume: bool = False, seed: int = 3
    ) -> dict[str, torch.Tensor]:
        # Restarts often, so that they happen on both sides of the kill.
        strategy = ll.FreeEnergyDescent(anneal=350, least=0.9)
        result = ll.fit(
            model, (x, y), strategy, steps=steps, batch_size=16, generator=seeded(seed),
            checkpoint=folder, checkpoint_every=150, resume=resume,
        )  # fmt: skip
        return {**model.state_dict(), **result.state}

    class KilledError(Exception):
        pass

    def kill(record: object) -> None:
        if record.step > 200:
            raise KilledError

    whole = trained(energy(), 400, tmp_path / "whole")
    with pytest.raises(KilledError):
        ll.fit(
            energy(), (x, y), ll.FreeEnergyDescent(anneal=350, least=0.9), steps=400,
            batch_size=16, generator=seeded(3), checkpoint=tmp_path / "cut",
            checkpoint_every=150, callbacks=[kill],
        )  # fmt: skip
    resumed = trained(energy(), 400, tmp_path / "cut", resume=True, seed=99)
    assert int(whole["steps"]) == 400
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_unused_codes_start_again_and_are_counted() -> None:
    y = torch.randn(64, 1, 6, 6, generator=seeded(1))
    x = torch.zeros(64, 1, 1, 6, 6)
    energy = ll.energies.NextFrame.from_data(y, x=x, k=4, widths=(3,), generator=seeded())
    with torch.no_grad():
        energy.mass.bias[2] = -60.0
    result = ll.fit(
        energy, (x, y), ll.FreeEnergyDescent(least=0.3), steps=200, batch_size=32,
        generator=seeded(),
    )  # fmt: skip
    assert result.reseeded >= 1
    assert result.state["shares"][2] > 0.05
    assert result.caution is None


def test_codes_that_stay_unused_are_told() -> None:
    y = clumps()
    energy = ll.energies.KMeans(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [90.0, 90.0]]))
    strategy = ll.FreeEnergyDescent(beta=5.0, start_beta=5.0)
    result = ll.fit(energy, y, strategy, steps=200, optimizer=ADAM, generator=seeded())
    assert result.reseeded == 0
    assert "1 of 3 codes" in result.caution
    assert "[2]" in result.caution


def test_a_gaussian_mixture_is_trained_too() -> None:
    y = clumps()
    elsewhere = 3 * torch.randn(50, 2, generator=seeded())
    energy = ll.energies.GaussianMixture.from_data(elsewhere, k=4, generator=seeded())
    before = float(ll.free_energy(energy, y, beta=1.0, measure="sum").detach().mean())
    adam = partial(torch.optim.Adam, lr=0.01)
    ll.fit(
        energy, y, ll.FreeEnergyDescent(anneal=50), steps=100, optimizer=adam, generator=seeded()
    )
    assert float(ll.free_energy(energy, y, beta=1.0, measure="sum").detach().mean()) < before


def test_what_does_not_suit_is_refused() -> None:
    with pytest.raises(CapabilityError, match="adds up all codes"):
        ll.fit(
            ll.energies.PCA(torch.eye(2), torch.zeros(2)), clumps(), ll.FreeEnergyDescent(), steps=1
        )
    for options in ({"beta": 0.0}, {"start_beta": math.inf}, {"anneal": -1}, {"least": 1.0}):
        with pytest.raises(DomainError):
            ll.FreeEnergyDescent(**options)
