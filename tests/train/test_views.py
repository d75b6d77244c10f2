"""Strategies of two views resume exactly, with what they watch."""

from pathlib import Path

import torch

import lowland as ll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_run_in_two_parts_is_a_run_in_one(tmp_path: Path) -> None:
    y = torch.randn(100, 5, generator=seeded())

    def fresh() -> ll.energies.JointEmbedding:
        return ll.energies.JointEmbedding.from_data(y, hidden=(8,), d=4, generator=seeded(1))

    whole = ll.fit(fresh(), y, ll.SIGReg(), steps=12, batch_size=16, generator=seeded(2))
    options = {"batch_size": 16, "checkpoint": tmp_path}
    ll.fit(fresh(), y, ll.SIGReg(), steps=5, generator=seeded(2), **options)
    part = ll.fit(fresh(), y, ll.SIGReg(), steps=12, resume=True, generator=seeded(3), **options)
    for name, value in whole.energy.state_dict().items():
        assert torch.equal(value, part.energy.state_dict()[name])
    assert whole.state is not None
    assert part.state is not None
    assert all(torch.equal(value, part.state[name]) for name, value in whole.state.items())
