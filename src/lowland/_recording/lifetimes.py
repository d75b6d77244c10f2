"""When each tensor of a recorded computation is last looked at, so that its memory serves again."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.fx import Node

_ATEN = torch.ops.aten
# Operations element by element that may write over an operand, and the name of where they write.
ALIKE: dict[Any, tuple[Any, str]] = {
    _ATEN.add.Tensor: (torch.add, "out"),
    _ATEN.div.Tensor: (torch.div, "out"),
    _ATEN.gelu_backward.default: (_ATEN.gelu_backward.grad_input._op, "grad_input"),
    _ATEN.mul.Tensor: (torch.mul, "out"),
    _ATEN.sigmoid_backward.default: (_ATEN.sigmoid_backward.grad_input._op, "grad_input"),
    _ATEN.silu_backward.default: (_ATEN.silu_backward.grad_input._op, "grad_input"),
    _ATEN.softplus_backward.default: (_ATEN.softplus_backward.grad_input._op, "grad_input"),
    _ATEN.sub.Tensor: (torch.sub, "out"),
    _ATEN.tanh_backward.default: (_ATEN.tanh_backward.grad_input._op, "grad_input"),
    _ATEN.threshold_backward.default: (_ATEN.threshold_backward.grad_input._op, "grad_input"),
}


class Last(NamedTuple):
    """What a node is the last to look at.

    Attributes:
        dead: the nodes whose tensors nobody looks at afterwards.
        into: of these, one that the result may be written over; None if there is none.
        call: what writes there; None with `into`.
        keyword: the name of the argument that says where; "" with `into`.
    """

    dead: tuple[Node, ...]
    into: Node | None = None
    call: Any = None
    keyword: str = ""


def lifetimes(body: list[Node], outputs: Iterable[Node]) -> dict[Node, Last]:
    """For each node of straight-line code, what it is the last to look at."""
    made = roots(body)
    groups: dict[Node, list[Node]] = {}
    last: dict[Node, Node] = {}
    for node in body:
        root = made[node]
        groups.setdefault(root, []).append(node)
        for used in {made[argument] for argument in node.all_input_nodes if argument in made}:
            last[used] = node
        last[root] = node
    kept = {made[node] for node in outputs if node in made}
    found: dict[Node, Last] = {node: Last(()) for node in body}
    for root, node in last.items():
        # A view of what came from outside has a root there, which is not this code's to write over.
        if root not in kept and root in found:
            found[node] = Last((*found[node].dead, *groups[root]))
    return {node: _overwriting(node, ends) for node, ends in found.items()}


def roots(body: list[Node]) -> dict[Node, Node]:
    """For each node the one that made its memory: of a view what it is a view of, and so on."""
    found: dict[Node, Node] = {}
    for node in body:
        viewed = node.all_input_nodes[0] if is_view(node) else node
        found[node] = found.get(viewed, viewed)
    return found


def _overwriting(node: Node, last: Last) -> Last:
    if node.target not in ALIKE:
        return last
    for operand in node.all_input_nodes:
        whole = operand in last.dead and not is_view(operand)
        if whole and _layout(operand) == _layout(node):
            return Last(last.dead, operand, *ALIKE[node.target])
    return last


def _layout(node: Node) -> tuple[object, ...]:
    value = node.meta["val"]
    return value.shape, value.stride(), value.dtype


def is_view(node: Node) -> bool:
    """Whether the result shares memory with an operand."""
    return views(node.target)


def views(target: Any) -> bool:
    """Whether what an operation returns shares memory with an operand."""
    if not isinstance(target, torch._ops.OpOverload):
        return True
    return any(
        out.alias_info is not None and not out.alias_info.is_write for out in target._schema.returns
    )
