"""Convolutional sparse coding against the dense dictionary of every atom at every place."""

from pathlib import Path

import pytest
import torch

import lowland as ll

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=seeded(seed))


def small(
    shape: tuple[int, int, int, int] = (3, 2, 2, 3), size: tuple[int, int] = (4, 5)
) -> ll.energies.ConvolutionalSparseCoding:
    return ll.energies.ConvolutionalSparseCoding(
        shape, size, penalty=0.3, generator=seeded()
    ).double()


def dense(energy: ll.energies.ConvolutionalSparseCoding) -> ll.energies.SparseCoding:
    """The same energy with its dictionary written out, atom by atom and place by place."""
    k, high, wide = energy.map_shape
    s, t = energy.atoms.shape[2:]
    columns = torch.zeros(k, high, wide, *energy.event, dtype=F64)
    for m in range(k):
        for a in range(high):
            for b in range(wide):
                columns[m, a, b, :, a : a + s, b : b + t] = energy.atoms[m].detach()
    dictionary = columns.flatten(0, 2).movedim(0, -1)
    return ll.energies.SparseCoding(dictionary, penalty=energy.penalty)


SHAPES = [
    ((3, 2, 2, 3), (4, 5)),
    ((2, 1, 3, 3), (3, 3)),
    ((5, 1, 2, 2), (6, 4)),
    ((2, 3, 1, 1), (2, 3)),
    ((1, 1, 4, 3), (5, 4)),
]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_it_is_sparse_coding_with_every_atom_at_every_place(
    shape: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    energy = small(shape, size)
    same = dense(energy)
    y = draw(2, 3, *energy.event)
    z = draw(2, 3, energy.latent.m, seed=1)
    assert energy.latent == same.latent
    torch.testing.assert_close(energy(y, z=z), same(y, z=z))
    torch.testing.assert_close(energy.decode(z), same.decode(z))
    assert energy.maps(z).shape == (2, 3, *energy.map_shape)
    lengths = torch.linalg.vector_norm(same.dictionary.detach().flatten(0, -2), dim=0)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_the_operator_is_the_matrix(
    shape: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    energy = small(shape, size)
    matrix = dense(energy).linear_decoder().weight.detach()
    operator = energy.linear_operator()
    y, z = draw(4, *energy.event), draw(4, energy.latent.m, seed=1)
    torch.testing.assert_close(operator.apply(z), z @ matrix.T)
    torch.testing.assert_close(operator.transpose(operator.target(y)), y.flatten(1) @ matrix)
    largest = float(torch.linalg.matrix_norm(matrix, 2)) ** 2
    assert largest <= operator.curvature <= len(energy.atoms) * energy.atoms[0, 0].numel() * 1.001


@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_its_best_codes_are_those_of_the_dense_energy(
    shape: tuple[int, int, int, int], size: tuple[int, int], dtype: torch.dtype
) -> None:
    energy = small(shape, size).to(dtype)
    y = draw(7, *energy.event).to(dtype)
    found = ll.infer(energy, y)
    reference = ll.infer(dense(energy.double()).to(dtype), y)
    assert found.z.dtype == dtype
    assert bool(found.converged.all())
    assert bool((found.gap <= 1e-6).all())
    torch.testing.assert_close(found.energy, reference.energy, rtol=2e-6, atol=1e-6)


def test_a_search_to_the_last_digits_and_one_cut_short() -> None:
    energy, y = small(), draw(4, 2, 4, 5)
    exact = ll.infer(energy, y, tolerance=1e-13)
    assert bool(exact.converged.all())
    reference = ll.infer(dense(energy), y, tolerance=1e-13)
    torch.testing.assert_close(exact.z, reference.z, rtol=1e-6, atol=1e-6)
    short = ll.infer(energy, y, steps=3)
    assert not short.converged.any()
    assert bool((short.steps <= 3).all())
    assert bool((short.energy * (1 - short.gap) <= exact.energy).all())
    again = ll.infer(energy, y, start=exact.z)
    assert not again.steps.any()
    assert torch.equal(again.z, exact.z)


def test_more_penalty_than_any_atom_can_earn_leaves_no_code() -> None:
    energy = ll.energies.ConvolutionalSparseCoding((3, 1, 2, 2), (4, 4), 1e3, generator=seeded())
    found = ll.infer(energy, draw(3, 1, 4, 4).float())
    assert not found.z.any()
    assert bool(found.converged.all())


def test_the_statistics_are_the_sums_they_stand_for() -> None:
    energy = small()
    y, z = draw(3, 2, 4, 5), draw(3, energy.latent.m, seed=1)
    sums = energy.statistics(y, z)
    maps = energy.maps(z)
    k, high, wide = energy.map_shape
    for v in range(-1, 2):
        for w in range(-2, 3):
            want = torch.zeros(k, k, dtype=F64)
            for a in range(high):
                for b in range(wide):
                    if 0 <= a + v < high and 0 <= b + w < wide:
                        want += maps[:, :, a, b].T @ maps[:, :, a + v, b + w]
            torch.testing.assert_close(sums["codes"][:, :, v + 1, w + 2], want)
    windows = y.unfold(2, 2, 1).unfold(3, 3, 1)  # (n, c, high, wide, 2, 3)
    want = torch.einsum("nmab,ncabvw->mcvw", maps, windows)
    torch.testing.assert_close(sums["products"], want)


def test_a_solution_falls_to_where_no_atom_can_improve() -> None:
    energy = small()
    y, z = draw(20, 2, 4, 5), draw(20, energy.latent.m, seed=1)
    sums = energy.statistics(y, z)
    values = [energy(y, z=z).mean()]
    for _ in range(150):
        energy.solve_parameters(sums)
        values.append(energy(y, z=z).mean())
    fall = torch.stack(values).diff()
    assert bool((fall <= 1e-12).all())
    (slope,) = torch.autograd.grad(values[-1], energy.atoms)
    atoms = energy.atoms.detach()
    along = slope - atoms * (slope * atoms).sum((1, 2, 3), keepdim=True)  # on the sphere
    assert float(along.abs().max()) < 1e-4 * float(slope.abs().max())
    lengths = atoms.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_atoms_of_one_pixel_are_solved_for_as_sparse_coding_does() -> None:
    energy = small((4, 3, 1, 1), (2, 2))
    plain = ll.energies.SparseCoding(energy.atoms.detach().flatten(1).T, penalty=0.3)
    y, z = draw(6, 3, 2, 2), draw(6, 16, seed=1)
    energy.solve_parameters(energy.statistics(y, z))
    pixels = y.permute(0, 2, 3, 1).reshape(-1, 3)
    plain.solve_parameters(
        plain.statistics(pixels, energy.maps(z).permute(0, 2, 3, 1).reshape(-1, 4))
    )
    torch.testing.assert_close(energy.atoms.detach().flatten(1).T, plain.dictionary.detach())


def planted(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of a few bars, and the bars."""
    atoms = torch.zeros(2, 1, 3, 3, dtype=F64)
    atoms[0, 0, 1], atoms[1, 0, :, 1] = 1.0, 1.0
    atoms /= 3**0.5
    truth = ll.energies.ConvolutionalSparseCoding(atoms, (9, 9), penalty=0.1)
    chosen = torch.rand(n, truth.latent.m, generator=seeded(seed), dtype=F64) < 0.04
    return truth.decode(2 * chosen.double()).detach(), atoms


@pytest.mark.parametrize("strategy", [ll.CoordinateDescent(), ll.MiniBatch(forgetting=0.1)])
def test_learning_finds_the_planted_atoms(strategy: ll.train.Strategy) -> None:
    y, atoms = planted(30, seed=3)
    energy = ll.energies.ConvolutionalSparseCoding.from_data(
        y, k=6, atom_size=3, penalty=0.2, generator=seeded(2)
    )
    length = {"steps": 8} if strategy.whole_data else {"steps": 16, "batch_size": 15}
    result = ll.fit(energy, y, strategy, generator=seeded(), **length)
    # An atom may have been learned a pixel aside, with its code a pixel to the other side.
    shifted = torch.nn.functional.conv2d(energy.atoms.detach(), atoms, padding=2)
    assert float(shifted.abs().amax((0, 2, 3)).min()) > 0.95
    if strategy.whole_data:
        fall = torch.tensor(result.history.data_energy, dtype=F64).diff()
        assert bool((fall <= 1e-5 * result.history.data_energy[0]).all())


@pytest.mark.parametrize(
    ("strategy", "batch_size"),
    [(ll.CoordinateDescent(), None), (ll.MiniBatch(), 10), (ll.GradientDescent(), 10)],
)
def test_an_atom_that_nothing_needs_starts_again(
    strategy: ll.train.Strategy, batch_size: int | None
) -> None:
    y = draw(30, 2, 5, 5)
    y[:, 1] = 0
    start = draw(3, 2, 2, 2, seed=1)
    start[:2, 1] = 0
    start[2, 0] = 0  # in the channel where there is nothing to explain
    ends = []
    for _ in range(2):
        energy = ll.energies.ConvolutionalSparseCoding(start, (5, 5), penalty=0.3)
        energy.project_parameters()
        before = float(ll.score(energy, y).mean())
        assert not energy.maps(ll.infer(energy, y).z)[:, 2].any()
        fit = ll.fit(energy, y, strategy, epochs=3, batch_size=batch_size, generator=seeded())
        assert fit.reseeded == 1
        assert energy.maps(ll.infer(energy, y).z)[:, 2].any()
        assert float(energy.atoms.detach()[2, 1].abs().max()) < 1e-9
        assert float(ll.score(energy, y).mean()) < 0.98 * before
        ends.append(energy.atoms.detach())
    assert torch.equal(*ends)


def test_atoms_start_again_as_the_strongest_parts_of_what_is_left() -> None:
    energy = small()
    y = draw(20, 2, 4, 5)
    z = energy.maps(draw(20, energy.latent.m, seed=1)).clone()
    z[:, 1:] = 0
    z = z.flatten(1)
    residual = (y - energy.decode(z)).detach()
    # The windows that reach over the border too: 4 + 2 − 1 by 5 + 3 − 1 of them.
    padded = torch.nn.functional.pad(residual, (2, 2, 1, 1))
    windows = padded.unfold(2, 2, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    assert len(windows) == 20 * 5 * 7
    direction = torch.linalg.svd(windows, full_matrices=False).Vh[:2]
    sums = energy.statistics(y, z)
    assert energy.unused(sums) is not None
    first = energy.atoms[0].detach().clone()
    assert energy.restart_unused(sums) == 2
    likeness = (energy.atoms.detach()[1:].flatten(1) * direction).sum(1).abs()
    torch.testing.assert_close(likeness, torch.ones(2, dtype=F64))
    assert torch.equal(energy.atoms[0], first)
    assert energy.restart_unused(sums) == 0  # they have their chance first
    assert energy.unused(energy.statistics(y[:5], z[:5])) is None


def test_nothing_starts_again_where_nothing_is_left_to_explain() -> None:
    energy = small()
    before = energy.atoms.detach().clone()
    z = energy.maps(draw(20, energy.latent.m)).clone()
    z[:, 1:] = 0
    y = energy.decode(z.flatten(1)).detach()
    assert energy.restart_unused(energy.statistics(y, z.flatten(1))) == 0
    black = torch.zeros(20, 2, 4, 5, dtype=F64)
    assert energy.restart_unused(energy.statistics(black, ll.infer(energy, black).z)) == 0
    assert torch.equal(energy.atoms, before)


def test_hidden_pixels_follow_from_the_code_of_the_others() -> None:
    y, atoms = planted(6, seed=4)
    energy = ll.energies.ConvolutionalSparseCoding(atoms, (9, 9), penalty=0.05)
    observed = torch.rand(1, 9, 9, generator=seeded(5)) > 0.2
    answers = ll.complete(energy, y, observed=observed, n=1)
    filled = answers.y[:, 0]
    assert torch.equal(filled[:, observed], y[:, observed])
    miss = (filled - y)[:, ~observed].square().mean()
    assert float(miss) < 0.2 * float(y[:, ~observed].square().mean())
    # No other filling of the hidden pixels that a step down leads to is lower.
    hidden = filled[:2].clone().requires_grad_()
    (slope,) = torch.autograd.grad(ll.free_energy(energy, hidden).sum(), hidden)
    assert float(slope[:, ~observed].abs().max()) < 1e-4


def test_atoms_start_at_windows_of_the_images() -> None:
    y = draw(3, 2, 6, 7)
    y[0] = 0
    energy = ll.energies.ConvolutionalSparseCoding.from_data(
        y, k=7, atom_size=3, generator=seeded()
    )
    lengths = energy.atoms.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert energy.map_shape == (7, 4, 5)
    windows = y.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 18)
    windows = windows / windows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    likeness = (energy.atoms.detach().flatten(1) @ windows.T).amax(1)
    assert int((likeness > 1 - 1e-9).sum()) >= 4  # the windows of the black image are random


def test_it_is_saved_and_keeps_its_norms(tmp_path: Path) -> None:
    energy = small()
    ll.save(energy, tmp_path / "run")
    loaded = ll.load(tmp_path / "run")
    assert loaded.size == (4, 5)
    assert torch.equal(loaded.atoms, energy.atoms)
    with torch.no_grad():
        energy.atoms.mul_(3)
    energy.project_parameters()
    torch.testing.assert_close(energy.atoms, loaded.atoms)


def test_what_does_not_fit_is_refused() -> None:
    new = ll.energies.ConvolutionalSparseCoding
    with pytest.raises(ll.ShapeError, match="'atoms'"):
        new(draw(3, 2, 2), (4, 4))
    with pytest.raises(ll.ShapeError, match="'atoms'"):
        new((3, 2, 0, 2), (4, 4))
    with pytest.raises(ll.ShapeError, match="'size'"):
        new(draw(3, 1, 5, 2), (4, 4))
    with pytest.raises(ll.DomainError, match="finite"):
        new(draw(3, 1, 2, 2) / 0, (4, 4))
    with pytest.raises(ll.DomainError, match="'penalty'"):
        new((3, 1, 2, 2), (4, 4), penalty=-1.0)
    with pytest.raises(ll.ShapeError, match="images"):
        new.from_data(draw(5, 6))
    with pytest.raises(ll.DomainError, match="'k'"):
        new.from_data(draw(5, 1, 12, 12), k=0)
