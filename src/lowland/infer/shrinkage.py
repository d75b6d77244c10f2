"""Sparse codes by iterative shrinkage: ISTA, FISTA and coordinate descent, one step at a time."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._errors import CapabilityError, DomainError
from lowland.capabilities import DecodesLinearly
from lowland.energy import Energy
from lowland.infer.active_set import Solved
from lowland.infer.lasso import Lasso, certificate, lasso, targets
from lowland.latent import Sparse

_BLOCK = 512
# The certificate costs about as much as a step, so it is looked at now and then.
_EVERY = 10
_COARSE = 3e-5


class Motion(NamedTuple):
    """Where a method stands with a batch of items.

    Attributes:
        z: the codes, `(n, k)`.
        ahead: where the next step begins, `(n, k)`.
        momentum: how far ahead it looks, `(n, 1)`.
    """

    z: Tensor
    ahead: Tensor
    momentum: Tensor

    @classmethod
    def at(cls, z: Tensor) -> "Motion":
        """At rest at z."""
        return cls(z, z, z.new_ones(len(z), 1))


@dataclass(frozen=True)
class Shrinkage(ABC):
    """Base of the methods that improve all coefficients a little at every step.

    Args:
        steps: the most steps to make.

    Raises:
        DomainError: steps is not at least 1.
    """

    steps: int = 1000

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or self.steps < 1:
            raise DomainError(
                f"The 'steps' of {type(self).__name__} must be at least 1. Got {self.steps!r}."
            )

    def curvature(self, problem: Lasso) -> Tensor:
        """What a step divides by, found once for all steps; the largest eigenvalue of AᵀA."""
        atoms = problem.atoms
        small = atoms @ atoms.T if len(atoms) <= atoms.shape[1] else atoms.T @ atoms
        largest: Tensor = torch.linalg.eigvalsh(small)[-1]
        # Rounding must not make the step too long; atoms that are all zero have any step.
        return (1 + 1e-6) * largest.clamp(min=torch.finfo(atoms.dtype).tiny)

    @abstractmethod
    def step(self, problem: Lasso, curvature: Tensor, target: Tensor, at: Motion) -> Motion:
        """One step for targets `(n, d)`."""


def shrink(z: Tensor, threshold: float) -> Tensor:
    """Move every element towards zero by the threshold, and stop there."""
    return z - z.clamp(-threshold, threshold)


@dataclass(frozen=True)
class ISTA(Shrinkage):
    r"""Iterative shrinkage and thresholding: a gradient step, then soft thresholding.

    $$z \leftarrow \mathrm{shrink}(z - W^\top (W z - y) / L, \; \lambda / L)$$

    Args:
        steps: the most steps to make.

    Reference:
        An Iterative Thresholding Algorithm for Linear Inverse Problems with a Sparsity Constraint
        (Daubechies, Defrise and De Mol, 2004), https://doi.org/10.1002/cpa.20042
    """

    def step(self, problem: Lasso, curvature: Tensor, target: Tensor, at: Motion) -> Motion:
        """One step for targets `(n, d)`."""
        correlation = problem.residual(target, at.z) @ problem.atoms.T
        return Motion.at(shrink(at.z + correlation / curvature, float(problem.penalty / curvature)))


@dataclass(frozen=True)
class FISTA(Shrinkage):
    r"""ISTA with momentum, which an item loses whenever it points uphill.

    $$z_t = \mathrm{shrink}(u_t - W^\top (W u_t - y) / L, \; \lambda / L), \qquad
      u_{t+1} = z_t + \frac{\tau_t - 1}{\tau_{t+1}} (z_t - z_{t-1}), \qquad
      \tau_{t+1} = \tfrac12 \big(1 + \sqrt{1 + 4 \tau_t^2}\big)$$

    Args:
        steps: the most steps to make.

    Reference:
        A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems (Beck and
        Teboulle, 2009), https://doi.org/10.1137/080716542; Adaptive Restart for Accelerated
        Gradient Schemes (O'Donoghue and Candès, 2015), https://arxiv.org/abs/1204.3982
    """

    def step(self, problem: Lasso, curvature: Tensor, target: Tensor, at: Motion) -> Motion:
        """One step for targets `(n, d)`."""
        correlation = problem.residual(target, at.ahead) @ problem.atoms.T
        z = shrink(at.ahead + correlation / curvature, float(problem.penalty / curvature))
        moved = z - at.z
        uphill = ((at.ahead - z) * moved).sum(1, keepdim=True) > 0
        momentum = torch.where(uphill, 1.0, at.momentum)
        grown = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
        return Motion(z, torch.addcmul(z, (momentum - 1) / grown, moved), grown)


@dataclass(frozen=True)
class CyclicCoordinateDescent(Shrinkage):
    r"""Minimise over one coefficient after the other; a step is a sweep over all of them.

    $$z_j \leftarrow \mathrm{shrink}(a_j^\top (y - W z) + \|a_j\|^2 z_j, \; \lambda) / \|a_j\|^2$$

    Args:
        steps: the most sweeps to make.

    Reference:
        Pathwise Coordinate Optimization (Friedman et al., 2007),
        https://doi.org/10.1214/07-AOAS131
    """

    def curvature(self, problem: Lasso) -> Tensor:
        """The squared length of each atom, `(k,)`."""
        return problem.atoms.square().sum(1)

    def step(self, problem: Lasso, curvature: Tensor, target: Tensor, at: Motion) -> Motion:
        """One sweep for targets `(n, d)`."""
        z = at.z.T.clone()
        residual = problem.residual(target, at.z).T.contiguous()
        for j in torch.nonzero(curvature > 0).flatten().tolist():
            atom, squared = problem.atoms[j], curvature[j]
            fresh = shrink(atom @ residual + squared * z[j], problem.penalty) / squared
            residual.addr_(atom, fresh - z[j], alpha=-1)
            z[j] = fresh
        return Motion.at(z.T.contiguous())


def shrink_until(
    method: Shrinkage,
    problem: Lasso,
    target: Tensor,
    *,
    start: Tensor | None,
    tolerance: float,
    dtype: torch.dtype,
) -> Solved:
    """Step until every item's relative duality gap is within the tolerance, or steps run out.

    Items are solved in float32 first, then finished and certified in float64; those that are done
    take no further part.
    """
    n, k = len(target), len(problem.atoms)
    z = target.new_zeros(n, k) if start is None else start.to(target.dtype)
    made = torch.zeros(n, dtype=torch.int64, device=target.device)
    for precision, enough in ((torch.float32, max(tolerance, _COARSE)), (target.dtype, tolerance)):
        cast = problem._replace(atoms=problem.atoms.to(precision))
        curvature = method.curvature(cast)
        for part in torch.arange(n, device=target.device).split(_BLOCK):
            rows, at = part, Motion.at(z[part].to(precision))
            points = target[part].to(precision)
            while True:
                # Of the codes as they will be returned.
                rounded = at.z.to(dtype).to(precision)
                settled = certificate(cast, points, rounded).gap <= enough
                settled |= made[rows] >= method.steps
                z[rows[settled]] = at.z[settled].to(z.dtype)
                if bool(settled.all()):
                    break
                rows, points = rows[~settled], points[~settled]
                at = Motion(*[state[~settled] for state in at])
                for _ in range(min(_EVERY, method.steps - int(made[rows].amax()))):
                    at = method.step(cast, curvature, points, at)
                    made[rows] += 1
    codes = z.to(dtype)
    found = [
        certificate(problem, target[part], codes[part].to(target.dtype))
        for part in torch.arange(n, device=target.device).split(_BLOCK)
    ]
    value, gap = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Solved(codes, value, gap, made)


class Path(NamedTuple):
    """How a method came down.

    Attributes:
        z: the codes after the last step, `(n, k)`.
        energy: E(y, z) before the first and after every step, `(steps + 1, n)`.
    """

    z: Tensor
    energy: Tensor


@torch.no_grad()
def follow(energy: Energy, y: Tensor, method: Shrinkage, *, start: Tensor | None = None) -> Path:
    """Make all steps of a method and record the energy after each, to compare methods.

    `lowland.infer` is the way to the best code; this shows how slower ways get there.

    Args:
        energy: an energy with a `Sparse` latent and a linear decoder.
        y: `(n, *event)`.
        method: `ISTA`, `FISTA` or `CyclicCoordinateDescent`.
        start: codes to start from, `(n, k)`; zeros if None.

    Raises:
        CapabilityError: the energy's latent is not `Sparse`, or its decoder not linear.
        ShapeError: y or start has the wrong shape.

    Example:
        >>> energy = ll.energies.SparseCoding(torch.eye(2), penalty=1.0)
        >>> follow(energy, torch.tensor([[3.0, 0.5]]), ISTA(steps=2)).energy.flatten()
        tensor([4.6250, 2.6250, 2.6250])
    """
    if not (isinstance(energy.latent, Sparse) and isinstance(energy, DecodesLinearly)):
        raise CapabilityError(
            f"{type(method).__name__} infers Sparse latents with a linear decoder. "
            f"{type(energy).__name__} has the latent {energy.latent}: use lowland.infer."
        )
    batch = check_y(energy, y)
    decoder = energy.linear_decoder()
    problem = lasso(energy.latent, decoder, y.dtype)
    target = targets(decoder, y.reshape(-1, *energy.event), y.dtype)
    if start is None:
        start = target.new_zeros(len(target), len(problem.atoms))
    else:
        energy.latent.check(start, batch)
        start = start.reshape(len(target), -1)
    at, curvature = Motion.at(start), method.curvature(problem)
    values = [problem.value(target, at.z)]
    for _ in range(method.steps):
        at = method.step(problem, curvature, target, at)
        values.append(problem.value(target, at.z))
    path = torch.stack(values).reshape(-1, *batch)
    return Path(at.z.reshape(*batch, -1), path)
