"""Features of items by anything that makes some, one scale for all, measured without labels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError
from lowland._modes import evaluating
from lowland._shapes import require_finite
from lowland.ask import encode
from lowland.data import Dataset
from lowland.energy import Energy

Encoder = Energy | nn.Module | Callable[[Tensor], Tensor]

BLOCK = 1024


@torch.no_grad()
def features_of(encoder: Encoder, data: Dataset) -> Tensor:
    """Features of each item, `(n, features)` on the CPU, in evaluation mode, block by block.

    Args:
        encoder: an energy, asked by `lowland.encode`; a network; or any function of a block
            `(m, *event)` that returns `(m, ...)`.
        data: the items, with their x if the energy is conditional.

    Raises:
        ShapeError: a function does not return one row of features an item.
        DivergedError: a feature is not finite.
    """
    blocks = []
    for start in range(0, len(data), BLOCK):
        y = data.y[start : start + BLOCK]
        if isinstance(encoder, Energy):
            x = None if data.x is None else _suited(encoder, data.x[start : start + BLOCK])
            found = encode(encoder, _suited(encoder, y), x=x)
        elif isinstance(encoder, nn.Module):
            with evaluating(encoder):
                found = encoder(_like_parameters(encoder, y))
        else:
            found = encoder(y)
        if not isinstance(found, Tensor) or found.dim() < 1 or len(found) != len(y):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ShapeError(
                f"An encoder must return a row of features for each of the {len(y)} items, a "
                f"tensor ({len(y)}, features). Got {got}."
            )
        blocks.append(found.detach().reshape(len(y), -1).cpu())
    return require_finite(torch.cat(blocks), "A feature")


def _suited(energy: Energy, tensor: Tensor) -> Tensor:
    """The tensor as the energy's parameters are; classes stay whole numbers."""
    dtype = energy.dtype if tensor.is_floating_point() else None
    return tensor.to(device=energy.device, dtype=dtype)


def _like_parameters(module: nn.Module, y: Tensor) -> Tensor:
    parameter = next(module.parameters(), None)
    return y if parameter is None or not y.is_floating_point() else y.to(parameter)


class Units(NamedTuple):
    r"""Units in which features of any origin compare: an item has squared length 1 on average.

    $$s(\phi) = (\phi - \mu) / \sigma$$

    Attributes:
        mean: μ, `(m,)` float64.
        scale: σ, `(m,)` float64, or one number for all features.
        varies: which features vary, `(features,)` bool; the others tell nothing, and have no scale.
    """

    mean: Tensor
    scale: Tensor
    varies: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """The features that vary, in these units, `(n, m)` float64."""
        return (features[:, self.varies].double() - self.mean) / self.scale


def units_of(features: Tensor, name: str) -> tuple[Units, Units]:
    """Two ways to measure features `(n, m)`, neither of which needs a label.

    The first has one scale for all features, so that those that vary little stay small; the second
    a scale for each. Which serves better depends on where the features come from: a principal
    component that varies little is noise, and a neuron that does may not be.

    Raises:
        DomainError: no feature varies.
    """
    varies = features.amax(0) > features.amin(0)
    if not bool(varies.any()):
        raise DomainError(
            f"The features of {name} are the same for all {len(features)} items: its encoder has "
            f"collapsed, and there is nothing to learn from. Train it with something that forbids "
            f"that, such as a variance regulariser."
        )
    kept = features[:, varies].double()
    variance = kept.var(0, correction=0)
    each = (variance * len(variance)).sqrt()
    return Units(kept.mean(0), variance.sum().sqrt(), varies), Units(kept.mean(0), each, varies)
