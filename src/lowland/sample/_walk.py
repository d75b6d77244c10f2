"""Many steps of Langevin dynamics in one call, by torch's own interpreter where it can."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from lowland._recording import REFUSALS, Last, interpreted, same, spelled

Walk = Callable[[Tensor, Tensor, float, float], None]


def stepped(gradient: Callable[[Tensor], Tensor]) -> Walk:
    """What moves points y in place, for each of the noises `(steps, *y.shape)`.

    First by a step times the slope there, then by a spread times the noise.
    """

    def walk(y: Tensor, noises: Tensor, step: float, spread: float) -> None:
        add = y.add_
        for noise in noises.unbind():
            add(gradient(y), alpha=step)
            add(noise, alpha=spread)

    return walk


def written(
    y: Node, gradient: Node, body: dict[Node, Last], given: Sequence[str]
) -> Callable[..., Any] | None:
    """The same for the interpreter, or None if it has no words for an operation.

    Args:
        y: the points.
        gradient: what the body ends with.
        body: the operations in order, with what each is the last to look at.
        given: names of the further tensors, which follow the arguments of a walk.
    """
    tensors = [f"{name}: Tensor" for name in (y.name, "noises", *given)]
    arguments = [*tensors[:2], "step: float", "spread: float", *tensors[2:]]
    try:
        return interpreted(
            [
                f"def walk({', '.join(arguments)}):",
                "    for noise in torch.unbind(noises):",
                *(f"        {spelled(node, last)}" for node, last in body.items()),
                f"        {y.name}.add_({gradient.name}, alpha=step)",
                f"        {y.name}.add_(noise, alpha=spread)",
            ],
            "walk",
        )
    except REFUSALS:
        return None


def completed(walk: Callable[..., Any], given: Sequence[Tensor]) -> Walk:
    """A walk that was written, with the tensors that follow its arguments."""

    def whole(y: Tensor, noises: Tensor, step: float, spread: float) -> None:
        walk(y, noises, step, spread, *given)

    return whole


def agree(one: Walk, other: Walk, y: Tensor) -> bool:
    """Whether two walks from y end in the same place: on a CPU to the bit."""
    with torch.inference_mode():
        noises = torch.stack([0.5 * y.flip(0), y])
        ends = [y.clone() for _ in range(2)]
        try:
            for walk, end in zip((one, other), ends, strict=True):
                walk(end, noises, -0.1, 0.3)
        except REFUSALS:
            return False
    return same(*ends)
