"""Dictionary learning by every strategy: unit norm, atoms that start again, poor data."""

import functools
import math
from pathlib import Path

import pytest
import torch

import lowland as ll
from lowland.infer.choose import infer

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=seeded(seed))


def with_a_dead_atom(y: torch.Tensor) -> ll.energies.SparseCoding:
    """The last atom points where no datum lies, so it is never used."""
    energy = ll.energies.SparseCoding.from_data(y, k=6, penalty=0.1, generator=seeded())
    dictionary = energy.dictionary.detach().clone()
    dictionary[:, -1] = 0
    dictionary[-1, -1] = 1
    return ll.energies.SparseCoding(dictionary, penalty=0.1)


STRATEGIES = {
    "sweeps": (ll.CoordinateDescent(), {"epochs": 3}),
    "batches": (ll.MiniBatch(), {"epochs": 3, "batch_size": 50}),
    "gradient": (ll.GradientDescent(), {"epochs": 3, "batch_size": 50}),
    "sgd": (
        ll.GradientDescent(),
        {"epochs": 3, "optimizer": functools.partial(torch.optim.SGD, lr=1.0)},
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_atoms_have_unit_norm_after_any_strategy(name: str) -> None:
    y = draw(200, 2, 3)
    energy = ll.energies.SparseCoding.from_data(y, k=9, penalty=0.3, generator=seeded())
    before = energy.dictionary.detach().clone()
    strategy, options = STRATEGIES[name]
    ll.fit(energy, y, strategy, generator=seeded(), progress=False, **options)
    norms = energy.dictionary.detach().flatten(0, -2).norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(9, dtype=F64))
    assert not torch.equal(energy.dictionary, before)


@pytest.mark.parametrize("name", STRATEGIES)
def test_dead_atoms_start_again_and_are_counted(name: str) -> None:
    y = torch.cat([draw(300, 5), torch.zeros(300, 1, dtype=F64)], 1)
    energy = with_a_dead_atom(y)
    strategy, options = STRATEGIES[name]
    fit = ll.fit(energy, y, strategy, generator=seeded(), progress=False, **options)
    assert fit.reseeded == 1
    assert float(energy.dictionary[-1, -1].detach().abs()) < 0.01
    assert infer(energy, y).z.any(0).all()


def test_descent_restarts_an_atom_that_only_early_items_used() -> None:
    y = torch.cat([draw(300, 5), torch.zeros(300, 1, dtype=F64)], 1)
    early = torch.zeros(40, 6, dtype=F64)
    early[:, -1] = 1.0
    energy = with_a_dead_atom(y)
    first = ll.fit(energy, early, ll.GradientDescent(), epochs=1, progress=False)
    assert first.reseeded == 0  # too few items have been seen to judge
    fit = ll.fit(energy, y, ll.GradientDescent(), epochs=1, generator=seeded(), progress=False)
    assert fit.reseeded == 1


def test_descent_with_restarts_goes_on_from_a_checkpoint_to_the_bit(tmp_path: Path) -> None:
    y = torch.cat([draw(300, 5), torch.zeros(300, 1, dtype=F64)], 1)
    # An atom is judged by the 60 items of two steps: the run stops with the first of them made.
    ends, reseeded = [], []
    for name, stops in (("whole", (4,)), ("parted", (1, 4))):
        for steps in stops:
            energy = with_a_dead_atom(y)
            fit = ll.fit(
                energy,
                y,
                ll.GradientDescent(),
                steps=steps,
                batch_size=30,
                generator=seeded(),
                checkpoint=tmp_path / name,
                resume=steps != stops[0],
                progress=False,
            )
        ends.append(energy.dictionary.detach())
        reseeded.append(fit.reseeded)
    assert torch.equal(*ends)
    assert reseeded == [1, 1]


def test_warm_descent_has_no_codes_to_judge_atoms_by() -> None:
    y = draw(100, 1)
    energy = ll.energies.SparseCoding(torch.ones(1, 1, dtype=F64), penalty=0.1)
    fit = ll.fit(energy, y, ll.GradientDescent(beta=1.0), steps=2, progress=False)
    assert fit.reseeded == 0


def test_sweeps_start_from_the_codes_before_and_end_where_fresh_ones_do() -> None:
    y = draw(200, 8)
    energy = ll.energies.SparseCoding.from_data(y, k=16, penalty=0.3, generator=seeded())
    fit = ll.fit(energy, y, ll.CoordinateDescent(), steps=6, progress=False)
    assert (torch.tensor(fit.history.data_energy, dtype=F64).diff() <= 1e-6).all()
    by_hand = ll.energies.SparseCoding.from_data(y, k=16, penalty=0.3, generator=seeded())
    for _ in range(6):
        by_hand.solve_parameters(by_hand.statistics(y, infer(by_hand, y, tolerance=1e-8).z))
    torch.testing.assert_close(energy.dictionary, by_hand.dictionary, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_coarse_codes_learn_as_well(tolerance: float | None) -> None:
    y = draw(400, 8)
    energy = ll.energies.SparseCoding.from_data(y, k=16, penalty=0.3, generator=seeded())
    before = float(ll.score(energy, y).mean())
    strategy = ll.MiniBatch(code_tolerance=tolerance)
    ll.fit(energy, y, strategy, epochs=4, batch_size=100, generator=seeded(), progress=False)
    assert float(ll.score(energy, y).mean()) < 0.97 * before


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_penalty_so_large_that_no_atom_is_used_is_no_failure(name: str) -> None:
    y = draw(120, 4)
    energy = ll.energies.SparseCoding.from_data(y, k=20, penalty=1e3, generator=seeded())
    strategy, options = STRATEGIES[name]
    ll.fit(energy, y, strategy, generator=seeded(), progress=False, **options)
    norms = energy.dictionary.detach().norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(20, dtype=F64))
    assert not infer(energy, y).z.any()
    torch.testing.assert_close(ll.score(energy, y), y.square().sum(1) / 2)


@pytest.mark.parametrize("name", ["sweeps", "batches", "gradient"])
def test_equal_and_zero_atoms_do_no_harm(name: str) -> None:
    y = draw(150, 4)
    dictionary = torch.cat([y[:3].T, y[:3].T, torch.zeros(4, 1, dtype=F64)], 1)
    energy = ll.energies.SparseCoding(dictionary, penalty=0.2)
    energy.project_parameters()
    before = float(ll.score(energy, y).mean())
    strategy, options = STRATEGIES[name]
    ll.fit(energy, y, strategy, generator=seeded(), progress=False, **options)
    assert energy.dictionary.isfinite().all()
    assert float(ll.score(energy, y).mean()) <= before


def test_a_row_with_nan_is_refused() -> None:
    y = draw(20, 4)
    energy = ll.energies.SparseCoding.from_data(y, k=5, generator=seeded())
    y[7, 2] = math.nan
    with pytest.raises(ll.DomainError):
        ll.fit(energy, y, ll.CoordinateDescent(), steps=1, progress=False)


def test_features_are_the_codes() -> None:
    y = draw(20, 4)
    energy = ll.energies.SparseCoding.from_data(y, k=5, generator=seeded())
    torch.testing.assert_close(ll.encode(energy, y), infer(energy, y).z)


def test_a_bad_tolerance_is_refused() -> None:
    with pytest.raises(ll.DomainError, match="'code_tolerance'"):
        ll.MiniBatch(code_tolerance=-1.0)
