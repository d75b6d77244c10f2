"""Exact inference where the decoder is a matrix and the penalty quadratic: one linear system."""

import math

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland.capabilities import LinearDecoder
from lowland.latent import Continuous, Normal, Vector


def _curvature(latent: Continuous, decoder: LinearDecoder) -> Tensor:
    r"""The Hessian of E in z: p WᵀW, plus I for a `Normal` latent, `(m, m)`."""
    gram = decoder.precision * decoder.weight.T @ decoder.weight
    match latent:
        case Normal():
            return gram + torch.eye(latent.m, dtype=gram.dtype, device=gram.device)
        case Vector():
            return gram
        case _:
            raise CapabilityError(f"The best z of {latent} has no closed form.")


def solve_linear(latent: Continuous, decoder: LinearDecoder, y: Tensor) -> Tensor:
    r"""The best z of each item, the shortest one where W leaves a choice, `(n, m)`.

    $$z^* = (p W^\top W + \rho I)^{-1} p W^\top (y - b)$$
    """
    target = decoder.precision * (y.flatten(1) - decoder.offset) @ decoder.weight
    curvature = _curvature(latent, decoder)
    if isinstance(latent, Normal):
        solved: Tensor = torch.linalg.solve(curvature, target.T).T
        return solved
    inverse: Tensor = torch.linalg.pinv(curvature, hermitian=True)
    return target @ inverse


def free_energy_linear(
    latent: Continuous, decoder: LinearDecoder, least: Tensor, beta: float
) -> Tensor:
    r"""F_beta with measure "sum" from F_inf: a Gaussian integral around the best z, `(n,)`.

    $$F_\beta = F_\infty - \frac{1}{2 \beta} \log \det \left( \frac{2 \pi}{\beta} H^{-1} \right)$$

    Raises:
        CapabilityError: W does not determine z, so that the integral is infinite.
    """
    factor, failed = torch.linalg.cholesky_ex(_curvature(latent, decoder))
    if int(failed):
        raise CapabilityError(
            f"F_beta of {latent} is not finite: the decoder does not determine z. Use a Normal "
            f"latent, or fewer elements of z."
        )
    log_determinant = 2 * factor.diagonal().log().sum()
    log_integral = (latent.m * math.log(2 * math.pi / beta) - log_determinant) / 2
    value: Tensor = least - log_integral / beta
    return value
