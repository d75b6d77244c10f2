"""Recorded code in the language of torch's own interpreter, TorchScript.

Between two operations of Python's interpreter passes as much time as a small operation takes. The
one of torch calls the very same operations, one after another, with a third of that.
"""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx import Node

from lowland._recording.lifetimes import Last
from lowland._recording.rewrites import by_channels, by_items

_ATEN = torch.ops.aten
# What is not called by its name.
_SPELLED: dict[Any, str] = {
    _ATEN.detach.default: "{}",
    by_channels: "{}.contiguous(memory_format=torch.channels_last)",
    by_items: "{}.contiguous()",
    operator.getitem: "{}[{}]",
}


def interpreted(source: Iterable[str], name: str) -> Callable[..., Any]:
    """The function of that name that the lines define, run as they stand.

    Raises:
        RuntimeError: the interpreter cannot tell what a line means.
    """
    jit: Any = torch.jit
    function: Callable[..., Any] = getattr(
        jit.CompilationUnit("".join(f"{line}\n" for line in source)), name
    )

    def run(*arguments: Any) -> Any:
        # What it takes for better may differ in the last bit.
        with jit.optimized_execution(False):
            return function(*arguments)

    return run


def spelled(node: Node, last: Last) -> str:
    """One operation in that language.

    Raises:
        ValueError: it has no words there.
    """
    target: Any = node.target
    words = [_word(argument) for argument in node.args]
    if target in _SPELLED:
        return f"{node.name} = {_SPELLED[target].format(*words)}"
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        raise ValueError(f"the interpreter does not know {target}")
    words += [f"{key}={_word(value)}" for key, value in node.kwargs.items()]
    if last.into:
        words.append(f"{last.keyword}={last.into}")
    called = target._schema.name.removeprefix("aten::")
    return f"{node.name} = torch.ops.aten.{called}({', '.join(words)})"


def _word(value: Any) -> str:
    if isinstance(value, Node):
        return value.name
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_word, value))}]"
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise ValueError(f"the interpreter has no word for {value!r}")
