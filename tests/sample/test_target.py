"""Where slopes come from, and that it cannot be seen in what they are."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

import lowland as ll
from lowland.sample import (
    HMC,
    MALA,
    NUTS,
    KickedDescent,
    Langevin,
    RandomWalk,
    Sampler,
    Target,
    advance,
    run,
)
from lowland.sample.constraint import Constraint

CALLS = 130  # enough for a trace to be made


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(*layers: nn.Module, event: tuple[int, ...] = (2,)) -> ll.energies.Network:
    energy = ll.energies.Network(nn.Sequential(*layers), event)
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded()))
    return energy


def perceptron() -> ll.energies.Network:
    return network(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(1))


TRACED: dict[str, Callable[[], ll.Energy]] = {
    "perceptron": perceptron,
    "convolution": lambda: network(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.GroupNorm(1, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(48, 1),
        event=(1, 4, 4),
    ),
    "attention": lambda: network(
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
        nn.Flatten(),
        nn.Linear(12, 1),
        event=(3, 4),
    ),
    "mixture": lambda: ll.FreeEnergy(
        ll.energies.GaussianMixture.from_data(noise(30, 2), k=3, generator=seeded()), 1.0
    ),
    "autoencoder": lambda: ll.energies.Autoencoder.from_data(
        noise(8, 5), hidden=(6,), code=2, generator=seeded()
    ),
    "sum": lambda: perceptron() + ll.energies.Ring((2,), width=0.3),
}


@pytest.mark.parametrize("name", TRACED)
def test_a_trace_is_the_automatic_derivative_to_the_bit(name: str) -> None:
    energy = TRACED[name]()
    y = noise(8, *energy.event)
    traced, plain = Target(energy), Target(energy, trace=False)
    for _ in range(CALLS):
        traced.slope(y)
    assert "trace of the automatic derivative" in traced.explain()
    assert "not asked for" in plain.explain()
    for points in (y, 3 * y.flip(0)):
        for found, wanted in zip(traced.slope(points), plain.slope(points), strict=True):
            assert torch.equal(found, wanted)
        assert torch.equal(traced.gradient(points), plain.slope(points)[1])


def test_draws_do_not_depend_on_whether_there_is_a_trace() -> None:
    energy = perceptron() + ll.energies.Ring((2,))
    one, two = (
        run(MALA(), Target(energy, trace=trace), noise(8, 2), steps=CALLS, generator=seeded())
        for trace in (True, False)
    )
    assert torch.equal(one.y, two.y)
    assert "trace" in one.diagnostics.provider


@pytest.mark.parametrize("part", ["parameter", "buffer", "option", "replaced"])
def test_weights_and_options_changed_afterwards_are_seen(part: str) -> None:
    class Bent(ll.Energy):
        def __init__(self) -> None:
            super().__init__((2,))
            self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
            self.register_buffer("shift", torch.tensor([0.5, 0.0]))
            self.power = 2.0

        def forward(self, y, *, x=None, z=None):
            return ((self.weight.exp() * (y - self.shift)).abs() ** self.power).sum(-1)

    energy, y = Bent(), noise(4, 2)
    target = Target(energy)
    for _ in range(CALLS):
        target.slope(y)
    assert target.explain().startswith("trace")
    before = target.slope(y)[1]
    with torch.no_grad():
        if part == "parameter":
            energy.weight.add_(1)
        elif part == "buffer":
            energy.shift.add_(1)
        elif part == "option":
            energy.power = 3.0
            target.refresh()
        else:
            energy.weight = nn.Parameter(torch.tensor([0.0, 0.0]))
            target.refresh()
    after = target.slope(y)[1]
    assert not torch.equal(before, after)
    assert torch.equal(after, Target(energy, trace=False).slope(y)[1])


@pytest.mark.parametrize("again", [True, False])
def test_another_tensor_in_the_place_of_one_is_seen(again: bool) -> None:
    class Weighted(ll.Energy):
        """An energy that looks at a tensor which is neither a parameter nor a buffer."""

        def __init__(self) -> None:
            super().__init__((2,))
            self.way = [torch.tensor([1.0, 2.0])]

        def forward(
            self, y: torch.Tensor, *, x: torch.Tensor | None = None, z: torch.Tensor | None = None
        ) -> torch.Tensor:
            return (self.way[0] * y).cos().sum(-1)

    energy, y = Weighted(), noise(8, 2)
    target = Target(energy)
    for _ in range(CALLS):
        target.slope(y)
    assert target.traced(y)
    energy.way[0] = torch.tensor([3.0, 4.0])
    if again:
        target = Target(energy)
    for _ in range(CALLS):
        _, gradient = target.slope(y)
        assert torch.equal(gradient, -(energy.way[0] * y).sin() * energy.way[0])
    assert target.traced(y)


def test_a_trace_serves_targets_with_another_condition() -> None:
    energy = ll.energies.LeastSquares(torch.ones(1, 1), torch.zeros(1), event=(1,))
    y, x = noise(4, 1), noise(4, 1)
    targets = [Target(energy, x=x), Target(energy, x=x + 5)]
    for _ in range(CALLS):
        for target in targets:
            target.slope(y)
    assert targets[0].explain().startswith("trace")
    for target, shift in zip(targets, (0.0, 5.0), strict=True):
        wanted = Target(energy, x=x + shift, trace=False).slope(y)
        assert torch.equal(target.slope(y)[1], wanted[1])
    twice = targets[0].slope(y.repeat(2, 1))[1]
    assert torch.equal(twice[:4], twice[4:])
    with pytest.raises(ll.ShapeError, match="'x' holds 4 conditions"):
        targets[0].slope(noise(6, 1))


def branches(y: torch.Tensor) -> torch.Tensor:
    return y.square().sum(-1) * (2 if bool(y.sum() > 0) else 1)


def masks(y: torch.Tensor) -> torch.Tensor:
    value = y.square().sum(-1)
    return value.index_put((y[:, 0] > 0,), (2 * value)[y[:, 0] > 0])


def draws(y: torch.Tensor) -> torch.Tensor:
    return (y + 1e-3 * torch.randn_like(y)).square().sum(-1)


WEIGHT = torch.tensor(2.0)


def reads(y: torch.Tensor) -> torch.Tensor:
    return float(WEIGHT) * y.square().sum(-1)


@pytest.mark.parametrize(
    ("function", "why"),
    [(branches, "not traceable"), (masks, "shape"), (draws, "random"), (reads, "read out")],
)
def test_what_cannot_be_traced_is_derived_and_said(function: Callable, why: str) -> None:
    target = Target(function)
    for _ in range(CALLS):
        y = noise(6, 2)
        found = target.slope(y)[1]
    assert target.explain().startswith("automatic derivative")
    assert why in target.explain()
    assert torch.isfinite(found).all()


def test_single_calls_are_not_traced() -> None:
    target = Target(perceptron())
    target.slope(noise(4, 2))
    assert "1 calls so far" in target.explain()


def test_a_closed_form_is_preferred() -> None:
    target = Target(ll.energies.Gaussian(torch.zeros(2), torch.eye(2)) / 2.0)
    assert target.explain() == "closed form offered by Tempered"


def test_an_energy_with_a_latent_is_refused() -> None:
    with pytest.raises(ll.CapabilityError, match="FreeEnergy"):
        Target(ll.energies.KMeans(torch.zeros(2, 2)))


def test_reflection_at_one_bound_or_two() -> None:
    low = torch.tensor([0.0, 0.0, -math.inf, -math.inf])
    high = torch.tensor([1.0, math.inf, 1.0, math.inf])
    y = torch.tensor([[-0.25, -0.25, 1.5, 9.0], [3.4, 2.0, -3.0, -9.0]])
    wanted = torch.tensor([[0.25, 0.25, 0.5, 9.0], [0.6, 2.0, -3.0, -9.0]])
    torch.testing.assert_close(Constraint(None, (low, high)).reflect(y), wanted)


@pytest.mark.parametrize("bounds", [(-5.0, 5.0), (-5.0, math.inf), (-math.inf, 5.0), (0.1, 0.7)])
def test_what_lies_between_the_bounds_keeps_its_bits(bounds: tuple[float, float]) -> None:
    y = 0.1 + 0.6 * torch.rand(1000, 3, generator=seeded())
    assert torch.equal(Constraint(None, bounds).reflect(y), y)


@pytest.mark.parametrize(
    "sampler",
    [Langevin(0.05), RandomWalk(0.3), KickedDescent(0.05), MALA(0.1), HMC(0.1), NUTS(0.1)],
)
def test_masks_and_bounds_are_honoured_together(sampler: Sampler) -> None:
    start, observed = noise(12, 3).clamp(-0.9, 0.9), torch.tensor([True, False, True])
    target = Target(lambda y: y.square().sum(-1) / 2, observed=observed, bounds=(-1.0, 1.0))
    draws = run(sampler, target, start, steps=60, generator=seeded())
    assert torch.equal(draws.y[..., observed], start[:, None, observed].expand(-1, 60, -1))
    assert draws.y.abs().max() <= 1
    assert draws.y[..., 1].std() > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": (1.0, 1.0)}, "lower bounds"),
        ({"observed": torch.zeros(2)}, "'observed' must be a bool"),
    ],
)
def test_constraints_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(ll.DomainError, match=message):
        Target(lambda y: y.sum(1), **options)


def test_persistent_chains_continue_and_see_new_weights() -> None:
    energy = perceptron() + ll.energies.Ring((2,), width=0.3)
    target, generator = Target(energy), seeded()
    first = advance(MALA(), target, noise(16, 2), 20, generator=generator)
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter.mul_(2)
    again = advance(MALA(), target, first, 0, generator=generator)
    assert torch.equal(again.y, first.y)
    torch.testing.assert_close(again.energy, energy(first.y).detach())
    assert torch.equal(again.rejected, first.rejected)
    assert torch.equal(again.log_step, first.log_step)
    later = advance(MALA(), target, again, 20, generator=generator)
    assert (later.rejected >= first.rejected).all()
    assert later.log_step != first.log_step
    fresh = advance(MALA(), target, noise(9, 2), 1, generator=generator, like=later)
    assert len(fresh.y) == 9
    assert int(fresh.rejected.max()) <= 1


def test_a_step_that_was_far_too_large_does_not_freeze_the_chains() -> None:
    target, generator = Target(ll.energies.Ring((2,), width=0.02)), seeded()
    state = advance(MALA(100.0), target, torch.ones(32, 2), 10, generator=generator)
    assert int(state.rejected.min()) == 10
    state = advance(MALA(100.0), target, state, 400, generator=generator)
    before = state.rejected
    state = advance(MALA(100.0), target, state, 100, generator=generator)
    assert 0.45 < 1 - float((state.rejected - before).double().mean()) / 100 < 0.7
