"""Inverses that follow their atoms, against fresh ones; the solver in small blocks."""

import pytest
import torch

from lowland.infer import updated_inverse as module
from lowland.infer.lasso import Lasso, certificate
from lowland.infer.supports import Change, Gram, Supports, joined, packed, widened
from lowland.infer.updated_inverse import updated_inverse

F64 = torch.float64
K = 12


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def atoms() -> torch.Tensor:
    return torch.cat([draw(K, 20), torch.zeros(1, 20, dtype=F64)])


def empty(n: int, width: int) -> Supports:
    zero = torch.zeros(n, dtype=torch.int64)
    z = torch.zeros(n, width, dtype=F64)
    inverse = torch.zeros(n, width, width, dtype=F64)
    return Supports(torch.arange(n), torch.full((n, width), K), z, inverse, zero)


def check(at: Supports) -> None:
    """Every inverse is that of its item's atoms, where it has atoms."""
    for index, inverse in zip(at.atoms, at.inverse, strict=True):
        here = torch.nonzero(index < K).flatten()
        chosen = atoms()[index[here]]
        want = torch.linalg.inv(chosen @ chosen.T)
        torch.testing.assert_close(inverse[here[:, None], here], want, rtol=1e-6, atol=1e-9)


def leave(gram: Gram, at: Supports, place: list[list[int]], leaves: list[list[bool]]) -> None:
    """One atom of each item goes, as in a step."""
    where, gone = torch.tensor(place), torch.tensor(leaves)
    change, _ = Change.none(at).leave(at, where, gone)
    at.atoms.scatter_add_(1, where, (K - at.atoms.gather(1, where)) * gone)
    gram.update(at, change)


def test_inverses_follow_atoms_that_enter_leave_and_move() -> None:
    gram = Gram(atoms())
    at = empty(3, 4)
    found = gram.enter(at, torch.tensor([[0, 1], [2, K], [K, 3]]), at.z)
    gram.update(at, found.change)
    assert at.atoms.tolist() == [[0, 1, K, K], [2, K, K, K], [3, K, K, K]]
    assert at.atoms.gather(1, found.places)[[0, 0, 1, 2], [0, 1, 0, 1]].tolist() == [0, 1, 2, 3]
    check(at)
    gram.update(at, gram.enter(at, torch.tensor([[5, 6], [7, 8], [K, K]]), at.z).change)
    check(at)
    leave(gram, at, [[1], [0], [0]], [[True], [True], [False]])
    assert at.atoms.tolist() == [[0, K, 5, 6], [K, 7, 8, K], [3, K, K, K]]
    check(at)
    # What enters takes the places that were left.
    gram.update(at, gram.enter(at, torch.tensor([[9, K], [9, 10], [K, K]]), at.z).change)
    assert at.atoms.tolist() == [[0, 9, 5, 6], [9, 7, 8, 10], [3, K, K, K]]
    check(at)
    check(joined([widened(at, 5, K), at], K))
    check(gram.invert(packed(at, K)))


def test_a_change_is_applied_before_it_is_made() -> None:
    gram, at = Gram(atoms()), empty(2, 5)
    gram.update(at, gram.enter(at, torch.tensor([[0, 1], [2, 3]]), at.z).change)
    downhill = draw(2, 5, seed=7).masked_fill(at.atoms == K, 0)
    found = gram.enter(at, torch.tensor([[4, 5], [6, K]]), downhill)
    downhill.scatter_add_(1, found.places, torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=F64))
    way = found.way + found.change.applied(downhill)
    place, leaves = torch.tensor([[0], [1]]), torch.tensor([[True], [False]])
    change, share = found.change.leave(at, place, leaves)
    after = way - way.gather(1, place) * share
    gram.update(at, found.change)
    torch.testing.assert_close(way, torch.einsum("bij,bj->bi", at.inverse, downhill))
    at.inverse.sub_(found.change.left.mT @ found.change.right)
    at.atoms[0, 0] = K
    gram.update(at, change)
    downhill[0, 0] = 0
    want = torch.einsum("bij,bj->bi", at.inverse, downhill).masked_fill(at.atoms == K, 0)
    torch.testing.assert_close(after.masked_fill(at.atoms == K, 0), want)


def test_a_nearly_dependent_atom_that_leaves_does_not_spoil_the_inverse() -> None:
    rows = atoms().float()
    rows[1] = rows[0] + 1e-3 * rows[1]
    gram = Gram(rows)
    at = empty(1, 3)._replace(z=torch.zeros(1, 3), inverse=torch.zeros(1, 3, 3))
    gram.update(at, gram.enter(at, torch.tensor([[0, 2]]), at.z).change)
    want = at.inverse[:, :2, :2].clone()
    gram.update(at, gram.enter(at, torch.tensor([[1]]), at.z).change)
    leave(gram, at, [[2]], [[True]])
    torch.testing.assert_close(at.inverse[:, :2, :2], want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_every_item_is_solved_however_the_blocks_are_cut(
    warm: bool, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        monkeypatch.setattr(module, "_BLOCK", 16)
        monkeypatch.setattr(module, "_MOST_BYTES", 4000)
        monkeypatch.setattr(module, "_START_BYTES", 4000)
    w = draw(60, 16)
    problem = Lasso(w / w.norm(dim=1, keepdim=True), 0.1)
    y = draw(150, 16, seed=1)
    start = (draw(150, 60, seed=2) * (draw(150, 60, seed=3) > 1.5)) if warm else None
    found = updated_inverse(problem, y, start=start)
    assert (found.gap <= 1e-6).all()
    torch.testing.assert_close(found.gap, certificate(problem, y, found.z).gap, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.value, certificate(problem, y, found.z).value)


def test_a_loose_tolerance_is_certified_too() -> None:
    w = draw(60, 16)
    problem, y = Lasso(w / w.norm(dim=1, keepdim=True), 0.1), draw(150, 16, seed=1)
    loose, exact = updated_inverse(problem, y, tolerance=0.1), updated_inverse(problem, y)
    assert loose.value.dtype == loose.gap.dtype == loose.z.dtype == F64
    want = certificate(problem, y, loose.z)
    assert (want.gap <= 0.1 + 1e-4).all()
    torch.testing.assert_close(loose.gap, want.gap, atol=1e-4, rtol=0)
    assert loose.steps.double().mean() < exact.steps.double().mean()
