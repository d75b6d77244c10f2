"""The accept test of Metropolis and Hastings, for all chains at once."""

import math
from typing import Any

import torch
from torch import Tensor

from lowland._random import uniform


def judge(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Which proposals are taken, and which had a ratio to judge by, both `(chains,)` bool.

    A ratio is infinite or NaN where an energy or a slope is; such a proposal is refused, whatever
    its sign, and the position stays what it was.
    """
    finite = _finite(log_ratio)
    drawn = uniform((len(log_ratio),), generator, like=log_ratio)
    return (drawn.log_() < log_ratio).logical_and_(finite), finite


def choose(taken: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> list[Tensor]:
    """For each chain the new tensors where it was taken, the old ones elsewhere."""
    column = like(taken, new[0])
    return [
        torch.where(column if a.dim() > 1 else taken, a, b) for a, b in zip(new, old, strict=True)
    ]


def like(values: Tensor, y: Tensor) -> Tensor:
    """One value a chain, shaped to broadcast over y."""
    return values.reshape(-1, *[1] * (y.dim() - 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each chain's elements, `(chains,)`."""
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return product


def probability(log_ratio: Tensor) -> Tensor:
    """How likely each proposal was to be taken, 0 where there is no finite ratio."""
    sure = log_ratio.clamp(max=0.0).exp_()
    return torch.where(_finite(log_ratio), sure, 0.0)


def _finite(values: Tensor) -> Tensor:
    """`torch.isfinite` in half as many operations: no comparison holds for NaN."""
    return values.abs() < math.inf


def counted(state: Any, taken: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
    """The counts of refused proposals and of those that were not finite."""
    return state.rejected + ~taken, state.nonfinite + ~finite
