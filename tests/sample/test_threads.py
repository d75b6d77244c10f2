"""One thread for small work, the user's number for large, and always that number afterwards."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.sample import Target, advance, run
from lowland.sample._threads import Largest


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("layer", "shape", "work"),
    [
        (nn.Linear(64, 32), (10, 64), 2 * 10 * 64 * 32),
        (nn.Conv2d(3, 8, 5), (2, 3, 12, 12), 2 * 2 * 64 * 8 * 75),
        (nn.SiLU(), (50, 40), 100 * 50 * 40),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 64)), (16, 4), 100 * 16 * 64),
    ],
)
def test_the_largest_operation_is_counted(
    layer: nn.Module, shape: tuple[int, ...], work: float
) -> None:
    y = torch.zeros(shape)
    with torch.no_grad(), Largest() as largest:
        layer(y)
    assert largest.work == work


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("chains", "threads"), [(8, 1), (2000, 2)])
@pytest.mark.parametrize("module", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_work_chooses_the_threads(chains: int, threads: int, module: bool, kept: bool) -> None:
    seen: list[int] = []

    class Seen(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            return y.square().sum(1)

    net = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), Seen())
    potential = ll.energies.Network(net, (4,)) if module else net.forward
    start = torch.zeros(chains, 4)
    if kept:
        run(ll.Langevin(), potential, start, steps=3)
    else:
        advance(ll.Langevin(), Target(potential), start, 3)
    # The first call is the one that is counted.
    assert seen[1:] == [threads] * 3
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_users_number_is_put_back_after_an_error() -> None:
    calls = 0

    def breaks(y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("broken")
        return y.square().sum(1)

    with pytest.raises(RuntimeError, match="broken"):
        run(ll.Langevin(), breaks, torch.zeros(2, 2), steps=5)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_module_is_counted_once() -> None:
    energy = ll.energies.Network(nn.Linear(2, 1), (2,))
    start = torch.zeros(4, 2)
    advance(ll.Langevin(), Target(energy), start, 1)
    works = Target(energy).works
    assert list(works) == [(start.shape, start.dtype, start.device)]
    advance(ll.Langevin(), Target(energy), torch.zeros(5, 2), 1)
    assert Target(energy).works is works
    assert len(works) == 2
