"""The automatic derivative of an energy as straight-line code, recorded once.

A recorder runs `autograd.grad` on one batch and notes each tensor operation. Those that do not
depend on y (transposed weights, the slope of the last layer) move into a prologue that runs once a
run; the rest becomes a Python function of y with no graph to build and none to walk.
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
from torch.utils._python_dispatch import TorchDispatchMode

from lowland.sample._lifetimes import Last, lifetimes
from lowland.sample._rewrites import LAID_OUT, rewrite, without_changes

Function = Callable[[Tensor, Tensor | None], Tensor]
Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
Gradient = Callable[[Tensor], Tensor]

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
_REFUSALS = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    NotImplementedError,
    LookupError,
    AssertionError,
)

_NOTHING = Last(())
_VERSION = operator.attrgetter("_version")
_PLAIN = (bool, int, float, str, type(None))


class Untraceable(NamedTuple):
    """Why there is no trace, as words that follow "automatic derivative:"."""

    reason: str


class Bound(NamedTuple):
    """A trace with its prologue computed.

    Attributes:
        slope: y to the energy `(n,)` and the gradient `(n, *event)`.
        gradient: y to the gradient alone.
        captured: the tensors that the prologue looked at.
        versions: how often each had been changed in place by then.
        walled: whether a number that is not finite is written into the code, so that an energy may
            be infinite where its slope is finite.
    """

    slope: Slope
    gradient: Gradient
    captured: tuple[Tensor, ...]
    versions: list[int]
    walled: bool

    def stale(self) -> bool:
        """Whether a tensor was changed in place since."""
        return list(map(_VERSION, self.captured)) != self.versions


class Trace:
    """The recorded derivative of a function, for one shape, type and device.

    Args:
        recorded: what the recorder noted: inputs y and perhaps x, outputs energy and gradient.

        rewritten: whether cheaper operations may take the place of recorded ones.

    Raises:
        ValueError: an operation draws random numbers or changes a tensor in place.
    """

    def __init__(self, recorded: GraphModule, *, rewritten: bool = True) -> None:
        without_changes(recorded)
        inputs = [node for node in recorded.graph.nodes if node.op == "placeholder"]
        if rewritten:
            rewrite(recorded.graph, inputs[0])
        nodes = list(recorded.graph.nodes)
        (energy, gradient) = nodes[-1].args[0]
        self._names: dict[str, Any] = {}
        self._attributes = {
            node.name: _attribute(recorded, str(node.target))
            for node in nodes
            if node.op == "get_attr"
        }
        moving: set[Node] = {inputs[0]}
        body, prologue = [], []
        for node in nodes:
            if node.op != "call_function":
                continue
            _check_pure(node)
            if node.target in _SHAPE_ONLY:
                self._attributes[node.name] = _constant(node)
            elif moving.isdisjoint(node.all_input_nodes):
                prologue.append(node)
            else:
                moving.add(node)
                body.append(node)
        both, alone = _needed(body, [energy, gradient]), _needed(body, [gradient])
        used = {n for node in both for n in node.all_input_nodes} | {energy, gradient}
        fixed = sorted(
            {node.name for node in used if node not in moving} | {node.name for node in inputs[1:]}
        )
        kept = _needed(prologue, [node for node in used if node not in moving])
        self.steps, self.hoisted = len(both), len(kept)
        y = inputs[0].name
        source = [
            f"def prologue({', '.join(['long', *self._attributes, *map(str, inputs[1:])])}):",
            *(f"    {self._line(node)}" for node in kept),
            f"    return [{', '.join(fixed)}]",
            f"def bind({', '.join(fixed)}):",
            f"    def slope({y}):",
            *(f"        {line}" for line in self._lines(both, [energy, gradient])),
            f"        return {energy.name}, {gradient.name}",
            f"    def gradient({y}):",
            *(f"        {line}" for line in self._lines(alone, [gradient])),
            f"        return {gradient.name}",
            "    return slope, gradient",
        ]
        exec("\n".join(source), self._names)
        self._takes_x = len(inputs) > 1
        self._walled = any(map(_writes_infinity, nodes)) or not all(
            bool(torch.isfinite(tensor).all()) for tensor in self._attributes.values()
        )

    def bind(self, x: Tensor | None, *, long: bool = True) -> Bound:
        """Compute what does not depend on y, with the weights of the moment.

        Args:
            x: the condition, if there is one.
            long: whether there will be so many calls that it pays to lay out weights for them.
        """
        captured = tuple(t for t in self._attributes.values() if not t.is_inference())
        versions = list(map(_VERSION, captured))
        # Here torch notes nothing for derivatives, which costs as much as a small product.
        _keep_freed_memory()
        with torch.inference_mode():
            # Detached, so that no graph is built; the memory, and so the weights, are the same.
            inputs = [tensor.detach() for tensor in self._attributes.values()]
            fixed = self._names["prologue"](long, *inputs, *([x] if self._takes_x else []))
        slope, gradient = self._names["bind"](*fixed)
        return Bound(slope, gradient, captured, versions, self._walled)

    def _lines(self, body: list[Node], outputs: list[Node]) -> Iterator[str]:
        """The code of a body that frees each tensor, or writes over it, where it was last used."""
        last = lifetimes(body, outputs)
        for node in body:
            yield self._line(node, last[node])
            names = sorted({dead.name for dead in last[node].dead})
            if names:
                yield f"del {', '.join(names)}"

    def _line(self, node: Node, last: Last = _NOTHING) -> str:
        if node.target is _ATEN.detach.default:
            return f"{node.name} = {self._word(node.args[0])}"
        target: Any = node.target
        # `_op` is what the recorded operation calls in its turn.
        call = last.call or _DIRECT.get(target) or getattr(target, "_op", target)
        called = f"call_{len(self._names)}"
        self._names[called] = call
        words = [self._word(argument) for argument in node.args]
        words += [f"{key}={self._word(value)}" for key, value in node.kwargs.items()]
        if last.into is not None:
            words.append(f"{last.keyword}={last.into.name}")
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
        name = f"constant_{len(self._names)}"
        self._names[name] = value
        return name


def traced(
    function: Function, y: Tensor, x: Tensor | None, *, rewritten: bool = True
) -> Trace | Untraceable:
    """Record the slope of a function at y, or say why that cannot be done.

    The trace is compared with the automatic derivative at these points: on a CPU it must give the
    same bits, so that whether there is a trace cannot be seen in the draws.
    """
    # The recorder is part of torch, and is not needed before the first trace.
    from torch.fx.experimental.proxy_tensor import make_fx

    reads = _Reads()
    with warnings.catch_warnings(), reads:
        warnings.simplefilter("ignore")  # about numbers read out of tensors, which is refused below
        try:
            if x is None:
                recorded = make_fx(lambda y: _slope(function, y, None))(y.detach())
            else:
                recorded = make_fx(lambda y, x: _slope(function, y, x))(y.detach(), x)
        except _REFUSALS as error:
            first = str(error).strip().split("\n")[0]
            return Untraceable(f"not traceable ({type(error).__name__}: {first[:120]})")
    if reads.found:
        return Untraceable("not traceable (a number is read out of a tensor on the way)")
    try:
        trace = Trace(recorded, rewritten=rewritten)
        bound = trace.bind(x)
        for points in (y.detach(), 0.5 * y.detach().flip(0)):
            found, wanted = bound.slope(points), _slope(function, points, x)
            if not all(map(_same, found, wanted)):
                if rewritten:
                    return traced(function, y, x, rewritten=False)
                return Untraceable("the trace does not give the same values")
    except _REFUSALS as error:
        return Untraceable(f"not traceable ({type(error).__name__}: {str(error)[:120]})")
    return trace


@functools.cache
def _keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the system.

    A step makes and frees the same tensors over and over. From some megabytes on glibc returns
    their pages each time, and to get them anew takes longer than to compute what is in them. It no
    longer does so for less memory than the largest block that was ever freed, up to 32 MiB.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def fingerprint(module: nn.Module) -> tuple[object, ...]:
    """What a trace of a module has frozen: which tensors it has, its modes and options."""
    found: list[object] = []
    for part in module.modules():
        found += [(name, value) for name, value in vars(part).items() if isinstance(value, _PLAIN)]
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


def _slope(function: Function, y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        energy = function(y, x)
        (gradient,) = torch.autograd.grad(energy.sum(), y)
    return energy.detach(), gradient


def _same(found: Tensor, wanted: Tensor) -> bool:
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


def _constant(node: Node) -> Tensor:
    value: Tensor = node.meta["val"]
    return _SHAPE_ONLY[node.target](tuple(value.shape), dtype=value.dtype, device=value.device)


def _needed(nodes: Iterable[Node], outputs: Iterable[Node]) -> list[Node]:
    """Those of the nodes that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if node in wanted:
            kept.append(node)
            wanted.update(node.all_input_nodes)
    return kept[::-1]
