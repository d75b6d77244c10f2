"""Recording a computation, and writing what was recorded as code.

A recorder runs a function on one batch and notes each tensor operation, those of automatic
derivatives too; what it noted is written as Python that frees each tensor where it was last used.
"""

import functools
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils._python_dispatch import TorchDispatchMode

from lowland._modes import parts_of
from lowland._recording.lifetimes import Last, lifetimes
from lowland._recording.rewrites import LAID_OUT, without_changes

_ATEN = torch.ops.aten
# Their values depend on the shape alone, and shapes are fixed in a trace.
_SHAPE_ONLY: dict[Any, Callable[..., Tensor]] = {
    _ATEN.ones_like.default: torch.ones,
    _ATEN.zeros_like.default: torch.zeros,
}
# torch's own functions skip a layer of Python that the recorded operations go through.
_DIRECT: dict[Any, Callable[..., Any]] = {
    _ATEN.add.Tensor: torch.add,
    _ATEN.addmm.default: torch.addmm,
    _ATEN.bmm.default: torch.bmm,
    _ATEN.convolution.default: torch.convolution,
    _ATEN.div.Tensor: torch.div,
    _ATEN.exp.default: torch.exp,
    _ATEN.expand.default: Tensor.expand,
    _ATEN.log.default: torch.log,
    _ATEN.mm.default: torch.mm,
    _ATEN.mul.Scalar: torch.mul,
    _ATEN.mul.Tensor: torch.mul,
    _ATEN.neg.default: torch.neg,
    _ATEN.permute.default: torch.permute,
    _ATEN.pow.Tensor_Scalar: torch.pow,
    _ATEN.relu.default: torch.relu,
    _ATEN.sigmoid.default: torch.sigmoid,
    _ATEN.silu.default: torch._C._nn.silu,
    _ATEN.squeeze.dim: torch.squeeze,
    _ATEN.sub.Tensor: torch.sub,
    _ATEN.sum.dim_IntList: torch.sum,
    _ATEN.t.default: torch.t,
    _ATEN.tanh.default: torch.tanh,
    _ATEN.transpose.int: torch.transpose,
    _ATEN.unsqueeze.default: torch.unsqueeze,
    _ATEN.view.default: Tensor.view,
    operator.getitem: operator.getitem,
}
REFUSALS = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    NotImplementedError,
    LookupError,
    AssertionError,
)

_NOTHING = Last(())
_PLAIN = (bool, int, float, str, type(None))
# What every module has of its own, and none computes with but the mode.
_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}


class Untraceable(NamedTuple):
    """Why there is no recording, as words that follow "automatic derivative:"."""

    reason: str


class Recording:
    """What a recorder noted, for one set of shapes, types and devices.

    Args:
        recorded: the graph, whose output is a list of nodes.

    Attributes:
        inputs: the nodes of the inputs, in order.
        outputs: those of the results.
        calls: the operations in order, but for those whose results depend on shapes alone.
        attributes: the tensors that the function looked at on its own, by name, and those results.
        names: what the code has to know by name.
        walled: whether a number that is not finite is written into the code.

    Raises:
        ValueError: an operation draws random numbers or changes a tensor in place.
    """

    def __init__(self, recorded: GraphModule) -> None:
        without_changes(recorded)
        nodes = list(recorded.graph.nodes)
        self.inputs: list[Node] = [node for node in nodes if node.op == "placeholder"]
        self.outputs: list[Node] = list(nodes[-1].args[0])
        self.calls: list[Node] = []
        self.names: dict[str, Any] = {}
        self.attributes: dict[str, Tensor] = {}
        constants: dict[Node, Tensor] = {}
        for node in nodes:
            if node.op == "get_attr":
                self.attributes[node.name] = _attribute(recorded, str(node.target))
            elif node.op == "call_function":
                _check_pure(node)
                made = _made(node, constants)
                if made is None:
                    self.calls.append(node)
                else:
                    self.attributes[node.name] = constants[node] = made
        self.walled = any(map(_writes_infinity, nodes)) or not all(
            bool(torch.isfinite(tensor).all()) for tensor in self.attributes.values()
        )

    def compile(self, source: Iterable[str]) -> dict[str, Any]:
        """Run lines that define functions, and return what is defined."""
        exec("\n".join(source), self.names)
        return self.names

    def lines(
        self, body: list[Node], outputs: list[Node], last: dict[Node, Last] | None = None
    ) -> Iterator[str]:
        """The code of a body that frees each tensor, or writes over it, where it was last used.

        Args:
            body: the operations in order.
            outputs: what is needed afterwards.
            last: where results are written, if not as `lifetimes` has it.
        """
        last = lifetimes(body, outputs) if last is None else last
        for node in body:
            yield self.line(node, last[node])
            names = sorted({dead.name for dead in last[node].dead})
            if names:
                yield f"del {', '.join(names)}"

    def line(self, node: Node, last: Last = _NOTHING) -> str:
        """The code of one operation."""
        if node.target is _ATEN.detach.default:
            return f"{node.name} = {self._word(node.args[0])}"
        target: Any = node.target
        # `_op` is what the recorded operation calls in its turn.
        call = last.call or _DIRECT.get(target) or getattr(target, "_op", target)
        called = f"call_{len(self.names)}"
        self.names[called] = call
        words = [self._word(argument) for argument in node.args]
        words += [f"{key}={self._word(value)}" for key, value in node.kwargs.items()]
        if last.into:
            words.append(f"{last.keyword}={last.into}")
        otherwise = f" if long else {words[0]}" if target in LAID_OUT else ""
        return f"{node.name} = {called}({', '.join(words)}){otherwise}"

    def _word(self, value: Any) -> str:
        """A value as source text; what has none of its own is given a name."""
        if isinstance(value, Node):
            return value.name
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self._word, value))}]"
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        if isinstance(value, float) and math.isfinite(value):
            return repr(value)
        name = f"constant_{len(self.names)}"
        self.names[name] = value
        return name


def record(function: Callable[..., Any], *inputs: Tensor) -> GraphModule | Untraceable:
    """Note the operations of a function that returns a list of tensors, or say why it cannot be."""
    # The recorder is part of torch, and is not needed before the first recording.
    from torch.fx.experimental.proxy_tensor import make_fx

    reads = _Reads()
    with warnings.catch_warnings(), reads:
        warnings.simplefilter("ignore")  # about numbers read out of tensors, which is refused below
        try:
            recorded = make_fx(function)(*inputs)
        except REFUSALS as error:
            first = str(error).strip().split("\n")[0]
            return Untraceable(f"not traceable ({type(error).__name__}: {first[:120]})")
    if reads.found:
        return Untraceable("not traceable (a number is read out of a tensor on the way)")
    return recorded


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the system.

    A step makes and frees the same tensors over and over. From some megabytes on glibc returns
    their pages each time, and to get them anew takes longer than to compute what is in them. It no
    longer does so for less memory than the largest block that was ever freed, up to 32 MiB.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def fingerprint(module: nn.Module) -> tuple[object, ...]:
    """What a trace of a module has frozen: which tensors it has, its modes and options."""
    found: list[object] = []
    for part in parts_of(module):
        for name, value in vars(part).items():
            if name not in _OF_MODULES and isinstance(value, _PLAIN):
                found += (name, value)
        found += map(id, part._parameters.values())
        found += map(id, part._buffers.values())
    return tuple(found)


class _Reads(TorchDispatchMode):
    """Notes whether a number was read out of a tensor, which a trace would freeze."""

    found: bool = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and look at which one it is."""
        self.found |= func is _ATEN._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def same(found: Tensor, wanted: Tensor) -> bool:
    """Whether a recording gives what it was recorded from: on a CPU to the bit."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    # Elsewhere two runs of the same code need not agree to the bit.
    exact = found.device.type == "cpu"
    tolerance = 0.0 if exact else 1e-5
    return torch.allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


def _writes_infinity(node: Node) -> bool:
    return any(
        isinstance(value, float) and not math.isfinite(value)
        for value in [*node.args, *node.kwargs.values()]
    )


def _check_pure(node: Node) -> None:
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return
    if torch.Tag.nondeterministic_seeded in target.tags and _argument(node, "dropout_p") != 0.0:
        raise ValueError(f"{target.name()} draws random numbers")
    if target._schema.is_mutable:
        raise ValueError(f"{target.name()} changes a tensor in place")
    if torch.Tag.dynamic_output_shape in target.tags and not _picks_by_number(node):
        raise ValueError(f"the shape of what {target.name()} returns depends on the values")


def _picks_by_number(node: Node) -> bool:
    """Whether an operation indexes with whole numbers, not with a mask."""
    indices = _argument(node, "indices")
    if node.target is not _ATEN.index.Tensor or not isinstance(indices, list | tuple):
        return False
    return all(
        isinstance(index, Node) and index.meta["val"].dtype in (torch.int64, torch.int32)
        for index in indices
        if index is not None
    )


def _argument(node: Node, name: str) -> object:
    """What an operation is given as the argument of that name; its default where nothing is."""
    target: Any = node.target
    for position, argument in enumerate(target._schema.arguments):
        if argument.name == name:
            given = node.args[position] if position < len(node.args) else argument.default_value
            return node.kwargs.get(name, given)
    return None


def _attribute(module: GraphModule, name: str) -> Tensor:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tensor):
        raise ValueError(f"{name} is not a tensor")
    return found


def _made(node: Node, constants: dict[Node, Tensor]) -> Tensor | None:
    """What an operation gives every time, because shapes alone decide it; None if they do not."""
    if node.target in _SHAPE_ONLY:
        value: Tensor = node.meta["val"]
        return _SHAPE_ONLY[node.target](tuple(value.shape), dtype=value.dtype, device=value.device)
    if not node.all_input_nodes or any(part not in constants for part in node.all_input_nodes):
        return None
    args, kwargs = map_arg((node.args, node.kwargs), constants.__getitem__)
    call: Any = node.target
    made = call(*args, **kwargs)
    return made if isinstance(made, Tensor) else None


def needed(nodes: Iterable[Node], outputs: Iterable[Node]) -> list[Node]:
    """Those of the nodes that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if node in wanted:
            kept.append(node)
            wanted.update(node.all_input_nodes)
    return kept[::-1]
