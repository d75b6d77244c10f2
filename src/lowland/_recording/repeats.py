"""What was recorded twice, once."""

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten


def without_repeats(recorded: GraphModule) -> None:
    """Let one operation stand for all that do the same to the same tensors.

    Two derivatives of one function each look at its values; afterwards they share them. What draws
    random numbers, or changes a tensor, is not the same a second time and is left for the recording
    to refuse.
    """
    first: dict[object, Node] = {}
    for node in list(recorded.graph.nodes):
        if node.target is _ATEN.detach.default:
            kept = node.args[0]
        else:
            kept = first.setdefault(_done(recorded, node), node)
        if kept is not node:
            node.replace_all_uses_with(kept)
            recorded.graph.erase_node(node)
    recorded.graph.lint()


def _done(recorded: GraphModule, node: Node) -> object:
    """What nodes have in common that do the same; the node itself if it stands alone."""
    target: Any = node.target
    if node.op == "get_attr":
        return id(operator.attrgetter(target)(recorded))
    if node.op != "call_function":
        return node
    if isinstance(target, torch._ops.OpOverload) and (
        target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags
    ):
        return node
    # A node is written as its name, which no other has; numbers of different types differ.
    return target, repr(node.args), repr(node.kwargs)
