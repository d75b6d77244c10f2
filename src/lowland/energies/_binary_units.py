"""Binary hidden units and what they are connected to: each given the other, on a path of beta."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from lowland._random import coins, normal

# Means nearer to 0 or 1 are taken for this near, for their log odds would be infinite.
_RAREST = 1e-3


@dataclass(frozen=True, eq=False)
class Units:
    """The conditionals of a `RestrictedBoltzmann`: `lowland.capabilities.Conditionals`.

    Attributes:
        event: the shape of one y.
        weights: W, `(m, d)`.
        visible: the bias of y, `(d,)`.
        hidden: the bias of h, `(m,)`.
        variance: σ², `(d,)`, or None for binary y.
        beta: inverse temperature.
        base: log odds or means of the independent elements at beta = 0, `(d,)`, or None.
    """

    event: tuple[int, ...]
    weights: Tensor
    visible: Tensor
    hidden: Tensor
    variance: Tensor | None
    beta: float
    base: Tensor | None

    def drive(self, y: Tensor) -> Tensor:
        """What y says to the hidden units, `(n, m)`."""
        flat = y.flatten(1)
        return linear(
            flat if self.variance is None else flat / self.variance, self.weights, self.hidden
        )

    def potential(self, y: Tensor, drive: Tensor) -> Tensor:
        """U(y), `(n,)`."""
        flat, free = y.flatten(1), softplus(self.beta * drive).sum(1)
        if self.variance is None:
            return -(flat @ self._mixed(self.visible)) - free
        squares = self.beta * (flat - self.visible).square()
        if self.base is not None:
            squares = squares + (1 - self.beta) * (flat - self.base).square()
        return (squares / self.variance).sum(1) / 2 - free

    def sample_hidden(self, drive: Tensor, generator: torch.Generator | None) -> Tensor:
        """H given the drive of y, `(n, m)`."""
        odds = drive if self.beta == 1 else self.beta * drive
        return coins(odds.sigmoid(), generator)

    def sample_visible(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        """Y given h, `(n, *event)`."""
        shape = (len(hidden), *self.event)
        if self.variance is None:
            bias = self._mixed(self.visible)
            odds = torch.addmm(bias, hidden, self.weights, alpha=self.beta)
            return coins(odds.sigmoid_(), generator).reshape(shape)
        noise = normal((len(hidden), len(self.visible)), generator, like=hidden)
        if self.base is None:
            mean = torch.addmm(self.visible, hidden, self.weights)
            return (mean + noise * (self.variance / self.beta).sqrt()).reshape(shape)
        mean = torch.addmm(self._mixed(self.visible), hidden, self.weights, alpha=self.beta)
        return (mean + noise * self.variance.sqrt()).reshape(shape)

    def _mixed(self, bias: Tensor) -> Tensor:
        """The bias at this place of the path."""
        if self.base is None:
            return bias if self.beta == 1 else self.beta * bias
        return self.beta * bias + (1 - self.beta) * self.base


def log_odds(mean: Tensor) -> Tensor:
    """The log odds of means, `(*event)`, none of them infinite."""
    return torch.logit(mean.clamp(_RAREST, 1 - _RAREST))
