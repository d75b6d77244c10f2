"""Weighted points that stand for an integral over z, and the free energy that they give."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lowland.energy import Energy
from lowland.infer.smooth import parts


class Points(NamedTuple):
    r"""Points and weights for which the integral of exp(-beta E) is a sum, item by item.

    $$\int_Z e^{-\beta E(x, y, z)} \, dz \approx \sum_k w_k \, e^{-\beta E(x, y, z_k)}$$

    Attributes:
        z: `(n, k, m)`.
        log_weight: log w, `(n, k)`, -inf for points that do not count.
        energy: E at the points, `(n, k)`, without gradients.
        error: relative standard error of the sum, `(n,)`.
        effective_sample_size: how many independent draws the sum is worth, `(n,)`; inf if none
            were drawn.
    """

    z: Tensor
    log_weight: Tensor
    energy: Tensor
    error: Tensor
    effective_sample_size: Tensor


def sample_size(log_terms: Tensor) -> tuple[Tensor, Tensor]:
    r"""Effective sample size of importance weights `(n, k)`, and the mean's relative error.

    $$\mathrm{ESS} = \left( \sum_k w_k \right)^2 \Big/ \sum_k w_k^2$$
    """
    k = log_terms.shape[1]
    share = torch.softmax(log_terms, 1)
    size = 1 / share.square().sum(1)
    return size, ((1 / size - 1 / k).clamp(min=0) * k / max(1, k - 1)).sqrt()


def free_energy_at(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    points: Points,
    beta: float,
    log_volume: float | None,
) -> Tensor:
    """F_beta of items `(n, *event)`, differentiable with the points held fixed, `(n,)`.

    Args:
        energy: the energy.
        y: `(n, *event)`.
        x: `(n, ...)`, or None.
        points: for the same items.
        beta: inverse temperature, in [0, inf).
        log_volume: log of the volume to divide by; None does not divide, and beta must be positive.
    """
    value = _energies(energy, y, x, points) if torch.is_grad_enabled() else points.energy
    counts = points.log_weight > -torch.inf
    if log_volume is not None:
        share = torch.where(counts, (points.log_weight - log_volume).exp(), 0.0)
        if beta == 0:
            return (share * value).sum(1)
    low = torch.where(counts, points.energy, torch.inf).amin(1, keepdim=True)
    fall = -beta * (value - low)
    log_integral = torch.logsumexp(points.log_weight + fall, 1)
    if log_volume is None:
        return low.squeeze(1) - log_integral / beta
    cold = low.squeeze(1) - (log_integral - log_volume) / beta
    # Where all is nearly even the logarithm of the mean is tiny, and 1/beta would bring out its
    # rounding; there the weights must be all of the volume.
    even = (torch.where(counts, fall.detach(), 0.0).amin(1) > -1) & (
        (share.sum(1) - 1).abs() < math.sqrt(torch.finfo(y.dtype).eps)
    )
    mean = (share * torch.where(even.unsqueeze(1) & counts, fall, 0.0).expm1()).sum(1)
    hot = low.squeeze(1) - mean.log1p() / beta
    return torch.where(even, hot, cold)


def _energies(energy: Energy, y: Tensor, x: Tensor | None, points: Points) -> Tensor:
    """E at the points with gradients, recomputed backwards chunk by chunk to bound memory."""
    n, k = points.log_weight.shape
    item = torch.arange(n, device=y.device).repeat_interleave(k)
    z = points.z.detach().flatten(0, 1)
    values = []
    for part in parts(y, z):

        def evaluate(
            y: Tensor, x: Tensor | None, rows: Tensor = item[part], codes: Tensor = z[part]
        ) -> Tensor:
            return energy(y[rows], x=None if x is None else x[rows], z=codes)

        values.append(checkpoint(evaluate, y, x, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(values).reshape(n, k)


def select(points: Points, rows: Tensor) -> Points:
    """The points of some of the items."""
    return Points(*[part[rows] for part in points])


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(n)."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
