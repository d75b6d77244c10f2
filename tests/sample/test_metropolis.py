"""Choosing for each chain, whichever way is quick."""

import pytest
import torch

from lowland.sample._metropolis import choose


@pytest.mark.parametrize("event", [(), (3,), (1, 2, 3)])
def test_mixing_finite_numbers_is_choosing(event: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    # Of very different sizes, so that a difference of two would lose the smaller.
    new, old = (10.0 ** torch.empty(40, *event).uniform_(-20, 15, generator=g) for _ in range(2))
    taken = torch.rand(40, generator=g) < 0.5
    found = choose(taken, (new, old), (old, new), finite=True)
    wanted = choose(taken, (new, old), (old, new))
    assert all(map(torch.equal, found, wanted))
    for chain, flag in enumerate(taken.tolist()):
        assert torch.equal(wanted[0][chain], (new if flag else old)[chain])


def test_what_is_not_finite_stays_where_it_is() -> None:
    new, old = torch.tensor([[torch.inf], [torch.nan], [1.0]]), torch.zeros(3, 1)
    (found,) = choose(torch.tensor([False, False, True]), (new,), (old,))
    assert torch.equal(found, torch.tensor([[0.0], [0.0], [1.0]]))
