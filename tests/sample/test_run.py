"""The one loop."""

import math

import pytest
import torch

import lowland as ll
from lowland.sample import Sampler, run


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bowl(y: torch.Tensor) -> torch.Tensor:
    return y.flatten(1).square().sum(-1) / 2


@pytest.mark.parametrize("event", [(2,), (1, 2, 3)])
@pytest.mark.parametrize(("steps", "thin", "draws"), [(10, 1, 10), (10, 3, 3), (5, 5, 1)])
def test_shapes(event: tuple[int, ...], steps: int, thin: int, draws: int) -> None:
    found = run(
        ll.Langevin(), bowl, torch.zeros(4, *event), steps=steps, thin=thin, generator=seeded()
    )
    assert found.y.shape == (4, draws, *event)
    assert found.diagnostics.energy.shape == (4, draws)
    assert found.diagnostics.acceptance.shape == found.diagnostics.nonfinite.shape == (4,)
    assert torch.equal(found.last, found.y[:, -1])
    assert not found.diagnostics.exact


@pytest.mark.parametrize("sampler", [ll.Langevin(), ll.MALA(), ll.HMC(), ll.NUTS()])
def test_no_chains_are_refused(sampler: Sampler) -> None:
    with pytest.raises(ll.ShapeError, match=r"'start' holds no chain: its shape is \(0, 3\)"):
        run(sampler, bowl, torch.zeros(0, 3), steps=3)


def test_warmup_and_thinning_choose_from_one_path() -> None:
    start = torch.zeros(2, 3)
    whole = run(ll.Langevin(), bowl, start, steps=20, generator=seeded()).y
    part = run(ll.Langevin(), bowl, start, steps=14, warmup=6, thin=4, generator=seeded()).y
    assert torch.equal(part, whole[:, [9, 13, 17]])


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 5, "warmup": -1}, {"steps": 5, "thin": 0}, {"steps": 5, "thin": 6}],
)
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(ll.DomainError, match="A chain needs"):
        run(ll.Langevin(), bowl, torch.zeros(2, 1), **options)


def test_a_start_without_energy_is_named() -> None:
    with pytest.raises(ll.DivergedError, match="Chain 1 of 2") as caught:
        run(ll.Langevin(), bowl, torch.tensor([[0.0], [math.inf]]), steps=3)
    assert caught.value.step == 0


def test_chains_that_never_move_are_an_error() -> None:
    def point(y: torch.Tensor) -> torch.Tensor:
        return torch.where(y[:, 0] == 0, y[:, 0], math.nan)

    with pytest.raises(ll.DivergedError, match="No chain") as caught:
        run(ll.Langevin(), point, torch.zeros(2, 1), steps=3, warmup=2)
    assert caught.value.step == 5
