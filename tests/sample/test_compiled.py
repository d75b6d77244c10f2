"""Compiled steps: the same as others to rounding, the same bits every time, never a silent no."""

import importlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import lowland as ll
from lowland.sample import HMC, MALA, Langevin, Target, advance, run

_compiled = importlib.import_module("lowland.sample._compiled")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> ll.Energy:
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded()))
    return ll.energies.Network(net, (2,))


def bowl(y: Tensor) -> Tensor:
    return y.square().sum(-1) / 2


def compiler() -> bool:
    builder = importlib.import_module("torch._inductor.cpp_builder")
    try:
        builder.get_cpp_compiler()
    except RuntimeError:
        return False
    return True


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    builder = importlib.import_module("torch._inductor.cpp_builder")
    config = importlib.import_module("torch._inductor.config")
    builder.cpp_compiler_search.cache_clear()
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    yield
    builder.cpp_compiler_search.cache_clear()


@pytest.mark.skipif(not compiler(), reason="there is no C++ compiler here")
def test_compiled_steps_agree_with_others_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fewer at once are compiled faster.
    monkeypatch.setattr(_compiled, "_STEPS", 2)
    energy, start = network(), torch.randn(16, 2, generator=seeded(1))
    plain, compiled = Target(energy), Target(energy, compiled=True)
    for step in (0.05, 0.2):
        wanted, found, again = (
            advance(Langevin(step), target, start, 40, generator=seeded()).y
            for target in (plain, compiled, compiled)
        )
        torch.testing.assert_close(found, wanted)
        assert torch.equal(found, again)
    assert "Langevin steps compiled, 2 at once" in compiled.explain()


def test_blocks_are_the_steps_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given to the compiler, run as it is."""
    given = []

    def as_it_is(graph: GraphModule, examples: list[Tensor]) -> GraphModule:
        given.append(examples)
        return graph

    monkeypatch.setattr(_compiled, "_machine_code", as_it_is)
    energy, start = network(), torch.randn(16, 2, generator=seeded(1))
    plain, compiled = Target(energy), Target(energy, compiled=True)
    for _ in range(2):
        wanted, found = (
            advance(Langevin(0.1), target, start, 61, generator=seeded())
            for target in (plain, compiled)
        )
        torch.testing.assert_close(found, wanted)
        draws = [
            run(Langevin(0.05), target, start, steps=43, warmup=9, generator=seeded())
            for target in (plain, compiled)
        ]
        torch.testing.assert_close(draws[1].y, draws[0].y)
        torch.testing.assert_close(draws[1].diagnostics.energy, draws[0].diagnostics.energy)
        assert draws[1].diagnostics.gradients == draws[0].diagnostics.gradients
        # Other weights are seen, with nothing compiled anew.
        with torch.no_grad():
            next(energy.parameters()).mul_(3)
    assert len(given) == 2
    assert given[0][1].shape == (16, 16, 2)
    assert "compiled" in draws[1].diagnostics.provider


def test_larger_chains_are_moved_in_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compiled, "_machine_code", lambda graph, examples: graph)
    start = torch.randn(200, 80, generator=seeded(1))
    plain, compiled = Target(bowl), Target(bowl, compiled=True)
    wanted, found = (
        advance(Langevin(0.1), target, start, 110, generator=seeded()).y
        for target in (plain, compiled)
    )
    assert compiled.block == 2
    torch.testing.assert_close(found, wanted)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_it_says_what_to_do() -> None:
    target = Target(lambda y: 2 * bowl(y), compiled=True)
    with pytest.raises(ll.CapabilityError, match="install g\\+\\+"):
        advance(Langevin(0.1), target, torch.ones(3, 2), 40, generator=seeded())


@pytest.mark.parametrize("sampler", [HMC(), MALA()])
def test_other_samplers_refuse(sampler: HMC | MALA) -> None:
    with pytest.raises(ll.CapabilityError, match="only Langevin"):
        advance(sampler, Target(bowl, compiled=True), torch.ones(3, 2), 5)


@pytest.mark.parametrize(
    ("potential", "options"),
    [
        (ll.energies.DoubleWell((2,)), {}),
        (bowl, {"trace": False}),
        (bowl, {"bounds": (-2.0, 2.0)}),
        (bowl, {"observed": torch.tensor([True, False])}),
    ],
)
def test_what_has_no_trace_is_refused_at_once(
    potential: object, options: dict[str, object]
) -> None:
    with pytest.raises(ll.CapabilityError, match="cannot be compiled"):
        Target(potential, compiled=True, **options)


def test_what_cannot_be_traced_is_refused_by_name() -> None:
    def branches(y: Tensor) -> Tensor:
        return bowl(y) * (2 if bool(y.sum() > 0) else 1)

    def walled(y: Tensor) -> Tensor:
        return torch.where(y[:, 0] > 2.0, torch.inf, bowl(y))

    for potential, why in ((branches, "not traceable"), (walled, "not finite")):
        with pytest.raises(ll.CapabilityError, match=why):
            advance(Langevin(), Target(potential, compiled=True), torch.ones(3, 2), 5)
