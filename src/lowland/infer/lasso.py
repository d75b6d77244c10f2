"""The lasso: what sparse inference with a linear decoder is, and how far from its minimum z is."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.capabilities import LinearDecoder
from lowland.latent import Sparse


class Lasso(NamedTuple):
    r"""Many least squares problems with one dictionary and an ℓ1 penalty.

    $$P(z) = \tfrac12 \|t - \textstyle\sum_j z_j a_j\|^2 + \lambda \|z\|_1$$

    Attributes:
        atoms: the rows a_j, `(k, d)`.
        penalty: λ, not negative.
    """

    atoms: Tensor
    penalty: float

    def residual(self, targets: Tensor, z: Tensor) -> Tensor:
        """What the atoms leave unexplained, `(n, d)`."""
        return torch.addmm(targets, z, self.atoms, alpha=-1)

    def value(self, targets: Tensor, z: Tensor) -> Tensor:
        """P(z) of each item, `(n,)`."""
        return self.residual(targets, z).square().sum(1) / 2 + self.penalty * z.abs().sum(1)


def lasso(latent: Sparse, decoder: LinearDecoder, dtype: torch.dtype = torch.float64) -> Lasso:
    """The lasso of a sparse latent and its decoder, with the precision p moved into the atoms."""
    scale = math.sqrt(decoder.precision)
    return Lasso(scale * decoder.weight.detach().T.to(dtype).contiguous(), latent.penalty)


def targets(decoder: LinearDecoder, y: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """What the atoms have to explain of items `(n, *event)`, `(n, d)`."""
    centred = y.detach().flatten(1).to(dtype) - decoder.offset.detach().to(dtype)
    return math.sqrt(decoder.precision) * centred


class Certificate(NamedTuple):
    """How good codes are.

    Attributes:
        value: P(z), `(n,)`.
        gap: an upper bound on (P(z) − min P) / P(z), `(n,)`.
    """

    value: Tensor
    gap: Tensor


def certify(
    penalty: float, squared: Tensor, length: Tensor, explained: Tensor, largest: Tensor
) -> Certificate:
    r"""The relative duality gap, from numbers that lose no digits near the minimum.

    The residual r, shrunk by s ≤ 1 until no atom correlates with it by more than λ, is a point of
    the dual problem, and

    $$P(z) - D(s r) = \tfrac12 (1 - s)^2 \|r\|^2 + \lambda \|z\|_1 - s \langle r, A z \rangle$$

    Args:
        penalty: λ.
        squared: the squared length of r, `(n,)`.
        length: the sum of absolute values of z, `(n,)`.
        explained: the inner product of r with what the atoms explain, `(n,)`.
        largest: the largest absolute correlation of r with an atom, `(n,)`.
    """
    smallest = torch.finfo(squared.dtype).tiny
    scale = (penalty / largest.clamp(min=smallest)).clamp(max=1)
    value = squared / 2 + penalty * length
    gap = squared / 2 * (1 - scale).square() + penalty * length - scale * explained
    # Without a residual and a code the minimum is 0, and has been found.
    return Certificate(value, gap.clamp(min=0) / value.clamp(min=smallest))


def certificate(problem: Lasso, target: Tensor, z: Tensor) -> Certificate:
    """The value and the relative duality gap of codes `(n, k)` for targets `(n, d)`."""
    residual = problem.residual(target, z)
    correlation = residual @ problem.atoms.T
    if problem.penalty == 0:
        return _least_squares(problem, target, residual)
    return certify(
        problem.penalty,
        residual.square().sum(1),
        z.abs().sum(1),
        (z * correlation).sum(1),
        correlation.abs().amax(1),
    )


def _least_squares(problem: Lasso, target: Tensor, residual: Tensor) -> Certificate:
    """Without a penalty, what the atoms could still explain of the residual is the gap."""
    value = residual.square().sum(1) / 2
    possible = residual @ torch.linalg.pinv(problem.atoms) @ problem.atoms
    # A residual at the level of rounding is no residual.
    floor = torch.finfo(value.dtype).eps * target.square().sum(1) / 2
    smallest = torch.finfo(value.dtype).tiny
    gap = possible.square().sum(1) / 2 / torch.maximum(value, floor).clamp(min=smallest)
    return Certificate(value, gap)


def duality_gap(latent: Sparse, decoder: LinearDecoder, y: Tensor, z: Tensor) -> Tensor:
    """How far E(y, z) can lie above its minimum over z, relative to E, in float64, `(n,)`.

    Example:
        >>> decoder = ll.capabilities.LinearDecoder(torch.eye(2), torch.zeros(2), 1.0)
        >>> latent = ll.latent.Sparse(2, penalty=1.0)
        >>> y = torch.tensor([[3.0, 0.5]])
        >>> duality_gap(latent, decoder, y, torch.tensor([[2.0, 0.0]]))
        tensor([0.], dtype=torch.float64)
    """
    return certificate(lasso(latent, decoder), targets(decoder, y), z.detach().double()).gap
