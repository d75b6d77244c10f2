"""Langevin steps as machine code: blocks of them, compiled by torch's own compiler, TorchInductor.

It fuses what is done element by element and calls the matrix products from C++, which takes seconds
to compile and a C++ compiler. Sums come in another order, so that the last bits differ.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from lowland._errors import CapabilityError
from lowland._recording import REFUSALS, by_channels, by_items, needed
from lowland.sample._walk import Step, Tour, Walk, in_blocks

_ATEN = torch.ops.aten
# So many steps make a block; fewer where their noise would be more numbers than that.
_STEPS, _NUMBERS = 16, 1 << 15
_LAYOUTS: dict[Any, torch.memory_format] = {
    by_channels: torch.channels_last,
    by_items: torch.contiguous_format,
}
_Block = Callable[..., Sequence[Tensor]]


class Compiler:
    """Blocks of steps on one recorded slope, compiled when they are first made.

    Args:
        y: the points.
        outputs: the energy and the gradient.
        body: the operations that lead to them, in order.
        given: names of what else they look at.

    Attributes:
        block: how many steps one has.
        seconds: how long it took to compile.
    """

    way = "compiled"

    def __init__(
        self, y: Node, outputs: list[Node], body: list[Node], given: Sequence[str]
    ) -> None:
        self._y, self._outputs, self._body, self._given = y, outputs, body, list(given)
        self._blocks: dict[bool, _Block] = {}
        self.block: int = max(1, min(_STEPS, _NUMBERS // max(1, y.meta["val"].numel())))
        self.seconds = 0.0

    def walk(self, given: Sequence[Tensor], rest: Walk) -> Walk:
        """A walk of whole blocks, whose last steps are made by another if they are none."""

        def walk(y: Tensor, noises: Tensor, step: float, spread: float) -> None:
            blocks, left = in_blocks(noises, self.block)
            if blocks:
                made, numbers, at = self._made(given, tour=False), _numbers(y, step, spread), y
                for block in blocks:
                    (at,) = made(at, block, *numbers, *given)
                y.copy_(at)
            rest(y, left, step, spread)

        return walk

    def tour(self, given: Sequence[Tensor], rest: Tour) -> Tour:
        """A tour of whole blocks, whose last steps are made by another if they are none."""

        def tour(
            y: Tensor, gradient: Tensor, noises: Tensor, step: float, spread: float
        ) -> list[Step]:
            (blocks, left), passed = in_blocks(noises, self.block), []
            if blocks:
                made, numbers = self._made(given, tour=True), _numbers(y, step, spread)
                for block in blocks:
                    ends = made(y, block, *numbers, *given, gradient)
                    passed += list(zip(ends[::3], ends[1::3], ends[2::3], strict=True))
                    y, _, gradient = passed[-1]
            return passed + rest(y, gradient, left, step, spread)

        return tour

    def _made(self, given: Sequence[Tensor], *, tour: bool) -> _Block:
        if tour not in self._blocks:
            like: Tensor = self._y.meta["val"]
            y = torch.zeros(like.shape, dtype=like.dtype)
            began = time.perf_counter()
            with torch.inference_mode(False), torch.no_grad():
                examples = [y, y.expand(self.block, *y.shape).clone(), *_numbers(y, 0.0, 0.0)]
                examples += [torch.zeros_like(each) for each in given]
                examples += [torch.zeros_like(y)] if tour else []
                self._blocks[tour] = _machine_code(self._graph(tour=tour), examples)
            self.seconds += time.perf_counter() - began
        return self._blocks[tour]

    def _graph(self, *, tour: bool) -> GraphModule:
        """The steps of a block one after another."""
        graph = Graph()
        y, noises, step, spread = map(graph.placeholder, ("y", "noises", "step", "spread"))
        given = {name: graph.placeholder(name) for name in self._given}
        energy, gradient = self._outputs
        body = self._body if tour else needed(self._body, [gradient])
        slope = graph.placeholder("gradient") if tour else None
        passed: list[Node] = []
        for i in range(self.block):
            if slope is not None:
                y = _moved(graph, y, slope, noises, i, step, spread)
            ends = _repeated(graph, body, {self._y: y}, given)
            slope = ends(gradient)
            if tour:
                passed += [y, ends(energy), slope]
            else:
                y, slope = _moved(graph, y, slope, noises, i, step, spread), None
        graph.output(tuple(passed if tour else [y]))
        return GraphModule(nn.Module(), graph)


def refuse(reason: str) -> NoReturn:
    """Say why there cannot be machine code.

    Raises:
        CapabilityError: always.
    """
    raise CapabilityError(
        f"The steps cannot be compiled: {reason}. Leave out 'compiled' of Target; the same steps "
        f"are then made without it."
    )


def _moved(
    graph: Graph, y: Node, slope: Node, noises: Node, i: int, step: Node, spread: Node
) -> Node:
    call = graph.call_function
    down = call(_ATEN.mul.Tensor, (slope, step))
    noise = call(_ATEN.mul.Tensor, (call(_ATEN.select.int, (noises, 0, i)), spread))
    return call(_ATEN.add.Tensor, (call(_ATEN.add.Tensor, (y, down)), noise))


def _repeated(
    graph: Graph, body: list[Node], known: dict[Node, Node], given: dict[str, Node]
) -> Callable[[Node], Node]:
    """Write the operations down once more; what each node has become there."""

    def become(node: Node) -> Node:
        return known[node] if node in known else given[node.name]

    sigmoids: dict[Node, Node] = {}
    for node in body:
        if node.target is _ATEN.detach.default:
            known[node] = become(node.all_input_nodes[0])
        elif node.target in _LAYOUTS:
            operand = become(node.all_input_nodes[0])
            layout: dict[str, Any] = {"memory_format": _LAYOUTS[node.target]}
            known[node] = graph.call_function(_ATEN.clone.default, (operand,), layout)
        elif node.target is _ATEN.addmm.default and not node.kwargs:
            known[node] = _affine(graph, *map(become, node.args))  # type: ignore[arg-type]  # same
        elif node.target in (_ATEN.silu.default, _ATEN.silu_backward.default):
            *slope, x = map(become, node.args)  # type: ignore[arg-type]  # nodes, by their schema
            known[node] = _silu(graph, x, slope, sigmoids)
        else:
            known[node] = graph.node_copy(node, become)
    return become


def _affine(graph: Graph, bias: Node, left: Node, right: Node) -> Node:
    """A product and a bias that can be added with what follows, where it would be copied first."""
    call = graph.call_function
    product = call(_ATEN.mm.default, (left, right))
    # Their sum is taken for one operation again; this difference is the same.
    return call(_ATEN.sub.Tensor, (product, call(_ATEN.neg.default, (bias,))))


def _silu(graph: Graph, x: Node, slope: list[Node], sigmoids: dict[Node, Node]) -> Node:
    """The activation, or its derivative times a slope, with one sigmoid for the two."""
    call = graph.call_function
    if x not in sigmoids:
        sigmoids[x] = call(_ATEN.sigmoid.default, (x,))
    sigmoid = sigmoids[x]
    value = call(_ATEN.mul.Tensor, (x, sigmoid))
    if not slope:
        return value
    rest = call(_ATEN.mul.Tensor, (value, call(_ATEN.rsub.Scalar, (sigmoid, 1.0))))
    return call(_ATEN.mul.Tensor, (slope[0], call(_ATEN.add.Tensor, (rest, sigmoid))))


def _machine_code(graph: GraphModule, examples: list[Any]) -> _Block:
    """The graph compiled for tensors like these.

    Raises:
        CapabilityError: there is no C++ compiler that works.
    """
    # The compiler is part of torch, and takes a second to import.
    from torch._inductor import compile as inductor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own parts
        try:
            made: _Block = inductor(graph, examples, options={"cpp_wrapper": True})
        except REFUSALS as error:
            first = str(error).strip().split("\n")[0]
            reason = f"{type(error).__name__}: {first[:120]}"
            refuse(
                f"torch's compiler refused ({reason}). It needs a C++ compiler: install g++ and "
                f"the headers of Python, or name one in the environment variable CXX"
            )
    return made


def _numbers(y: Tensor, step: float, spread: float) -> tuple[Tensor, Tensor]:
    """As tensors, so that other steps are made by the same code."""
    return torch.tensor(step, dtype=y.dtype), torch.tensor(spread, dtype=y.dtype)
