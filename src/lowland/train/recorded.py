"""A loss and its gradient in the parameters as straight-line code, recorded once.

A step of training on a small energy spends more time on building a graph and walking it than on
arithmetic. A loss that draws nothing at random is the same operations at every step: they are noted
once, the automatic derivative with them, and run as they are.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from lowland._recording import (
    REFUSALS,
    Recording,
    Untraceable,
    fingerprint,
    is_view,
    keep_freed_memory,
    needed,
    places,
    record,
    roots,
    same,
    without_changes,
    without_repeats,
)

# A recording costs as much as some hundred steps, so it waits for so many.
_CALLS_BEFORE_RECORDING = 100

# Any number of tensors, the first of them the loss, a scalar.
Loss = Callable[..., tuple[Tensor, ...]]


class Found(NamedTuple):
    """What a recording gives.

    Attributes:
        values: the tensors that the loss gives, without a graph.
        gradients: that of the first in each parameter, by name; None where it does not depend on
            it.
    """

    values: tuple[Tensor, ...]
    gradients: dict[str, Tensor | None]


class _Slot:
    """How often one kind of batch was asked about, and its recording once that was often enough."""

    def __init__(self) -> None:
        self.calls = 0
        self.run: RecordedLoss | None = None
        self.refused: str | None = None


_SLOTS: "WeakKeyDictionary[nn.Module, dict[object, _Slot]]" = WeakKeyDictionary()


class RecordedLoss:
    """Recorded operations of a loss and of its derivative, for one set of shapes and types.

    Args:
        recorded: what the recorder noted: outputs are the values, then the gradients.
        energy: whose loss it is.
        names: the parameters that have a gradient, in order.
        values: how many values there are.

    Raises:
        ValueError: an operation draws random numbers or changes a tensor in place.
    """

    def __init__(
        self,
        recorded: GraphModule,
        energy: nn.Module,
        names: list[str],
        values: int,
    ) -> None:
        parameters = dict(energy.named_parameters())
        without_changes(recorded)
        without_repeats(recorded)
        code = Recording(recorded)
        body = needed(code.calls, code.outputs)
        returned = [node.name for node in code.outputs[:values]]
        returned += _own(body, code.outputs[values:])
        self._attributes = list(code.attributes.values())
        self._places = places(energy, self._attributes)
        self._names, self._values = names, values
        self._parameters = list(parameters.values())
        self._needs = [parameter.requires_grad for parameter in self._parameters]
        self._empty: dict[str, Tensor | None] = dict.fromkeys(parameters)
        arguments = [*code.attributes, *(node.name for node in code.inputs)]
        defined = code.compile(
            [
                f"def run({', '.join(arguments)}):",
                *(f"    {line}" for line in code.lines(body, code.outputs)),
                f"    return [{', '.join(returned)}]",
            ]
        )
        self._run = defined["run"]

    def outdated(self) -> bool:
        """Whether a parameter has been frozen, or set free, since."""
        return [parameter.requires_grad for parameter in self._parameters] != self._needs

    def displaced(self) -> bool:
        """Whether another tensor was put in the place of one that was looked at."""
        return not all(place.kept() for place in self._places)

    def __call__(self, *inputs: Tensor) -> Found:
        """The values and the gradients, with the weights of the moment."""
        keep_freed_memory()
        with torch.no_grad():
            results = self._run(*self._attributes, *inputs)
        gradients = self._empty | dict(zip(self._names, results[self._values :], strict=True))
        return Found(tuple(results[: self._values]), gradients)


def recorded(energy: nn.Module, kind: Hashable, loss: Loss, *inputs: Tensor) -> Found | None:
    """The loss at the inputs and its gradient by a recording, or None where there is none (yet).

    The recording is made after some calls with the same shapes, and is used only if it gives what
    the automatic derivative gives: on a CPU the same bits. It follows weights, options, modes, and
    tensors that are attributes of the energy or of its parts, alone or in a list, tuple or dict. A
    tensor from anywhere else is changed in place or stays what it was when it was recorded.

    Args:
        energy: whose parameters the loss is to be differentiated in.
        kind: what the loss depends on beside the energy and the inputs.
        loss: a function of the inputs.
        inputs: tensors without a graph.
    """
    shapes = tuple((part.shape, part.dtype, part.device) for part in inputs)
    slot = _SLOTS.setdefault(energy, {}).setdefault((kind, shapes, fingerprint(energy)), _Slot())
    if slot.refused is not None:
        return None
    if slot.run is not None and slot.run.displaced():
        # What is replaced all the time is not to be recorded all the time.
        slot.run, slot.calls = None, 0
    if slot.run is None or slot.run.outdated():
        slot.calls += 1
        if slot.calls < _CALLS_BEFORE_RECORDING:
            return None
        found = recording(energy, loss, *inputs)
        if isinstance(found, Untraceable):
            slot.run, slot.refused = None, found.reason
            return None
        slot.run = found
    return slot.run(*inputs)


def recording(energy: nn.Module, loss: Loss, *inputs: Tensor) -> RecordedLoss | Untraceable:
    """Record the loss and its derivative at these inputs, or say why that cannot be done."""
    trained = {name: part for name, part in energy.named_parameters() if part.requires_grad}
    try:
        values, wanted = _automatic(loss, trained, *inputs)
    except RuntimeError as error:
        return Untraceable(f"no gradient ({str(error)[:120]})")
    names = [name for name, gradient in wanted.items() if gradient is not None]

    def both(*inputs: Tensor) -> list[Tensor]:
        values, gradients = _automatic(loss, trained, *inputs)
        return [*values, *(one for one in gradients.values() if one is not None)]

    noted = record(both, *inputs)
    if isinstance(noted, Untraceable):
        return noted
    try:
        made = RecordedLoss(noted, energy, names, len(values))
        for points in (inputs, tuple(part.flip(0) for part in inputs)):
            found, (values, wanted) = made(*points), _automatic(loss, trained, *points)
            pairs: list[tuple[Tensor | None, Tensor]] = [*zip(found.values, values, strict=True)]
            pairs += [(found.gradients[n], one) for n, one in wanted.items() if one is not None]
            if not all(a is not None and same(a, b) for a, b in pairs):
                return Untraceable("the recording does not give the same values")
    except REFUSALS as error:
        return Untraceable(f"not traceable ({type(error).__name__}: {str(error)[:120]})")
    return made


def _automatic(
    loss: Loss, parameters: dict[str, nn.Parameter], *inputs: Tensor
) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    with torch.enable_grad():
        values = loss(*inputs)
        found = torch.autograd.grad(values[0], list(parameters.values()), allow_unused=True)
    gradients: dict[str, Tensor | None] = dict(zip(parameters, found, strict=True))
    return [value.detach() for value in values], gradients


def _own(body: list[Node], outputs: list[Node]) -> list[str]:
    """The words for results that share their memory with nothing, for who changes them in place."""
    found = roots(body)
    owners = [found.get(node) for node in outputs]
    words = []
    for node, owner in zip(outputs, owners, strict=True):
        alone = owner is not None and not is_view(owner) and owners.count(owner) == 1
        whole = alone and node.meta["val"].is_contiguous()
        words.append(node.name if whole else f"{node.name}.contiguous().clone()")
    return words
