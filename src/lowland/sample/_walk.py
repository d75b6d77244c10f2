"""Many steps of Langevin dynamics in one call, by torch's own interpreter where it can."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Node

from lowland._recording import REFUSALS, Last, interpreted, same, spelled

Walk = Callable[[Tensor, Tensor, float, float], None]
Step = tuple[Tensor, Tensor, Tensor]
Tour = Callable[[Tensor, Tensor, Tensor, float, float], list[Step]]
Slope = Callable[[Tensor], tuple[Tensor, Tensor]]


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


def toured(slope: Slope) -> Tour:
    """What makes the same steps in tensors of their own, and returns each: y, energy, gradient.

    It is given the gradient at the points that it starts from, and looks at each end.
    """

    def tour(y: Tensor, gradient: Tensor, noises: Tensor, step: float, spread: float) -> list[Step]:
        passed = []
        for noise in noises.unbind():
            y = torch.add(y, gradient, alpha=step).add_(noise, alpha=spread)
            energy, gradient = slope(y)
            passed.append((y, energy, gradient))
        return passed

    return tour


def in_blocks(noises: Tensor, size: int) -> tuple[Sequence[Tensor], Tensor]:
    """Whole blocks of so many noises, and what is left over."""
    whole = len(noises) // size * size
    return noises[:whole].split(size) if whole else (), noises[whole:]


class Body(NamedTuple):
    """Straight-line code on points y.

    Attributes:
        y: the points.
        outputs: what it ends with.
        last: the operations in order, with what each is the last to look at.
        given: names of the further tensors that it looks at.
    """

    y: Node
    outputs: list[Node]
    last: dict[Node, Last]
    given: list[str]

    def lines(self) -> list[str]:
        """What the interpreter reads.

        Raises:
            ValueError: it has no words for an operation.
        """
        return [f"        {spelled(node, last)}" for node, last in self.last.items()]

    def arguments(self, *tensors: str) -> str:
        """Of a function of the points, these tensors, two numbers, and what is looked at."""
        named = [f"{name}: Tensor" for name in (self.y.name, *tensors)]
        given = [f"{name}: Tensor" for name in self.given]
        return ", ".join([*named, "step: float", "spread: float", *given])


def walk_of(body: Body) -> Callable[..., Any] | None:
    """A walk by the interpreter, followed by what is looked at; None if it has no words for it.

    Args:
        body: what ends with the gradient.
    """
    y, (gradient,) = body.y, body.outputs
    try:
        return interpreted(
            [
                f"def walk({body.arguments('noises')}):",
                "    for noise in torch.unbind(noises):",
                *body.lines(),
                f"        {y}.add_({gradient}, alpha=step)",
                f"        {y}.add_(noise, alpha=spread)",
            ],
            "walk",
        )
    except REFUSALS:
        return None


def tour_of(body: Body) -> Callable[..., Any] | None:
    """A tour by the interpreter, as `walk_of` gives a walk.

    Args:
        body: what ends with the energy and the gradient.
    """
    y, (energy, gradient) = body.y, body.outputs
    try:
        return interpreted(
            [
                f"def tour({body.arguments('downhill', 'noises')}):",
                "    passed: List[Tuple[Tensor, Tensor, Tensor]] = []",
                "    for noise in torch.unbind(noises):",
                f"        {y} = torch.add({y}, downhill, alpha=step).add_(noise, alpha=spread)",
                *body.lines(),
                f"        downhill = {gradient}",
                f"        passed.append(({y}, {energy}, {gradient}))",
                "    return passed",
            ],
            "tour",
        )
    except REFUSALS:
        return None


def completed(function: Callable[..., Any], given: Sequence[Tensor]) -> Callable[..., Any]:
    """What was written, with the tensors that follow its arguments."""
    return lambda *arguments: function(*arguments, *given)


def agree(walks: tuple[Walk, Walk], tours: tuple[Tour, Tour], y: Tensor) -> bool:
    """Whether two ways to go from y pass the same places: on a CPU to the bit."""
    passed: list[list[Tensor]] = []
    with torch.inference_mode():
        noises = torch.stack([0.5 * y.flip(0), y])
        try:
            for walk, tour in zip(walks, tours, strict=True):
                end = y.clone()
                walk(end, noises, -0.1, 0.3)
                seen = tour(y, noises[0], noises, -0.1, 0.3)
                passed.append([end, *(part for step in seen for part in step)])
        except REFUSALS:
            return False
    return all(map(same, *passed))
