"""Leapfrog steps of one size for all chains, with what they share computed once."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowland._recording import REFUSALS, interpreted
from lowland.sample.target import Target


class Arrival(NamedTuple):
    """Where leapfrog steps lead.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        momentum: `(chains, *event)`.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    momentum: Tensor


class Leapfrog:
    r"""Steps of $p \leftarrow p - \tfrac{\epsilon}{2} \beta S \nabla F(y)$ and $y + \epsilon S p$.

    Args:
        target: whose slopes.
        y: points `(chains, *event)` like those to come.
        scale: S, like one y.
        epsilon: the size of a step.
        beta: inverse temperature.
        gradients: of how many gradients the energy will not be looked at; they are counted now.
    """

    def __init__(
        self,
        target: Target,
        y: Tensor,
        scale: Tensor,
        epsilon: float,
        beta: float,
        gradients: int,
    ) -> None:
        self.target, self.epsilon, self.beta = target, epsilon, beta
        # Laid out like y, for torch is slower where it has to repeat a row; and nothing is to be
        # done with scales that were not learned.
        unit = bool((scale == 1).all())
        self.scale = None if unit else scale.expand_as(y).contiguous()
        push = epsilon * beta * scale.square()
        self.push = push.expand_as(y).contiguous()
        self.kick = target.kicks(y, push, gradients)
        # What a kick may say of itself: `lowland.capabilities.Slopes`.
        self.matrix = getattr(self.kick, "matrix", None)
        self.leaps = None if self.matrix is None else _leaps()

    def go(self, y: Tensor, gradient: Tensor, momentum: Tensor, count: int) -> Arrival:
        """So many steps, one gradient each."""
        # Of the velocity, scale times momentum, a step takes one product less.
        velocity = momentum if self.scale is None else self.scale * momentum
        velocity = torch.addcmul(velocity, self.push, gradient, value=-0.5)
        y = torch.add(y, velocity, alpha=self.epsilon)
        if self.leaps is None:
            for _ in range(count - 1):
                self.kick(velocity, y)
                y.add_(velocity, alpha=self.epsilon)
        else:
            mean = getattr(self.kick, "mean", None)
            self.leaps(velocity, y, self.matrix, mean, self.epsilon, count - 1)
        energy, gradient = self.target.slope(y)
        velocity.addcmul_(self.push, gradient, value=-0.5)
        moved = velocity if self.scale is None else velocity.div_(self.scale)
        return Arrival(y, energy, gradient, moved)


@cache
def _leaps() -> Callable[..., Any] | None:
    """Kicks by a matrix, each with the move after it, by torch's own interpreter."""
    try:
        return interpreted(
            [
                "def leaps(velocity: Tensor, y: Tensor, matrix: Tensor, mean: Optional[Tensor],",
                "          epsilon: float, count: int):",
                "    for _ in range(count):",
                "        away = y if mean is None else y - mean",
                "        velocity.addmm_(away, matrix)",
                "        y.add_(velocity, alpha=epsilon)",
            ],
            "leaps",
        )
    except REFUSALS:
        return None
