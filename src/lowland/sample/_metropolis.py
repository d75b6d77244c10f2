"""The accept test of Metropolis and Hastings, for all chains at once."""

import math
from typing import Any

import torch
from torch import Tensor

from lowland._random import uniform


def judge(log_ratio: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor | None]:
    """Which proposals are taken, and which had a ratio to judge by, both `(chains,)` bool.

    A ratio is infinite or NaN where an energy or a slope is; such a proposal is refused, whatever
    its sign, and the position stays what it was. In place of the second there is None where all
    have a ratio, as one sum tells in nearly every step.
    """
    taken = uniform(log_ratio.shape, generator, like=log_ratio).log_() < log_ratio
    # To read a number costs more than the operations it saves where they are not done here.
    if log_ratio.device.type == "cpu" and math.isfinite(float(log_ratio.sum())):
        return taken, None
    finite = _finite(log_ratio)
    return taken.logical_and_(finite), finite


def choose(
    taken: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...], *, finite: bool = False
) -> list[Tensor]:
    """For each chain the new tensors where it was taken, the old ones elsewhere.

    Where all numbers are known to be finite they are mixed with weights of 0 and 1, which gives the
    same ones, and takes half as long as to look up for each which chain it belongs to.
    """
    if finite:
        weight = taken.to(new[0].dtype)
        return [torch.lerp(b, a, like(weight, a)) for a, b in zip(new, old, strict=True)]
    return [torch.where(like(taken, a), a, b) for a, b in zip(new, old, strict=True)]


def like(values: Tensor, y: Tensor) -> Tensor:
    """One value a chain, shaped to broadcast over y."""
    if y.dim() == 1:
        return values
    return values.unsqueeze(1) if y.dim() == 2 else values.reshape(-1, *[1] * (y.dim() - 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each chain's elements, `(chains,)`."""
    if a.dim() != 2:
        a, b = a.flatten(1), b.flatten(1)
    product: Tensor = torch.linalg.vecdot(a, b)
    return product


def probability(log_ratio: Tensor, finite: Tensor | None) -> Tensor:
    """How likely each proposal was to be taken, 0 where there is no finite ratio."""
    sure = log_ratio.clamp(max=0.0).exp_()
    return sure if finite is None else torch.where(finite, sure, 0.0)


def _finite(values: Tensor) -> Tensor:
    """`torch.isfinite` in half as many operations: no comparison holds for NaN."""
    return values.abs() < math.inf


def counted(state: Any, taken: Tensor, finite: Tensor | None) -> tuple[Tensor, Tensor]:
    """The counts of refused proposals and of those that were not finite."""
    nonfinite = state.nonfinite if finite is None else state.nonfinite + ~finite
    return state.rejected + ~taken, nonfinite
