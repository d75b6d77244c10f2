"""Leapfrog steps of one size for all chains, with what they share computed once."""

from typing import NamedTuple

import torch
from torch import Tensor

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

    def go(self, y: Tensor, gradient: Tensor, momentum: Tensor, count: int) -> Arrival:
        """So many steps, one gradient each."""
        # Of the velocity, scale times momentum, a step takes one product less.
        velocity = momentum if self.scale is None else self.scale * momentum
        velocity = torch.addcmul(velocity, self.push, gradient, value=-0.5)
        y = torch.add(y, velocity, alpha=self.epsilon)
        for _ in range(count - 1):
            self.kick(velocity, y)
            y.add_(velocity, alpha=self.epsilon)
        energy, gradient = self.target.slope(y)
        velocity.addcmul_(self.push, gradient, value=-0.5)
        moved = velocity if self.scale is None else velocity.div_(self.scale)
        return Arrival(y, energy, gradient, moved)
