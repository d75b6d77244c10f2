"""Steps as a CUDA graph: on a GPU against the others; elsewhere with what stands in for a graph.

The stand-in makes the recorded steps again each time it is replayed, on the memory that they were
recorded with, as a graph does. So all but CUDA's own recording is tried on a CPU.
"""

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.sample import HMC, Langevin, Target, advance, run

_captured = importlib.import_module("lowland.sample._captured")
_trace = importlib.import_module("lowland.sample._trace")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
PLACES = [pytest.param("cpu", id="stand-in"), pytest.param("cuda", marks=CUDA)]


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


class Surface(ll.Energy):
    """A small network of y, and of x if there is one."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded()))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Of points that are drawn to x."""
        centred = y if x is None else y - x
        return self.net(centred).squeeze(-1) + centred.square().sum(-1) / 2


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stands in for CUDA where there is none; how often each recording was replayed."""
    counts: list[int] = []
    recorded = _captured._recorded

    def stand_in(steps: Callable[[], None], device: torch.device) -> Callable[[], None]:
        replay = steps if device.type == "cpu" else recorded(steps, device)
        which = len(counts)
        counts.append(0)

        def counted() -> None:
            counts[which] += 1
            replay()

        return counted

    monkeypatch.setattr(_captured, "_recorded", stand_in)
    monkeypatch.setattr(_captured, "_STEPS", 4)
    monkeypatch.setattr(_trace, "_GRAPHED", ("cuda", "cpu"))
    return counts


def both(energy: Surface, start: Tensor, x: Tensor | None = None) -> tuple[Target, Target]:
    """Without a graph, but with a trace, for only with one is noise drawn in blocks; and with."""
    plain = Target(energy, x=x)
    for _ in range(100):
        plain.slope(start)
    assert plain.traced(start)
    return plain, Target(energy, x=x, compiled=True)


@pytest.mark.parametrize("device", PLACES)
def test_steps_of_a_graph_agree_with_others_to_rounding(device: str, recordings: list[int]) -> None:
    energy, start = Surface().to(device), torch.randn(16, 2, generator=seeded(1)).to(device)
    plain, graphed = both(energy, start)
    for step in (0.05, 0.2):
        ends = [
            advance(Langevin(step), target, start, 42, generator=seeded(0, device))
            for target in (plain, graphed, graphed)
        ]
        torch.testing.assert_close(ends[1], ends[0])
        assert torch.equal(ends[1].y, ends[2].y)
    assert recordings == [4 * (41 // 4)]
    assert "Langevin steps as a CUDA graph, 4 at once" in graphed.explain()


@pytest.mark.parametrize("device", PLACES)
def test_all_steps_of_a_graph_are_kept_for_good(device: str, recordings: list[int]) -> None:
    energy, start = Surface().to(device), torch.randn(16, 2, generator=seeded(1)).to(device)
    runs = [
        run(Langevin(0.1), target, start, steps=30, generator=seeded(0, device))
        for target in both(energy, start)
    ]
    torch.testing.assert_close(runs[1].y, runs[0].y)
    torch.testing.assert_close(runs[1].diagnostics.energy, runs[0].diagnostics.energy)
    assert recordings == [30 // 4]
    # Another run writes to the same memory, and not to what was returned.
    before = runs[1].y.clone()
    run(Langevin(0.1), both(energy, start)[1], -start, steps=30, generator=seeded(5, device))
    assert torch.equal(runs[1].y, before)
    assert len(recordings) == 1


@pytest.mark.parametrize("device", PLACES)
def test_a_graph_follows_weights_and_conditions(device: str, recordings: list[int]) -> None:
    energy, start = Surface().to(device), torch.randn(16, 2, generator=seeded(1)).to(device)
    for seed in range(3):
        with torch.no_grad():
            for parameter in energy.parameters():
                parameter.add_(
                    0.3 * torch.randn(parameter.shape, generator=seeded(seed)).to(device)
                )
        x = torch.randn(16, 2, generator=seeded(10 + seed)).to(device)
        ends = [
            advance(Langevin(0.1), target, start, 25, generator=seeded(seed, device)).y
            for target in both(energy, start, x)
        ]
        torch.testing.assert_close(ends[1], ends[0])
    assert recordings == [3 * (24 // 4)]


@pytest.mark.parametrize("device", PLACES)
def test_two_targets_share_a_graph_in_turn(device: str, recordings: list[int]) -> None:
    energy, start = Surface().to(device), torch.randn(16, 2, generator=seeded(1)).to(device)
    conditions = [torch.full_like(start, shift) for shift in (-1.0, 2.0)]
    targets = [both(energy, start, x) for x in conditions]
    for _ in range(2):
        for plain, graphed in targets:
            ends = [
                advance(Langevin(0.1), target, start, 25, generator=seeded(0, device)).y
                for target in (plain, graphed)
            ]
            torch.testing.assert_close(ends[1], ends[0])
    assert len(recordings) == 1


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.usefixtures("recordings")
def test_chains_that_meet_a_wall_go_on_step_by_step(device: str) -> None:
    energy, start = Surface().to(device), torch.randn(16, 2, generator=seeded(1)).to(device)
    start[3] = 1e18  # so long a step doubles what there is, and its square is soon infinite
    ends = [
        advance(Langevin(3.0), target, start, 50, generator=seeded(0, device))
        for target in both(energy, start)
    ]
    assert ends[0].nonfinite[3] > 0
    assert torch.equal(ends[0].nonfinite, ends[1].nonfinite)
    assert bool(torch.isfinite(ends[1].energy).all())
    torch.testing.assert_close(ends[1].y, ends[0].y)


@pytest.mark.usefixtures("recordings")
def test_samplers_that_have_no_graphs_say_so() -> None:
    start = torch.zeros(4, 2)
    with pytest.raises(ll.CapabilityError, match="HMC has none that could be"):
        advance(HMC(0.1), both(Surface(), start)[1], start, 5)


def test_what_cuda_does_not_record_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    start = torch.zeros(4, 2)
    monkeypatch.setattr(_trace, "_GRAPHED", ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "device", refused)
    with pytest.raises(ll.CapabilityError, match=r"CUDA does not record them .*not permitted"):
        advance(Langevin(0.1), both(Surface(), start)[1], start, 50)


@pytest.mark.usefixtures("recordings")
def test_energies_keep_their_precision() -> None:
    start = torch.randn(4, 2, generator=seeded())

    def precise(y: Tensor) -> Tensor:
        return y.double().square().sum(-1) / 3

    draws = run(Langevin(0.1), Target(precise, compiled=True), start, steps=12)
    assert draws.diagnostics.energy.dtype == torch.float64
    torch.testing.assert_close(draws.diagnostics.energy[:, -1], precise(draws.y[:, -1]))
