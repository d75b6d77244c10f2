"""Integrals over z by importance sampling from the modes that were found."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._random import normal, uniform
from lowland.energy import Energy
from lowland.infer.curvature import Wells
from lowland.infer.points import Points, sample_size
from lowland.infer.smooth import energies_at, scatter
from lowland.latent import Ball, Continuous

# Degrees of freedom of the Student distributions: tails heavier than any exp(-beta E) has.
_FREEDOM = 5
# Share of the draws that go to all modes evenly, and, in a ball, to all of it.
_EVEN = 0.5
_ANYWHERE = 0.1


class Proposal(NamedTuple):
    r"""A mixture of Student distributions at the modes, with an even part over a ball.

    $$q(z) = \sum_s \alpha_s \, t_5(z; \mu_s, S_s S_s^\top) + \alpha_0 / |Z|$$

    Attributes:
        wells: the modes and their widths.
        share: α, `(n, s)`.
        anywhere: α_0.
        log_volume: log |Z|; inf where α_0 is zero.
    """

    wells: Wells
    share: Tensor
    anywhere: float
    log_volume: float

    def log_density(self, z: Tensor) -> Tensor:
        """Log q at z of shape `(n, k, m)`, differentiable, `(n, k)`."""
        m = z.shape[-1]
        inverse = torch.linalg.inv(self.wells.scale)
        away = z.unsqueeze(1) - self.wells.mode.unsqueeze(2)  # (n, s, k, m)
        square = (away @ inverse.mT).square().sum(-1)
        constant = (
            math.lgamma((_FREEDOM + m) / 2)
            - math.lgamma(_FREEDOM / 2)
            - m / 2 * math.log(_FREEDOM * math.pi)
        )
        log_each = constant - (_FREEDOM + m) / 2 * (square / _FREEDOM).log1p()
        log_each = log_each + (self.share.log() - self.wells.log_determinant).unsqueeze(2)
        log_mixed = torch.logsumexp(log_each, 1)
        if self.anywhere == 0:
            return log_mixed
        even = torch.full_like(log_mixed, math.log(self.anywhere) - self.log_volume)
        return torch.logaddexp(log_mixed, even)


def propose(latent: Continuous, wells: Wells, beta: float) -> Proposal:
    """The mixture for modes of given energy and width, the modes weighted by their mass."""
    mass = torch.softmax(-beta * wells.energy + wells.log_determinant, 1)
    share = (1 - _EVEN) * mass + _EVEN / mass.shape[1]
    if isinstance(latent, Ball):
        return Proposal(wells, (1 - _ANYWHERE) * share, _ANYWHERE, latent.log_volume())
    return Proposal(wells, share, 0.0, math.inf)


def draw(
    latent: Continuous,
    proposal: Proposal,
    count: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Draws from the mixture, `(n, count, m)`; the same random numbers serve every item."""
    wells = proposal.wells
    like, m = wells.mode, latent.m
    noise = normal((count, m), generator, like=like)
    spread = normal((count, _FREEDOM), generator, like=like).square().sum(1, keepdim=True)
    student = noise * (_FREEDOM / spread).sqrt()
    places = torch.arange(count, dtype=like.dtype, device=like.device)
    places = (places + uniform((count,), generator, like=like)) / count
    edges = proposal.share.cumsum(1)
    chosen = torch.searchsorted(edges, places.expand(len(edges), count).contiguous())
    component = chosen.clamp(max=edges.shape[1] - 1)
    rows = torch.arange(len(edges), device=like.device).unsqueeze(1)
    z = wells.mode[rows, component] + torch.einsum(
        "nkij,kj->nki", wells.scale[rows, component], student
    )
    if proposal.anywhere == 0:
        return z
    even = scatter(latent, count, generator, like)
    return torch.where((places > 1 - proposal.anywhere).unsqueeze(1), even, z)


def inside(latent: Continuous, z: Tensor) -> Tensor:
    """Whether z `(n, k, m)` lies in Z, `(n, k)` bool."""
    if isinstance(latent, Ball):
        within: Tensor = torch.linalg.vector_norm(z, dim=-1) <= latent.radius
        return within
    return torch.ones_like(z[..., 0], dtype=torch.bool)


def importance(
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    wells: Wells,
    count: int,
    generator: torch.Generator | None,
) -> Points:
    """Points drawn around the modes of items `(n, *event)`, with what they are worth."""
    if generator is None:
        generator = torch.Generator().manual_seed(1)
    proposal = propose(latent, wells, beta)
    z = draw(latent, proposal, count, generator)
    log_weight = -proposal.log_density(z) - math.log(count)
    allowed = inside(latent, z)
    value = energies_at(energy, y, x, latent.proximal(z, torch.zeros_like(z[..., 0])))
    log_weight = torch.where(allowed, log_weight, -torch.inf)
    z = torch.where(allowed.unsqueeze(2), z, wells.mode[:, :1])
    size, error = sample_size(log_weight - beta * value)
    return Points(z, log_weight, value, error, size)


def evenly(
    energy: Energy,
    latent: Ball,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    count: int,
    generator: torch.Generator | None,
) -> Points:
    """Points spread over a ball, which are enough where exp(-beta E) varies little."""
    z = scatter(latent, count, generator, y).expand(len(y), count, latent.m)
    value = energies_at(energy, y, x, z)
    log_weight = torch.full_like(value, latent.log_volume() - math.log(count))
    size, error = sample_size(log_weight - beta * value)
    return Points(z, log_weight, value, error, size)
