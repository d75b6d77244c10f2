"""What contrastive divergence says when its chains or its surface go wrong."""

import functools
import math

import pytest
import torch
from contrasts import Precision, Walk, Y, frozen, one_step, seeded
from torch import Tensor, nn

import lowland as ll
from lowland.sample import MALA, Langevin

CD, PCD = ll.ContrastiveDivergence, ll.PersistentContrastiveDivergence


@pytest.mark.parametrize("persistent", [False, True])
def test_chains_that_stand_still_are_said(persistent: bool) -> None:
    # Every proposal is refused, the gap is 0 and the loss looks perfect.
    sampler = Walk(refuse=True)
    strategy = PCD(k=2, sampler=sampler, fresh="data") if persistent else CD(k=2, sampler=sampler)
    fit = one_step(Precision(), Y, strategy, steps=5)
    assert fit.history.acceptance[-1] == 0.0
    assert fit.caution is not None
    assert "stale" in fit.caution


def test_a_fixed_step_that_is_too_long_goes_stale_and_says_so() -> None:
    hot = MALA(step_size=30.0, largest=31.0, acceptance=0.01)
    y = 0.5 + Y / math.sqrt(50)
    fit = one_step(Precision(p=50.0), y, CD(k=2, sampler=hot), steps=5, optimizer=frozen)
    assert fit.caution is not None
    assert "stale" in fit.caution
    tuned = one_step(
        Precision(p=50.0), y, CD(k=10, sampler=MALA(step_size=30.0)), steps=60, optimizer=frozen
    )
    assert tuned.caution is None


def test_a_gap_that_runs_away_ends_training_and_keeps_good_parameters() -> None:
    # Steps that are too long lead off the surface, and pushing up there makes it worse.
    energy = Precision(p=1.0)
    with pytest.raises(ll.DivergedError, match="runs away") as caught:
        ll.fit(
            energy,
            Y,
            CD(k=10, sampler=Langevin(2.5)),
            steps=500,
            batch_size=200,
            optimizer=functools.partial(torch.optim.SGD, lr=1e-3),
            generator=seeded(),
        )
    assert "limit of 50" in str(caught.value)
    assert math.isfinite(energy.p.item())
    history = caught.value.history
    assert isinstance(history, ll.train.History)
    assert all(math.isfinite(value) for value in history.loss)


def test_a_runaway_may_be_let_run() -> None:
    strategy = CD(k=10, sampler=Langevin(2.5), runaway=math.inf)
    fit = one_step(Precision(p=1.0), Y, strategy, optimizer=frozen)
    assert abs(fit.history.loss[0]) > 50


class Hole(Precision):
    """No number inside a disc."""

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        value = super().forward(y, x=x)
        return torch.where((y - 3).square().sum(-1) < 1, math.nan, value)


def test_where_the_energy_is_no_number_no_chain_goes() -> None:
    # A peer turns such positions into 0 and goes on from there.
    fit = one_step(
        Hole(p=0.1),
        Y.clamp(max=2.0),
        PCD(k=20, buffer=200, fresh="data"),
        steps=10,
        optimizer=frozen,
    )
    assert fit.state is not None
    assert bool(torch.isfinite(fit.state["buffer"]).all())
    assert bool(((fit.state["buffer"] - 3).square().sum(1) >= 1).all())
    assert bool((fit.state["buffer"] != 0).any(1).all())


def test_a_datum_without_a_finite_energy_is_an_error_not_a_number() -> None:
    y = torch.full((10, 2), 3.0, dtype=torch.float64)
    energy = Hole()
    with pytest.raises(ll.DivergedError, match="energy is nan"):
        one_step(energy, y, CD(k=1))
    assert energy.p.item() == 3.0


class Steep(ll.Energy):
    """Finite everywhere, with an infinite slope in its parameter."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.a = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return (1 + self.a.sqrt()) * y.square().sum(-1)


def test_an_infinite_gradient_is_named_and_changes_nothing() -> None:
    energy = Steep()
    with pytest.raises(ll.DivergedError, match="gradient of 'a' is not finite"):
        one_step(energy, Y, CD(k=1))
    assert energy.a.item() == 0.0
