"""Other operations in place of recorded ones: none that changes a tensor, and cheaper ones.

A cheaper one must give the same bits: it is tried on random numbers of the recorded shapes before
it takes the other's place.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from lowland._recording.lifetimes import ALIKE, is_view

_ATEN = torch.ops.aten
_PRODUCTS = (_ATEN.mm.default, _ATEN.addmm.default)
# Where results are larger, less is gained than it costs to lay an operand out anew.
_LARGEST = 1 << 15


def by_rows(matrix: Tensor) -> Tensor:
    """A matrix laid out by rows, which products are quicker with."""
    return matrix.contiguous()


def repeated(row: Tensor, rows: int) -> Tensor:
    """A row so many times over, which takes less to add than to repeat it in each call."""
    return row.expand(rows, -1).contiguous()


def by_channels(images: Tensor) -> Tensor:
    """Images laid out with their channels next to one another."""
    return images.contiguous(memory_format=torch.channels_last)


def by_items(images: Tensor) -> Tensor:
    """Laid out as tensors are by default."""
    return images.contiguous()


# They pay in long runs only; in others their first argument does in their place.
LAID_OUT: tuple[Callable[..., Tensor], ...] = (by_rows, repeated)


def without_changes(recorded: GraphModule) -> None:
    """Write operations that change what was just made as ones that make something new.

    Derivatives of torch's own fill masked places so. A change of anything that is also seen from
    elsewhere, a weight or a view, is left for the trace to refuse.
    """
    done: set[Node] = set()
    for node in list(recorded.graph.nodes):
        done.add(node)
        target: Any = node.target
        if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
            continue
        changed, name = node.args[0] if node.args else None, target._schema.name
        packet = getattr(_ATEN, name.removeprefix("aten::").removesuffix("_"), None)
        if (
            not isinstance(changed, Node)
            or changed.op != "call_function"
            or not name.endswith("_")
            or target._overloadname not in (packet.overloads() if packet else ())
            or any(is_view(other) for other in (changed, *changed.users) if other is not node)
        ):
            continue
        node.target = getattr(packet, target._overloadname)
        for user in list(changed.users):
            if user not in done:
                user.replace_input_with(changed, node)
    recorded.graph.lint()


def rewrite(graph: Graph, y: Node) -> None:
    """Replace what a CPU can do with less.

    Args:
        graph: straight-line code.
        y: its input; what does not depend on it is computed once.
    """
    moving = {y}
    channels: set[Node] = set()
    for node in list(graph.nodes):
        if node.op == "output":
            _as_before(graph, node, channels)
        if node.op != "call_function" or moving.isdisjoint(node.all_input_nodes):
            continue
        moving.add(node)
        if node.target is _ATEN.convolution_backward.default:
            made = _transposed(graph, node, channels)
            moving.update(made)
            if made:
                continue
        if not channels.isdisjoint(node.all_input_nodes):
            _follow(graph, node, channels)
        elif node.target in _PRODUCTS and _here(node) and node.meta["val"].numel() <= _LARGEST:
            _lay_out(graph, node, moving)


def _transposed(graph: Graph, node: Node, channels: set[Node]) -> list[Node]:
    """The slope of a convolution in its input as the transposed convolution that it is.

    With channels next to one another, where that gives the same.
    """
    arguments: Any = node.args
    slope, given, weight, _, stride, padding, dilation, transposed, _, groups, mask = arguments
    if transposed or list(mask) != [True, False, False] or not _here(slope):
        return []
    shapes = [each.meta["val"].shape[2:] for each in (given, slope, weight)]
    rest = [
        size - ((out - 1) * step - 2 * pad + spread * (width - 1) + 1)
        for size, out, width, step, pad, spread in zip(
            *shapes, stride, padding, dilation, strict=True
        )
    ]
    others: list[Any] = [None, stride, padding, dilation, True, rest, groups]
    target: Any = node.target
    wanted = target(*_tried(arguments))[0]
    operands = _tried((slope, weight))
    if not torch.equal(wanted, torch.convolution(*[*operands, *others])):
        return []
    images = len(rest) == 2 and wanted.dtype == torch.float32
    if images:
        found = torch.convolution(*[*map(by_channels, operands), *others])
        images = torch.equal(wanted, found) and found.is_contiguous(
            memory_format=torch.channels_last
        )
    made: list[Node] = []
    for part in [part for part in node.users if part.args[1:] == (0,)]:
        with graph.inserting_before(part):
            if images:
                slope, weight = (_laid(graph, each, channels) for each in (slope, weight))
            else:
                slope = _plain(graph, slope, channels)
            made.append(graph.call_function(_ATEN.convolution.default, (slope, weight, *others)))
        made[-1].meta = dict(part.meta)
        if images:
            _mark(made[-1], channels)
        part.replace_all_uses_with(made[-1])
        graph.erase_node(part)
    return made


def _follow(graph: Graph, node: Node, channels: set[Node]) -> None:
    """Element by element in the layout that comes in; anything else in the one it was recorded."""
    operands = node.all_input_nodes
    shape = node.meta["val"].shape if node.target in ALIKE else None
    if all(each.meta["val"].shape == shape for each in operands):
        with graph.inserting_before(node):
            for each in operands:
                node.replace_input_with(each, _laid(graph, each, channels))
        _mark(node, channels)
    else:
        _as_before(graph, node, channels)


def _as_before(graph: Graph, node: Node, channels: set[Node]) -> None:
    with graph.inserting_before(node):
        for each in node.all_input_nodes:
            node.replace_input_with(each, _plain(graph, each, channels))


def _laid(graph: Graph, node: Node, channels: set[Node]) -> Node:
    if node in channels:
        return node
    call = graph.call_function(by_channels, (node,))
    call.meta = dict(node.meta)
    _mark(call, channels)
    return call


def _plain(graph: Graph, node: Node, channels: set[Node]) -> Node:
    if node not in channels:
        return node
    call = graph.call_function(by_items, (node,))
    call.meta = {"val": torch.empty(node.meta["val"].shape, dtype=node.meta["val"].dtype)}
    return call


def _mark(node: Node, channels: set[Node]) -> None:
    value = node.meta["val"]
    layout = torch.channels_last
    node.meta["val"] = torch.empty(value.shape, dtype=value.dtype, memory_format=layout)
    channels.add(node)


def _lay_out(graph: Graph, node: Node, moving: set[Node]) -> None:
    """What does not depend on y in the layout that the product is quickest with."""
    target: Any = node.target
    arguments: list[Any] = list(node.args)
    *bias, left, right = arguments
    with graph.inserting_before(node):
        if right not in moving and not right.meta["val"].is_contiguous():
            call = graph.call_function(by_rows, (right,))
            call.meta["val"] = torch.empty(right.meta["val"].shape, dtype=right.meta["val"].dtype)
            values = _tried([*bias, left, right])
            if torch.equal(target(*values), target(*values[:-1], by_rows(values[-1]))):
                right = call
            else:
                graph.erase_node(call)
        if bias and bias[0] not in moving and bias[0].meta["val"].dim() == 1:
            bias = [graph.call_function(repeated, (bias[0], node.meta["val"].shape[0]))]
            bias[0].meta["val"] = node.meta["val"]
    node.args = (*bias, left, right)


def _here(node: Node) -> bool:
    value: Tensor = node.meta["val"]
    return value.device.type == "cpu"


def _tried(arguments: Any) -> list[Any]:
    """The arguments with random numbers for tensors, always the same ones, laid out like them."""
    return [_drawn(each.meta["val"]) if isinstance(each, Node) else each for each in arguments]


def _drawn(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype)
    repeats = 0 in like.stride()
    return (
        drawn
        if repeats
        else torch.empty_strided(like.shape, like.stride(), dtype=like.dtype).copy_(drawn)
    )
