"""Losses recorded once: to the bit what the automatic derivative gives, or not used at all."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland._recording import Untraceable
from lowland.train import recorded as module
from lowland.train.recorded import RecordedLoss, recorded, recording


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


class Own(ll.Energy):
    """An energy of two parameters by a function of them and y."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__((2,))
        self.a, self.b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.ones(2))
        self.function = function

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return self.function(self.a, self.b, y)


ENERGIES: dict[str, Callable[[], ll.Energy]] = {
    "network": lambda: ll.energies.Network.from_data(
        noise(4, 3), hidden=(8, 8), generator=seeded()
    ),
    "convolutions": lambda: ll.energies.ConvNetwork.from_data(
        noise(4, 1, 8, 8), channels=(4,), generator=seeded()
    ),
    "shares a gradient": lambda: Own(lambda a, b, y: (y * (a + b)).sum(-1)),
    "constant gradient": lambda: Own(lambda a, b, y: a.sum() + b.sum() + y.sum(-1)),
    "unused parameter": lambda: Own(lambda a, b, y: (y * a).square().sum(-1)),
    "transposed": lambda: Own(lambda a, b, y: (y @ torch.stack([a, b]).T).tanh().sum(-1)),
}


def pair(energy: ll.Energy) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    def loss(y: Tensor, negatives: Tensor) -> tuple[Tensor, ...]:
        down, up = energy(y).mean(), energy(negatives).square().mean()
        return down - up, down

    return loss


def automatic(energy: ll.Energy, y: Tensor, negatives: Tensor) -> list[Tensor | None]:
    energy.zero_grad()
    value = pair(energy)(y, negatives)
    value[0].backward()
    return [*(v.detach() for v in value), *(p.grad for p in energy.parameters())]


@pytest.mark.parametrize("name", ENERGIES)
def test_a_recording_is_the_automatic_derivative_to_the_bit(name: str) -> None:
    energy = ENERGIES[name]()
    y, negatives = noise(6, *energy.event), noise(9, *energy.event, seed=2)
    run = recording(energy, pair(energy), y, negatives)
    assert isinstance(run, RecordedLoss)
    for _ in range(2):
        found = run(2 * y, negatives)
        wanted = automatic(energy, 2 * y, negatives)
        got = [*found.values, *(found.gradients[n] for n, _ in energy.named_parameters())]
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            if other is None:
                assert one is None
            else:
                assert one is not None
                assert torch.equal(one, other)
                assert one.stride() == other.stride()
        # Who clips gradients changes them in place, and weights change at every step.
        with torch.no_grad():
            for gradient in found.gradients.values():
                if gradient is not None:
                    gradient.fill_(7.0)
            for parameter in energy.parameters():
                parameter.add_(0.1)


def test_weights_and_data_are_not_written_over() -> None:
    energy = ENERGIES["network"]()
    y, negatives = noise(6, 3), noise(6, 3, seed=2)
    run = recording(energy, pair(energy), y, negatives)
    assert isinstance(run, RecordedLoss)
    before = [part.clone() for part in (y, negatives, *energy.parameters())]
    run(y, negatives)
    assert all(map(torch.equal, before, (y, negatives, *energy.parameters())))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda a, b, y: (a * y).sum(-1) * (1 if bool(y.sum() > 0) else 2), "not traceable"),
        (lambda a, b, y: (a * (y + torch.randn_like(y))).sum(-1), "random"),
        (lambda a, b, y: nn.functional.dropout(a * y, 0.5).sum(-1), "random"),
        (lambda a, b, y: (a * y.square()).sum(-1) * float(b[0].detach()), "not traceable"),
        (lambda a, b, y: y.sum(-1), "no gradient"),
    ],
)
def test_what_cannot_be_recorded_is_not(function: Any, why: str) -> None:
    energy = Own(function)
    found = recording(energy, pair(energy), noise(6, 2), noise(6, 2))
    assert isinstance(found, Untraceable)
    assert why in found.reason


def test_a_recording_is_made_when_it_pays_and_renewed_when_it_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CALLS_BEFORE_RECORDING", 3)
    energy = ENERGIES["network"]()
    y = noise(6, 3)
    ask = functools.partial(recorded, energy, "pair", pair(energy), y, y)
    assert [ask() is None for _ in range(4)] == [True, True, False, False]
    assert recorded(energy, "pair", pair(energy), y[:2], y[:2]) is None
    first = next(iter(energy.parameters()))
    name = next(iter(dict(energy.named_parameters())))
    first.requires_grad_(False)
    found = ask()
    assert found is not None
    assert found.gradients[name] is None
    energy.eval()
    assert ask() is None


class Weighted(ll.Energy):
    """An energy that looks at tensors which are neither parameters nor buffers."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.a = nn.Parameter(torch.ones(2))
        self.alone, self.several = noise(2, seed=3), [noise(2, seed=4), noise(2, seed=5)]
        self.named, self.part = {"shift": noise(2, seed=6)}, nn.Module()
        self.part.inner = (noise(2, seed=7),)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        way = self.alone * self.several[0] - self.several[1] * self.part.inner[0]
        return (self.a * y * way + self.named["shift"]).square().sum(-1)


CHANGES: dict[str, Callable[[Weighted], object]] = {
    "alone": lambda e: setattr(e, "alone", noise(2, seed=8)),
    "list": lambda e: setattr(e, "several", [noise(2, seed=8), noise(2, seed=9)]),
    "in a list": lambda e: e.several.__setitem__(1, noise(2, seed=8)),
    "in a dict": lambda e: e.named.__setitem__("shift", noise(2, seed=8)),
    "of a part": lambda e: setattr(e.part, "inner", (noise(2, seed=8),)),
    "in place": lambda e: e.alone.add_(1.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_tensor_in_the_place_of_one_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CALLS_BEFORE_RECORDING", 2)
    energy, y = Weighted(), noise(6, 2)
    ask = functools.partial(recorded, energy, "pair", pair(energy), y, y)
    assert [ask() is None for _ in range(3)] == [True, False, False]
    CHANGES[name](energy)
    found = [ask() for _ in range(3)]
    # It is recorded anew when that pays again; in place nothing has to be.
    assert [one is None for one in found] == [name != "in place", False, False]
    value, _, gradient = automatic(energy, y, y)
    for one in found:
        if one is not None:
            assert value is not None
            assert gradient is not None
            assert torch.equal(one.values[0], value)
            assert torch.equal(one.gradients["a"], gradient)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_training_goes_the_same_way_with_and_without(
    alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = noise(60, 2)
    ends = []
    for calls in (3, 10**9):
        monkeypatch.setattr(module, "_CALLS_BEFORE_RECORDING", calls)
        energy = ll.energies.Network.from_data(y, hidden=(8,), generator=seeded())
        strategy = ll.ContrastiveDivergence(k=2, alpha=alpha)
        fit = ll.fit(energy, y, strategy, steps=12, batch_size=30, generator=seeded(4))
        ends.append((list(energy.parameters()), fit.history.gap))
    assert all(map(torch.equal, ends[0][0], ends[1][0]))
    assert ends[0][1] == ends[1][1]


def test_training_with_a_condition_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Joint(ll.Energy):
        def __init__(self) -> None:
            super().__init__((2,))
            self.weight = nn.Parameter(torch.eye(2))

        def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
            assert x is not None
            return (y - x @ self.weight).square().sum(-1)

    x, y = noise(60, 2, seed=5), noise(60, 2)
    ends = []
    for calls in (3, 10**9):
        monkeypatch.setattr(module, "_CALLS_BEFORE_RECORDING", calls)
        energy = Joint()
        strategy = ll.ContrastiveDivergence(k=2)
        ll.fit(energy, (x, y), strategy, steps=12, batch_size=30, generator=seeded(4))
        ends.append(energy.weight)
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], torch.eye(2))
