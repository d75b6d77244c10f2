"""Steps by torch's interpreter lead where single steps lead, to the bit."""

import importlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland._random import normal_like, normals
from lowland.sample import Langevin, Target, advance
from lowland.sample._trace import Trace, traced
from lowland.sample._walk import stepped, toured

# The package has a function of the name of the folder that it is in.
_walk = importlib.import_module("lowland.sample._walk")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(*layers: nn.Module) -> Callable[[Tensor], Tensor]:
    net = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(1))
    with torch.no_grad():
        net(torch.zeros(1, 2, 6, 6))
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=seeded()))
    return lambda y: net(y)[:, 0]


SURFACES: dict[str, Callable[[Tensor], Tensor]] = {
    "perceptron": network(nn.Flatten(), nn.Linear(72, 8), nn.SiLU(), nn.Linear(8, 8), nn.Tanh()),
    "convolution": network(nn.Conv2d(2, 3, 3, 2), nn.SiLU(), nn.Conv2d(3, 4, 2), nn.Softplus()),
    "its own gradient": lambda y: y.square().flatten(1).sum(1) / 2,
    "flat": lambda y: (3 * y).flatten(1).sum(1),
}


def trace_of(surface: Callable[[Tensor], Tensor], y: Tensor) -> Trace:
    found = traced(lambda y, x: surface(y), y, None)
    assert isinstance(found, Trace)
    return found


@pytest.mark.parametrize("name", SURFACES)
def test_the_interpreter_walks_as_single_steps_do(name: str) -> None:
    y = torch.randn(8, 2, 6, 6, generator=seeded())
    trace = trace_of(SURFACES[name], y)
    assert trace.interpreted
    bound, noises = trace.bind(None), torch.randn(5, *y.shape, generator=seeded(1))
    wanted, seen = y.clone(), []
    for noise in noises:
        wanted.add_(bound.gradient(wanted), alpha=-0.01).add_(noise, alpha=0.2)
        seen.append((wanted.clone(), *bound.slope(wanted)))
    for walk in (bound.walk, stepped(bound.gradient), trace.bind(None, long=False).walk):
        with torch.inference_mode():
            found = y.clone()
            walk(found, noises, -0.01, 0.2)
        assert torch.equal(found, wanted)
    for tour in (bound.tour, toured(bound.slope)):
        steps = tour(y, bound.gradient(y), noises, -0.01, 0.2)
        assert len(steps) == len(noises)
        for found, passed in zip(steps, seen, strict=True):
            assert all(map(torch.equal, found, passed))


def test_without_the_interpreter_nothing_changes_but_the_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(source: object, name: str) -> None:
        raise RuntimeError("no interpreter")

    def ends() -> tuple[Tensor, str]:
        energy = ll.energies.Network(
            nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1)), (2,)
        )
        with torch.no_grad():
            for parameter in energy.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded()))
        target = Target(energy)
        state = advance(Langevin(0.05), target, torch.ones(16, 2), 200, generator=seeded())
        return state.y, target.explain()

    interpreted, said = ends()
    assert said.endswith("; Langevin steps by torch's interpreter")
    monkeypatch.setattr(_walk, "interpreted", refuse)
    plain, said = ends()
    assert said.endswith("once a run")
    assert torch.equal(interpreted, plain)


def test_a_walk_that_goes_elsewhere_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.randn(8, 2, 6, 6, generator=seeded())
    assert trace_of(SURFACES["perceptron"], y).interpreted
    monkeypatch.setattr(_walk, "interpreted", lambda source, name: lambda y, *rest: [])
    assert not trace_of(SURFACES["perceptron"], y).interpreted


@pytest.mark.parametrize("shape", [(64, 2), (5, 3), (300, 20)])
@pytest.mark.parametrize("count", [1, 2, 700])
def test_noise_in_blocks_is_noise_drawn_one_by_one(shape: tuple[int, ...], count: int) -> None:
    like = torch.zeros(shape)
    blocks = [block.clone() for block in normals(count, seeded(), like=like)]
    assert max(block.numel() for block in blocks) <= max(1 << 15, like.numel())
    one_by_one = seeded()
    wanted = [normal_like(like, one_by_one) for _ in range(count)]
    assert torch.equal(torch.cat(blocks), torch.stack(wanted))
    assert math.isfinite(float(blocks[-1].sum()))


@pytest.mark.parametrize("name", SURFACES)
def test_noise_in_the_place_of_a_gradient_leaves_the_steps_as_they_are(name: str) -> None:
    start = torch.randn(80, 2, 6, 6, generator=seeded())
    target, plain = Target(SURFACES[name]), Target(SURFACES[name], trace=False)
    found, wanted = (
        advance(Langevin(0.01), each, start, 180, generator=seeded()) for each in (target, plain)
    )
    assert all(map(torch.equal, found, wanted))
    # A constant that was computed beforehand is no result of a call, and not written over.
    assert target.lends(start) == (name != "flat")
