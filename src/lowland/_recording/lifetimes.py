"""When each tensor of a recorded computation is last looked at, so that its memory serves again."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
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

# Operations that may write where they are told, but not over an operand.
_TOLD: dict[Any, tuple[Any, str]] = {
    _ATEN.addmm.default: (torch.addmm, "out"),
    _ATEN.bmm.default: (torch.bmm, "out"),
    _ATEN.exp.default: (torch.exp, "out"),
    _ATEN.gelu.default: (torch._C._nn.gelu, "out"),
    _ATEN.mm.default: (torch.mm, "out"),
    _ATEN.sigmoid.default: (torch.sigmoid, "out"),
    _ATEN.silu.default: (torch._C._nn.silu, "out"),
    _ATEN.softplus.default: (torch._C._nn.softplus, "out"),
    _ATEN.tanh.default: (torch.tanh, "out"),
    **ALIKE,
}


class Last(NamedTuple):
    """What a node is the last to look at.

    Attributes:
        dead: the nodes whose tensors nobody looks at afterwards.
        into: the name of what the result is written over; "" if it is made anew.
        call: what writes there; None if nothing does.
        keyword: the name of the argument that says where; "" if nothing does.
    """

    dead: tuple[Node, ...]
    into: str = ""
    call: Any = None
    keyword: str = ""


class Room(NamedTuple):
    """Memory that outlives a call.

    Attributes:
        shape: of the tensor in it.
        dtype: of its elements.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def empty(self) -> Tensor:
        """A tensor of that kind on the CPU."""
        return torch.empty(self.shape, dtype=self.dtype)


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
            return Last(last.dead, operand.name, *ALIKE[node.target])
    return last


def rooms(last: dict[Node, Last]) -> tuple[dict[Node, Last], dict[str, Room]]:
    """The same, with results written into memory that is kept from one call to the next.

    To ask for memory takes as long as a small operation, and what is written where something else
    was just read need not be fetched. What a call returns may lie there too, until the next call.

    Args:
        last: of straight-line code in its order, what each node is the last to look at.
    """
    found: dict[Node, Last] = {}
    kept: dict[str, Room] = {}
    free: list[str] = []
    lodged: dict[str, str] = {}
    for node, ends in last.items():
        if ends.into:
            room = lodged.pop(ends.into, None)
        elif node.target in _TOLD and _dense(node):
            value: Tensor = node.meta["val"]
            wanted = Room(tuple(value.shape), value.dtype)
            fitting = [name for name in free if kept[name] == wanted]
            room = fitting[-1] if fitting else f"room_{len(kept)}"
            kept.setdefault(room, wanted)
            free = [name for name in free if name != room]
            ends = Last(ends.dead, room, *_TOLD[node.target])
        else:
            room = None
        if room is not None:
            lodged[node.name] = room
        found[node] = ends
        free += [lodged.pop(dead.name) for dead in ends.dead if dead.name in lodged]
    return found, kept


def _dense(node: Node) -> bool:
    value: Tensor = node.meta["val"]
    return value.device.type == "cpu" and value.is_contiguous()


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
