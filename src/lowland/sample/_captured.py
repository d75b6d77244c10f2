"""Langevin steps on a GPU as a CUDA graph: blocks of them, recorded once and replayed as one.

A small network keeps a GPU busy for less time than it takes to tell it what to do; of a graph it is
told once. A graph reads and writes the same memory each time, so that everything is copied there.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock

import torch
from torch import Tensor
from torch.fx import Node

from lowland._recording import REFUSALS
from lowland.sample._compiled import refuse
from lowland.sample._walk import Slope, Step, Tour, Walk, in_blocks

# So many steps make a block; fewer where their noise would be more numbers than that.
_STEPS, _NUMBERS = 32, 1 << 24
# Calls before the recording, in which libraries choose their algorithms and take their memory.
_WARM = 3

_Bind = Callable[..., tuple[Slope, Callable[[Tensor], Tensor]]]
_Steps = Callable[[], None]


class Captured:
    """Blocks of steps on one recorded slope, captured when they are first made.

    Args:
        y: the points.
        energy: theirs.
        bind: from what else is looked at to the slope, and the gradient alone.

    Attributes:
        block: how many steps one has.
        seconds: how long it took to capture.
    """

    way = "as a CUDA graph"

    def __init__(self, y: Node, energy: Node, bind: _Bind) -> None:
        self._like: Tensor = y.meta["val"]
        self._energy: Tensor = energy.meta["val"]
        self._bind = bind
        self._graphs: dict[bool, _Graph] = {}
        # What was copied to a graph's memory must be used before the next copies come.
        self._lock = Lock()
        self.block: int = max(1, min(_STEPS, _NUMBERS // max(1, self._like.numel())))
        self.seconds = 0.0

    def walk(self, given: Sequence[Tensor], rest: Walk) -> Walk:
        """A walk of whole blocks, whose last steps are made by another if they are none."""

        def walk(y: Tensor, noises: Tensor, step: float, spread: float) -> None:
            blocks, left = in_blocks(noises, self.block)
            if blocks:
                with self._lock, torch.inference_mode():
                    graph = self._made(given, tour=False)
                    memory = graph.loaded(given, step, spread)
                    memory.y.copy_(y)
                    for block in blocks:
                        memory.noises.copy_(block)
                        graph.replay()
                    y.copy_(memory.y)
            rest(y, left, step, spread)

        return walk

    def tour(self, given: Sequence[Tensor], rest: Tour) -> Tour:
        """A tour of whole blocks, whose last steps are made by another if they are none."""

        def tour(
            y: Tensor, gradient: Tensor, noises: Tensor, step: float, spread: float
        ) -> list[Step]:
            (blocks, left), passed = in_blocks(noises, self.block), []
            for block in blocks:
                with self._lock:
                    with torch.inference_mode():
                        graph = self._made(given, tour=True)
                        memory = graph.loaded(given, step, spread)
                        memory.y.copy_(y)
                        memory.gradient.copy_(gradient)
                        memory.noises.copy_(block)
                        graph.replay()
                    ends = [each.clone().unbind() for each in memory.passed]
                passed += list(zip(*ends, strict=True))
                y, _, gradient = passed[-1]
            return passed + rest(y, gradient, left, step, spread)

        return tour

    def _made(self, given: Sequence[Tensor], *, tour: bool) -> "_Graph":
        if tour not in self._graphs:
            began = time.perf_counter()
            memory = _Memory(self._like, self._energy, self.block, given)
            steps = (_toured if tour else _walked)(memory, *self._bind(*memory.given))
            self._graphs[tour] = _Graph(memory, _recorded(steps, self._like.device))
            self.seconds += time.perf_counter() - began
        return self._graphs[tour]


class _Memory:
    """What a graph reads and writes.

    Args:
        like: what the points are like.
        energy: what their energies are like.
        block: how many steps the graph has.
        given: what the slope looks at besides the points.

    Attributes:
        y: where the chains are, `(chains, *event)`.
        gradient: there.
        noises: `(block, chains, *event)`.
        step: what a gradient is multiplied by, and `spread` a noise.
        given: copies of what was given.
        passed: of each step the points, `(block, chains, *event)`, energies, and gradients.
    """

    def __init__(self, like: Tensor, energy: Tensor, block: int, given: Sequence[Tensor]) -> None:
        zeros = partial(torch.zeros, dtype=like.dtype, device=like.device)
        self.y, self.gradient = zeros(like.shape), zeros(like.shape)
        self.noises = zeros((block, *like.shape))
        self.step, self.spread = zeros(()), zeros(())
        # A number that is kept elsewhere would be written into the graph for good.
        self.given = [each.to(like.device, copy=True) for each in given]
        energies = zeros((block, len(like)), dtype=energy.dtype)
        self.passed = zeros(self.noises.shape), energies, zeros(self.noises.shape)


class _Graph:
    """Steps that were recorded.

    Args:
        memory: what they read and write.
        replay: makes them once.
    """

    def __init__(self, memory: _Memory, replay: _Steps) -> None:
        self.replay = replay
        self._memory = memory
        self._last: tuple[Sequence[Tensor], float, float] | None = None

    def loaded(self, given: Sequence[Tensor], step: float, spread: float) -> _Memory:
        """The memory, with these weights and these lengths of steps in it."""
        memory, last = self._memory, self._last
        if last is None or last[0] is not given:
            for kept, each in zip(memory.given, given, strict=True):
                kept.copy_(each)
        if last is None or last[1:] != (step, spread):
            memory.step.fill_(step)
            memory.spread.fill_(spread)
        self._last = given, step, spread
        return memory


def _walked(memory: _Memory, _: Slope, downhill: Callable[[Tensor], Tensor]) -> _Steps:
    """The steps of a block, that leave nothing but where the chains are."""

    def steps() -> None:
        y = memory.y
        for noise in memory.noises.unbind():
            y.addcmul_(downhill(y), memory.step)
            y.addcmul_(noise, memory.spread)

    return steps


def _toured(memory: _Memory, slope: Slope, _: Callable[[Tensor], Tensor]) -> _Steps:
    """The steps of a block, each of which is kept."""

    def steps() -> None:
        at, downhill = memory.y, memory.gradient
        rows = (part.unbind() for part in (memory.noises, *memory.passed))
        for noise, y, energy, gradient in zip(*rows, strict=True):
            torch.addcmul(at, downhill, memory.step, out=y).addcmul_(noise, memory.spread)
            for kept, found in zip((energy, gradient), slope(y), strict=True):
                kept.copy_(found)
            at, downhill = y, gradient

    return steps


def _recorded(steps: _Steps, device: torch.device) -> _Steps:
    """What makes the steps as a graph.

    Raises:
        CapabilityError: they cannot be recorded.
    """
    try:
        with torch.cuda.device(device):
            ahead = torch.cuda.Stream()
            ahead.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(ahead):
                for _ in range(_WARM):
                    steps()
            torch.cuda.current_stream().wait_stream(ahead)
            graph = torch.cuda.CUDAGraph()
            # What other threads do on the device does not concern the recording.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                steps()
    except REFUSALS as error:
        first = str(error).strip().split("\n")[0]
        refuse(f"CUDA does not record them ({type(error).__name__}: {first[:120]})")

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay
