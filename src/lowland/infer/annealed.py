"""Integrals over z by annealed importance sampling: the last resort, where modes do not suffice."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._random import normal, uniform
from lowland.energy import Energy
from lowland.infer.curvature import Wells
from lowland.infer.importance import Proposal, draw, inside, propose
from lowland.infer.points import Points, sample_size
from lowland.latent import Ball, Continuous, Normal, Sparse

# Temperatures of a run, and of the one before it that finds the steps.
_TEMPERATURES = 200
_PILOT = 50
# Moves at each temperature.
_MOVES = 2
# The rate of acceptance at which this kernel mixes fastest, and how fast its step is adapted.
_ACCEPTED = 0.574
_RATE = 0.3


def annealed(
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    beta: float,
    wells: Wells,
    count: int,
    generator: torch.Generator | None,
) -> Points:
    r"""Points led from a wide distribution to exp(-beta E) along a path of temperatures.

    $$\log \pi_t = (1 - t) \log q - t \beta E, \qquad
      \log w = \sum_t (t_{i+1} - t_i) \, (-\beta E - \log q)(z_i)$$

    At each temperature Langevin proposals, scaled like the lowest well, are accepted or rejected;
    a first short run finds their step, so that in the run that counts nothing is adapted.

    Reference:
        Annealed Importance Sampling (Neal, 2001), https://doi.org/10.1023/A:1008923215028
    """
    if generator is None:
        generator = torch.Generator().manual_seed(2)
    proposal = propose(latent, _broad(latent, wells, beta), beta)
    path = _Path(energy, latent, y, x, beta, proposal, wells.scale[:, 0])
    start = math.log(0.5 / latent.m ** (1 / 6))
    even = y.new_full((_PILOT, len(y)), start)
    _, _, steps = _run(path, _PILOT, even, count, generator, adapt=True)
    each = torch.arange(_TEMPERATURES, device=y.device) * _PILOT // _TEMPERATURES
    here, log_weight, _ = _run(path, _TEMPERATURES, steps[each], count, generator, adapt=False)
    value = -here.target / beta
    size, error = sample_size(log_weight)
    log_weight = torch.where(
        log_weight > -torch.inf, log_weight + beta * value - math.log(count), -torch.inf
    )
    return Points(here.z, log_weight, value, error, size)


def _broad(latent: Continuous, wells: Wells, beta: float) -> Wells:
    """One wide well where R makes one, for where modes are many the few found mislead."""
    match latent:
        case Normal():
            width = 1 / math.sqrt(beta)
        case Ball():
            width = latent.radius / math.sqrt(latent.m + 2)
        case Sparse() if latent.penalty > 0:
            width = math.sqrt(2) / (beta * latent.penalty)
        case _:
            return wells
    one = torch.zeros_like(wells.energy[:, :1])
    eye = torch.eye(latent.m, dtype=one.dtype, device=one.device)
    return Wells(
        mode=torch.zeros_like(wells.mode[:, :1]),
        energy=one,
        scale=(width * eye).expand_as(wells.scale[:, :1]),
        log_determinant=one + latent.m * math.log(width),
        narrowest=one + width,
    )


class _Place(NamedTuple):
    """Where the chains are: z, and log q and -beta E there with their slopes."""

    z: Tensor
    proposal: Tensor
    target: Tensor
    proposal_slope: Tensor
    target_slope: Tensor

    def log_density(self, t: float) -> Tensor:
        return (1 - t) * self.proposal + t * self.target

    def slope(self, t: float) -> Tensor:
        return (1 - t) * self.proposal_slope + t * self.target_slope


class _Path(NamedTuple):
    """The densities between the proposal and exp(-beta E)."""

    energy: Energy
    latent: Continuous
    y: Tensor
    x: Tensor | None
    beta: float
    proposal: Proposal
    scale: Tensor

    def at(self, z: Tensor) -> _Place:
        """Both ends of the path at z `(n, k, m)`, which lie in Z."""
        n, count = z.shape[:2]
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_density = self.proposal.log_density(z)
            y = self.y.unsqueeze(1).expand(n, count, *self.y.shape[1:]).flatten(0, 1)
            x = self.x
            if x is not None:
                x = x.unsqueeze(1).expand(n, count, *x.shape[1:]).flatten(0, 1)
            target = -self.beta * self.energy(y, x=x, z=z.flatten(0, 1)).reshape(n, count)
            (one,) = torch.autograd.grad(log_density.sum(), z)
            (other,) = torch.autograd.grad(target.sum(), z)
        return _Place(z.detach(), log_density.detach(), target.detach(), one, other)


def _run(
    path: _Path,
    temperatures: int,
    log_steps: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    adapt: bool,
) -> tuple[_Place, Tensor, Tensor]:
    """One run; the chains' ends, their log weights `(n, k)`, and the steps used."""
    z = draw(path.latent, path.proposal, count, generator)
    alive = inside(path.latent, z)
    z = torch.where(alive.unsqueeze(2), z, path.proposal.wells.mode[:, :1])
    here = path.at(z)
    log_weight = torch.where(alive, 0.0, -torch.inf).to(z)
    log_step, used = log_steps[0], []
    # Even steps would waste most of them: the density changes fastest where t is small.
    path_t = (torch.arange(temperatures + 1, dtype=torch.float64) / temperatures).square().tolist()
    for i, (t, following) in enumerate(pairwise(path_t)):
        log_weight = log_weight + (following - t) * (here.target - here.proposal)
        log_step = log_step if adapt else log_steps[i]
        for _ in range(_MOVES):
            here, accepted = _move(path, here, following, log_step.exp(), generator)
            if adapt:
                log_step = log_step + _RATE * (accepted - _ACCEPTED)
        used.append(log_step)
    return here, log_weight, torch.stack(used)


def _move(
    path: _Path, here: _Place, t: float, step: Tensor, generator: torch.Generator
) -> tuple[_Place, Tensor]:
    """One Langevin proposal in units of the well, accepted or rejected; and how often it was."""
    size = step.reshape(-1, 1, 1)
    noise = normal(tuple(here.z.shape[1:]), generator, like=here.z)
    drift = size / 2 * (here.slope(t) @ path.scale)
    z = here.z + size * ((drift + noise) @ path.scale.mT)
    allowed = inside(path.latent, z)
    there = path.at(torch.where(allowed.unsqueeze(2), z, here.z))
    back = size / 2 * (there.slope(t) @ path.scale)
    returning = -(noise + drift + back)
    log_ratio = there.log_density(t) - here.log_density(t)
    log_ratio = log_ratio + (noise.square() - returning.square()).sum(2) / 2
    chance = torch.where(allowed & torch.isfinite(log_ratio), log_ratio.clamp(max=0).exp(), 0.0)
    moved = uniform(tuple(here.z.shape[1:2]), generator, like=here.z) < chance
    chosen = [
        torch.where(moved.reshape(*moved.shape, *[1] * (new.dim() - 2)), new, old)
        for new, old in zip(there, here, strict=True)
    ]
    return _Place(*chosen), chance.mean(1)
