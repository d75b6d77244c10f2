"""Contrastive training that is stopped, or cannot be written, and goes on."""

import functools
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from contrasts import Precision, Y, seeded, sgd

import lowland as ll
from lowland.sample import MALA, Langevin

CD, PCD = ll.ContrastiveDivergence, ll.PersistentContrastiveDivergence


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("sampler", [None, MALA(shared=False), Langevin(0.05)])
@pytest.mark.parametrize("persistent", [False, True])
def test_resuming_is_exact_to_the_bit(
    persistent: bool, sampler: Any, conditional: bool, tmp_path: Path
) -> None:
    strategy = PCD(k=2, sampler=sampler, buffer=40) if persistent else CD(k=2, sampler=sampler)
    data: Any = (Y[:, :1].expand(-1, 2).contiguous(), Y) if conditional else Y
    options: dict[str, Any] = {"batch_size": 30, "optimizer": sgd}
    options["optimizer"] = functools.partial(torch.optim.Adam, lr=0.05)
    straight, resumed = Precision(), Precision()
    one = ll.fit(straight, data, strategy, steps=11, generator=seeded(), **options)
    ll.fit(Precision(), data, strategy, steps=5, generator=seeded(), checkpoint=tmp_path, **options)
    two = ll.fit(
        resumed,
        data,
        strategy,
        steps=11,
        generator=seeded(99),
        checkpoint=tmp_path,
        resume=True,
        **options,
    )
    assert torch.equal(straight.p, resumed.p)
    assert torch.equal(straight.m, resumed.m)
    assert one.state is not None
    assert two.state is not None
    assert one.state.keys() == two.state.keys()
    assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())


@pytest.mark.parametrize("write", [3, 4, 5, 6])
def test_a_full_disk_is_said_and_the_checkpoint_before_goes_on(
    write: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = PCD(k=1, buffer=40)
    options: dict[str, Any] = {"batch_size": 30, "checkpoint": tmp_path, "checkpoint_every": 3}
    straight, energy, resumed = Precision(), Precision(), Precision()
    ll.fit(straight, Y, strategy, steps=12, generator=seeded(), batch_size=30)
    replace, calls = os.replace, iter(range(1, 1000))

    def full(*places: Any) -> None:
        # Each of the run's two parts is two files, written at steps 0, 3, 6, …
        if next(calls) > 2 * write:
            raise OSError(28, "No space left on device")
        replace(*places)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ll.CheckpointError, match="No space left"):
            ll.fit(energy, Y, strategy, steps=12, generator=seeded(), **options)
    assert math.isfinite(energy.p.item())
    fit = ll.fit(resumed, Y, strategy, steps=12, generator=seeded(9), resume=True, **options)
    assert fit.steps == 12
    assert torch.equal(resumed.p, straight.p)
    assert torch.equal(resumed.m, straight.m)
