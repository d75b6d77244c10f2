"""Persistent chains: whose lineage is whose, and where new ones begin."""

import math

import pytest
import torch
from contrasts import Precision, Walk, Y, frozen, seeded, sgd

import lowland as ll

CD, PCD = ll.ContrastiveDivergence, ll.PersistentContrastiveDivergence


def lineages(shift: float, reinit: float, steps: int) -> ll.Fit:
    """Chains in one dimension, each moved by `shift` whenever it is taken."""
    y = torch.arange(1000, dtype=torch.float64).unsqueeze(1) * 1000
    strategy = PCD(
        k=1, sampler=Walk(shift), buffer=1000, reinit=reinit, fresh="data", runaway=math.inf
    )
    return ll.fit(
        Precision((1,)),
        y,
        strategy,
        steps=steps,
        batch_size=100,
        optimizer=frozen,
        generator=seeded(),
    )


def test_every_chain_that_was_not_replaced_on_purpose_is_still_there() -> None:
    # A peer draws from some slots and writes back to others: after 400 steps 8 of 1,000 are left.
    state = lineages(shift=1.0, reinit=0.0, steps=400).state
    assert state is not None
    ancestor = torch.div(state["buffer"], 1000, rounding_mode="floor").flatten().sort().values
    assert torch.equal(ancestor, torch.arange(1000, dtype=torch.float64))
    # Each chain was moved as often as its age says: draw and write-back use the same slot.
    assert torch.equal(state["buffer"].flatten() % 1000, state["age"].double())
    assert int(state["age"].sum()) == 400 * 100


def test_chains_are_started_anew_as_often_as_asked() -> None:
    state = lineages(shift=0.0, reinit=0.25, steps=200).state
    assert state is not None
    # In 20 of its turns a chain is not started anew with a chance of .75 each.
    old = (state["age"] > 10).double().mean().item()
    assert old == pytest.approx(0.75**10, abs=0.04)
    none = lineages(shift=0.0, reinit=1.0, steps=20).state
    assert none is not None
    assert int(none["age"].max()) == 1


def test_a_step_that_fails_leaves_the_chains_as_they_were() -> None:
    energy = Precision()
    strategy = PCD(k=1, sampler=Walk(5.0), buffer=50, reinit=0.0, runaway=0.5)
    g = seeded()
    state = strategy.begin(energy, lambda n: (Y[:n], None), g)
    before = {name: value.clone() for name, value in state.items()}
    with pytest.raises(ll.DivergedError, match="runs away"):
        strategy.step(energy, state, Y[:20], None, optimizer=sgd(energy.parameters()), generator=g)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


@pytest.mark.parametrize("fresh", ["noise", "data"])
def test_new_chains_begin_where_they_are_told_to(fresh: str) -> None:
    y = 5 + 3 * Y
    strategy = PCD(k=1, sampler=Walk(0.0), buffer=2000, fresh=fresh)
    state = strategy.begin(Precision(), lambda n: (y[:n], None), seeded())
    rows = {tuple(row) for row in y.tolist()}
    assert all(tuple(row) in rows for row in state["buffer"].tolist()) == (fresh == "data")
    torch.testing.assert_close(state["buffer"].mean(0), y.mean(0), rtol=0.0, atol=0.4)
    torch.testing.assert_close(state["buffer"].std(0), y.std(0), rtol=0.1, atol=0.0)
