"""SparseCoding: its formula, its learning against brute force, and its answers."""

import math
from pathlib import Path

import pytest
import torch

import lowland as ll
from lowland.infer.choose import infer
from lowland.train.architectural.mini_batch import MiniBatch

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=seeded(seed))


def planted(n: int = 600, d: int = 10, k: int = 15) -> tuple[torch.Tensor, torch.Tensor]:
    """Items made of two atoms each, and the atoms."""
    atoms = draw(k, d, seed=5)
    atoms /= atoms.norm(dim=1, keepdim=True)
    codes = torch.zeros(n, k, dtype=F64)
    which = torch.rand(n, k, generator=seeded(6)).argsort(1)[:, :2]
    codes.scatter_(1, which, draw(n, 2, seed=7).sign() * (1 + draw(n, 2, seed=8).abs()))
    return codes @ atoms, atoms


def test_the_energy_is_its_formula() -> None:
    energy = ll.energies.SparseCoding((2, 3, 7), penalty=0.4, generator=seeded()).double()
    y, z = draw(4, 5, 2, 3), draw(4, 5, 7, seed=1)
    w = energy.dictionary.detach()
    want = 0.5 * (y - torch.einsum("hwk,abk->abhw", w, z)).square().sum((-1, -2))
    torch.testing.assert_close(energy(y, z=z).detach(), want + 0.4 * z.abs().sum(-1))
    torch.testing.assert_close(w.square().sum((0, 1)), torch.ones(7, dtype=F64))
    torch.testing.assert_close(energy.decode(z)[1, 2].detach(), (w * z[1, 2]).sum(-1))
    torch.testing.assert_close(energy.atoms[3], energy.dictionary[..., 3])


def test_atoms_start_at_data_points() -> None:
    y = draw(30, 2, 3)
    y[::2] = 0
    energy = ll.energies.SparseCoding.from_data(y, k=20, penalty=0.2, generator=seeded())
    atoms, rows = energy.atoms.detach().flatten(1), y[1::2].flatten(1)
    likeness = atoms @ (rows / rows.norm(dim=1, keepdim=True)).T
    assert energy.event == (2, 3)
    assert energy.latent == ll.energies.SparseCoding((6, 20), 0.2).latent
    assert int((likeness.amax(1) > 1 - 1e-12).sum()) == 15  # the others are random
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(20, dtype=F64))
    again = ll.energies.SparseCoding.from_data(y, k=20, penalty=0.2, generator=seeded())
    assert torch.equal(energy.dictionary, again.dictionary)


def test_one_solution_lowers_the_energy_to_where_no_atom_can_improve() -> None:
    y, _ = planted()
    energy = ll.energies.SparseCoding.from_data(y, k=15, penalty=0.2, generator=seeded())
    z = infer(energy, y).z
    before = energy(y, z=z).mean()
    statistics = energy.statistics(y, z)
    for _ in range(200):
        energy.solve_parameters(statistics)
    after = energy(y, z=z).mean()
    assert after < before
    (slope,) = torch.autograd.grad(after, energy.dictionary)
    atoms = energy.dictionary.detach()
    along = slope - atoms * (slope * atoms).sum(0)  # on the sphere
    assert float(along.abs().max()) < 0.02 * float(slope.abs().max())
    torch.testing.assert_close(atoms.norm(dim=0), torch.ones(15, dtype=F64))


def test_coordinate_descent_never_rises_and_finds_the_planted_atoms() -> None:
    y, atoms = planted()
    energy = ll.energies.SparseCoding.from_data(y, k=20, penalty=0.15, generator=seeded(1))
    fit = ll.fit(energy, y, ll.CoordinateDescent(), steps=25, progress=False)
    fall = torch.tensor(fit.history.data_energy, dtype=F64).diff()
    assert (fall <= 1e-6 * fit.history.data_energy[0]).all()
    likeness = (energy.dictionary.detach().T @ atoms.T).abs().amax(0)
    assert int((likeness > 0.98).sum()) >= 13


@pytest.mark.parametrize("forgetting", [0.0, 0.02])
def test_batches_learn_too(forgetting: float) -> None:
    y, _ = planted()
    energy = ll.energies.SparseCoding.from_data(y, k=20, penalty=0.15, generator=seeded(1))
    before = float(ll.score(energy, y).mean())
    strategy = MiniBatch(forgetting=forgetting)
    ll.fit(energy, y, strategy, epochs=5, batch_size=60, generator=seeded(), progress=False)
    assert float(ll.score(energy, y).mean()) < 0.9 * before
    torch.testing.assert_close(energy.dictionary.detach().norm(dim=0), torch.ones(20, dtype=F64))


def test_a_dead_atom_starts_again_where_most_is_unexplained() -> None:
    y = torch.cat([draw(200, 1), 0.5 * draw(200, 1, seed=1), torch.zeros(200, 1, dtype=F64)], 1)
    dictionary = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], dtype=F64)
    energy = ll.energies.SparseCoding(dictionary, penalty=0.01)
    statistics = energy.statistics(y, infer(energy, y).z)
    assert energy.unused(statistics).tolist() == [1]
    energy.solve_parameters(statistics)
    assert energy.dictionary[:, 1].tolist() == [0.0, 0.0, 1.0]
    assert energy.restart_unused(statistics) == 1
    assert float(energy.dictionary[1, 1].detach().abs()) > 0.99
    assert energy.restart_unused(statistics) == 0  # it has its chance first
    few = energy.statistics(y[:10], infer(energy, y[:10]).z)
    assert energy.unused(few) is None


def test_data_that_are_all_zero_change_nothing() -> None:
    energy = ll.energies.SparseCoding((3, 4), generator=seeded()).double()
    before = energy.dictionary.detach().clone()
    y = torch.zeros(100, 3, dtype=F64)
    energy.solve_parameters(energy.statistics(y, infer(energy, y).z))
    torch.testing.assert_close(energy.dictionary.detach(), before, rtol=0, atol=1e-15)


def test_projection_to_unit_norm_keeps_directions() -> None:
    energy = ll.energies.SparseCoding(3.0 * torch.eye(3)[:, :2], penalty=0.1)
    energy.project_parameters()
    assert torch.equal(energy.dictionary.detach(), torch.eye(3)[:, :2])


def test_questions() -> None:
    y, _ = planted(300)
    energy = ll.energies.SparseCoding.from_data(y, k=30, penalty=0.05, generator=seeded())
    ll.fit(energy, y, ll.CoordinateDescent(), steps=15, progress=False)
    held = planted(400)[0][300:320]
    score, noise = ll.score(energy, held).mean(), ll.score(energy, draw(20, 10) * held.std()).mean()
    assert score < noise
    found = infer(energy, held)
    # Two searches to one gap may end at codes that differ by about its square root.
    decoded = energy.decode(found.z).detach()
    torch.testing.assert_close(ll.project(energy, held), decoded, rtol=1e-3, atol=1e-3)
    mask = torch.ones(10, dtype=torch.bool)
    mask[:2] = False
    answers = ll.complete(energy, held[:3], observed=mask, n=1)
    assert torch.equal(answers.y[:, 0][:, mask], held[:3][:, mask])
    assert (answers.energy[:, 0] <= ll.score(energy, held[:3]) + 1e-6).all()


def test_it_is_saved_without_its_generator(tmp_path: Path) -> None:
    energy = ll.energies.SparseCoding((2, 3, 7), penalty=0.4, generator=seeded())
    ll.save(energy, tmp_path / "run")
    loaded = ll.load(tmp_path / "run")
    assert loaded.penalty == 0.4
    assert torch.equal(loaded.dictionary, energy.dictionary)


@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, -1)])
def test_a_shape_must_be_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(ll.ShapeError, match="'dictionary'"):
        ll.energies.SparseCoding(shape)


def test_bad_arguments() -> None:
    with pytest.raises(ll.DomainError, match="finite"):
        ll.energies.SparseCoding(torch.tensor([[math.nan, 1.0]]))
    with pytest.raises(ll.DomainError, match="'penalty'"):
        ll.energies.SparseCoding((2, 3), penalty=-1.0)
    with pytest.raises(ll.DomainError, match="'k'"):
        ll.energies.SparseCoding.from_data(draw(5, 3), k=0)


def test_sums_that_stand_for_the_dictionary_leave_it_as_it_is() -> None:
    y, _ = planted()
    energy = ll.energies.SparseCoding.from_data(y, k=20, penalty=0.15, generator=seeded(1))
    before = energy.dictionary.detach().clone()
    sums = energy.statistics(y, infer(energy, y).z)
    prior = energy.prior_statistics(sums)
    energy.solve_parameters(sums | prior)
    torch.testing.assert_close(energy.dictionary.detach(), before)
    energy.solve_parameters({name: value + prior.get(name, 0) for name, value in sums.items()})
    held = (energy.dictionary.detach() - before).norm()
    energy.dictionary.data.copy_(before)
    energy.solve_parameters(sums)
    assert 0 < held < (energy.dictionary.detach() - before).norm()
