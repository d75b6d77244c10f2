"""Chains that begin with what the loss needs of the data: the same numbers, in fewer operations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from contrasts import seeded
from torch import Tensor, nn

import lowland as ll
from lowland.sample import MALA, Langevin, Target
from lowland.train import recorded as recorded_module
from lowland.train.contrastive import contrastive_divergence as strategy_module
from lowland.train.contrastive.halves import difference, half, separable

CD = ll.ContrastiveDivergence


def noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


class Own(ll.Energy):
    """Parameters that share a gradient, one that nothing looks at, and modes that differ."""

    def __init__(self, extra: float = 0.0) -> None:
        super().__init__((2,))
        self.a, self.b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.ones(2))
        self.unused, self.extra = nn.Parameter(torch.ones(3)), extra

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        mean = 0.0 if x is None else x
        value = ((y - mean).square() * (self.a + self.b)).tanh().sum(-1)
        return value + self.extra * y.square().sum(-1) if self.training else value


def network(y: Tensor) -> ll.Energy:
    return ll.energies.Network.from_data(y, hidden=(8, 8), generator=seeded())


ENERGIES: dict[str, Callable[[Tensor], ll.Energy]] = {
    "network": network,
    "own": lambda y: Own(),
    "another in training": lambda y: Own(extra=0.5),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", ENERGIES)
def test_a_half_is_the_automatic_derivative(
    name: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "_CALLS_BEFORE_RECORDING", 2)
    y, x = noise(7, 2), noise(7, 2, seed=3) if given else None
    energy = ENERGIES[name](y)
    (total := energy(y, x=x).sum()).backward()
    alone, sharing = half(energy, y, x, begins=True), half(energy, y, x, begins=True)
    assert alone.begun is None
    assert sharing.begun is not None
    for found in (alone, sharing):
        torch.testing.assert_close(found.energy, total.detach() / 7)
        for part, parameter in energy.named_parameters():
            gradient = found.gradients[part]
            assert (gradient is None) == (parameter.grad is None)
            assert gradient is None or torch.equal(gradient, parameter.grad)
    # Chains see the energy as it is in evaluation.
    energy.eval()
    assert all(map(torch.equal, sharing.begun, Target(energy, x=x, trace=False).slope(y)))


def test_the_way_there_and_back_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    class Counted(recorded_module.RecordedLoss):
        def __init__(self, recorded: Any, *rest: Any) -> None:
            super().__init__(recorded, *rest)
            counts.append(sum("silu" in str(node.target) for node in recorded.graph.nodes))

    monkeypatch.setattr(recorded_module, "RecordedLoss", Counted)
    monkeypatch.setattr(recorded_module, "_CALLS_BEFORE_RECORDING", 1)
    y = noise(7, 2)
    energy = network(y)
    half(energy, y, None)
    half(energy, y, None, begins=True)
    assert counts == [4, 4]


def test_halves_make_the_gradient_of_the_difference() -> None:
    y, pushed = noise(9, 2), noise(9, 2, seed=2)
    energy = Own()
    (energy(y).mean() - energy(pushed).mean()).backward()
    found = difference(half(energy, y, None), half(energy, pushed, None), 9)
    assert found["unused"] is None
    for name in ("a", "b"):
        torch.testing.assert_close(found[name], energy.get_parameter(name).grad)


def test_a_parameter_may_feel_one_half_only() -> None:
    class Sided(ll.Energy):
        def __init__(self) -> None:
            super().__init__((1,))
            self.left, self.right = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

        def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
            return (y * (self.left if bool((y < 0).all()) else self.right)).sum(-1)

    energy = Sided()
    down, up = torch.tensor([[-1.0], [-2.0]]), torch.tensor([[1.0], [4.0]])
    found = difference(half(energy, down, None), half(energy, up, None), 2)
    assert found == {"left": torch.tensor([-1.5]), "right": torch.tensor([-2.5])}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [25, 32])
@pytest.mark.parametrize("name", ENERGIES)
def test_training_goes_the_same_way_with_and_without(
    name: str, size: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = noise(4 * size, 2, dtype=dtype)
    ends = []
    for calls in (2, 5, 10**9):
        monkeypatch.setattr(recorded_module, "_CALLS_BEFORE_RECORDING", calls)
        energy = ENERGIES[name](y).to(dtype)
        fit = ll.fit(energy, y, CD(k=3), steps=9, batch_size=size, generator=seeded(4))
        ends.append((list(energy.parameters()), fit.history.gap, fit.history.acceptance))
    for parameters, *history in ends[1:]:
        assert all(map(torch.equal, parameters, ends[0][0]))
        assert history == list(ends[0][1:])


class AskedError(Exception):
    """Somebody asked for a half."""


@pytest.mark.parametrize(
    "options",
    [
        {"kick": 0.1},
        {"data_noise": 0.1},
        {"alpha": 0.1},
        {"clip": 1.0},
        {"sampler": Langevin(0.1)},
    ],
)
def test_what_begins_elsewhere_shares_nothing(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AskedError

    monkeypatch.setattr(strategy_module, "half", refuse)
    y = noise(20, 2)
    ll.fit(network(y), y, CD(k=1, **options), steps=1, generator=seeded())
    with pytest.raises(AskedError):
        ll.fit(network(y), y, CD(k=1), steps=1, generator=seeded())
    with pytest.raises(AskedError):
        ll.fit(network(y), y, CD(k=1, sampler=MALA(0.1)), steps=1, generator=seeded())


def test_which_energies_can_be_taken_in_halves() -> None:
    y = noise(20, 2)
    assert separable(network(y))
    assert not separable(ll.energies.DoubleWell((2,)))
    assert not separable(ll.energies.RestrictedBoltzmann.from_data((y > 0).float(), 3))
    assert not separable(ll.energies.KMeans(torch.zeros(3, 2)))
    # Its energies depend on the batch as long as it learns.
    normed = ll.energies.Network(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), event=(2,))
    assert not separable(normed)
    assert separable(normed.eval())


class Steep(nn.Module):
    """A fourth power, which is infinite far out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, y: Tensor) -> Tensor:
        return (y * self.weight).square().square().sum(-1)


@pytest.mark.parametrize("calls", [1, 10**9])
def test_a_start_without_a_finite_energy_is_named(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "_CALLS_BEFORE_RECORDING", calls)
    y = noise(20, 2)
    y[11] = 1e15
    energy = ll.energies.Network(Steep(), event=(2,))
    with pytest.raises(ll.DivergedError, match=r"Chain \d+ of 20 starts where the energy is inf"):
        ll.fit(energy, y, CD(k=1), steps=1, batch_size=20, generator=seeded())
