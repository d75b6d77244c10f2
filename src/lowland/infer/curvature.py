"""How wide the well of E around each mode is, for methods that must place points there."""

from typing import NamedTuple

import torch
from torch import Tensor

from lowland.energy import Energy
from lowland.infer.descent import Function, value_and_gradient
from lowland.infer.smooth import parts, smooth_part
from lowland.latent import Ball, Continuous, Normal, Sparse

# Where E is flat, or bent the wrong way, the well is taken to be no wider than so: this share of
# its largest curvature, or of that of a normal penalty.
_FLAT = 1e-3
_FLAT_NORMAL = 0.1


class Wells(NamedTuple):
    r"""A normal approximation at each mode, in units of exp(-beta E).

    Attributes:
        mode: `(n, s, m)`; a little inside for one on the surface of a ball, where the mass is.
        energy: E at the modes, `(n, s)`.
        scale: S with S Sᵀ the covariance, `(n, s, m, m)`; diagonal for `Sparse`.
        log_determinant: log |det S|, `(n, s)`.
        narrowest: a length below which exp(-beta E) is smooth there, `(n, s)`.
    """

    mode: Tensor
    energy: Tensor
    scale: Tensor
    log_determinant: Tensor
    narrowest: Tensor


def measure_wells(
    energy: Energy,
    latent: Continuous,
    y: Tensor,
    x: Tensor | None,
    mode: Tensor,
    value: Tensor,
    beta: float,
) -> Wells:
    """The wells at modes `(n, s, m)` of energy `(n, s)`."""
    n, count, m = mode.shape
    z = mode.flatten(0, 1)
    item = torch.arange(n, device=y.device).repeat_interleave(count)
    slopes, hessians = [], []
    for part in parts(y, z):
        rows = item[part]
        function = smooth_part(energy, latent, y[rows], None if x is None else x[rows])
        slopes.append(value_and_gradient(function, z[part])[1])
        hessians.append(_hessian(function, z[part]))
    hessian, slope = torch.cat(hessians), torch.cat(slopes)
    precision = beta * (hessian + hessian.mT) / 2
    if isinstance(latent, Sparse):
        # exp(-λ|z|) is a Laplace density of variance 2 / λ², and no wider along its kink.
        laplace = (beta * latent.penalty) ** 2 / 2
        curved = precision.diagonal(dim1=1, dim2=2) + torch.where(z == 0, laplace, 0.0)
        precision = curved.diag_embed()
    centre = z
    if isinstance(latent, Ball):
        precision, centre = _at_the_surface(latent, beta, precision, slope, z)
    values, basis = torch.linalg.eigh(precision)
    values = values.clamp(min=_floor(latent, beta, values))
    log_determinant = -values.log().sum(1) / 2
    steep = beta * slope.norm(dim=1)
    if isinstance(latent, Sparse):
        steep = steep + beta * latent.penalty
    narrowest = (values[:, -1] + steep.square()).rsqrt()
    return Wells(
        centre.reshape(mode.shape),
        value,
        (basis * values.rsqrt().unsqueeze(1)).reshape(n, count, m, m),
        log_determinant.reshape(n, count),
        narrowest.reshape(n, count),
    )


def _at_the_surface(
    latent: Ball, beta: float, precision: Tensor, slope: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """The precision and the centre of the mass at modes that the surface of the ball holds back.

    There exp(-beta E) falls inwards as fast as the slope says, along the surface as fast as the
    multiplier of the constraint bends it, and the surface curves away below the mass.
    """
    radius = latent.radius
    length = z.norm(dim=1, keepdim=True)
    held = length >= radius * (1 - 1e-6)
    steep = torch.where(held, beta * slope.norm(dim=1, keepdim=True), 0.0)
    outward = z / length.clamp(min=radius / 2)
    radial = (steep * outward).unsqueeze(2)
    eye = torch.eye(latent.m, dtype=z.dtype, device=z.device)
    bent = precision + (steep / radius).unsqueeze(2) * eye
    along = bent.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).clamp(min=1 / radius**2)
    depth = ((latent.m - 1) / (2 * radius * along)).clamp(max=radius / 2)
    inner = torch.where(held & (steep > 0), z - depth * outward, z)
    return bent + radial * radial.mT, inner


def _floor(latent: Continuous, beta: float, values: Tensor) -> Tensor:
    match latent:
        case Normal():
            least = torch.full_like(values[:, -1], _FLAT_NORMAL * beta)
        case Ball():
            least = torch.full_like(values[:, -1], (latent.m + 2) / latent.radius**2)
        case _:
            least = _FLAT * values[:, -1].clamp(min=beta * _FLAT)
    return least.unsqueeze(1)


def _hessian(function: Function, z: Tensor) -> Tensor:
    """The second derivatives of each item, `(r, m, m)`; 0 where the function is linear in z."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = function(z).sum()
        zero = torch.zeros(len(z), z.shape[1], z.shape[1], dtype=z.dtype, device=z.device)
        if not value.requires_grad:
            return zero
        (slope,) = torch.autograd.grad(value, z, create_graph=True, allow_unused=True)
        if slope is None or not slope.requires_grad:
            return zero
        rows = []
        for j in range(z.shape[1]):
            (row,) = torch.autograd.grad(slope[:, j].sum(), z, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(z) if row is None else row)
    return torch.stack(rows, 1).detach()
