"""Covariance matrices: their shapes, as whitening matrices, and a floor under their eigenvalues."""

import torch
from torch import Tensor

from lowland._errors import ShapeError


def whitening_of(covariances: Tensor) -> tuple[Tensor, Tensor]:
    r"""The lower triangular W with a positive diagonal for which W y has unit covariance.

    $$\Sigma = L L^\top, \qquad W = L^{-1}, \qquad \Sigma^{-1} = W^\top W$$

    Args:
        covariances: `(k, d, d)`, or their diagonals `(k, d)`.

    Returns:
        W, or its diagonal, of the same shape; and which of the k are not positive definite, `(k,)`
        bool, whose W means nothing.

    Example:
        >>> whitening_of(torch.tensor([[4.0, 1.0]]))
        (tensor([[0.5000, 1.0000]]), tensor([False]))
    """
    if covariances.dim() == 2:
        singular = ~((covariances > 0) & torch.isfinite(covariances)).all(1)
        return covariances.rsqrt(), singular
    factor, failed = torch.linalg.cholesky_ex(covariances)
    # What an element varies beyond what those before it explain; rounding may leave a little.
    left = factor.diagonal(dim1=-2, dim2=-1).square()
    rounding = 8 * torch.finfo(covariances.dtype).eps
    explained = left <= rounding * covariances.diagonal(dim1=-2, dim2=-1)
    singular = (failed > 0) | explained.any(1) | ~torch.isfinite(covariances).flatten(1).all(1)
    return inverse_triangular(factor), singular


def inverse_triangular(triangle: Tensor) -> Tensor:
    """The inverses of lower triangular matrices, `(*batch, d, d)`."""
    unit = torch.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)
    inverse: Tensor = torch.linalg.solve_triangular(triangle, unit.expand_as(triangle), upper=False)
    return inverse


def lower_triangular(diagonal: Tensor, below: Tensor) -> Tensor:
    """Matrices `(k, d, d)` from their diagonals `(k, d)` and, row by row, what lies below."""
    k, d = diagonal.shape
    row, column = _below(diagonal)
    flat = diagonal.new_zeros(k, d * d).index_copy(1, row * d + column, below)
    return flat.reshape(k, d, d) + torch.diag_embed(diagonal)


def below_diagonal(triangle: Tensor) -> Tensor:
    """What lies below the diagonals of `(k, d, d)`, row by row, `(k, d (d - 1) / 2)`."""
    row, column = _below(triangle)
    return triangle[:, row, column]


def _below(like: Tensor) -> Tensor:
    d = like.shape[-1]
    return torch.tril_indices(d, d, -1, device=like.device)


def at_least(covariances: Tensor, floor: float) -> Tensor:
    r"""The covariances with eigenvalues raised to a floor: the likeliest ones that respect it.

    $$\arg\min_{\Sigma \succeq f I} \; \log \det \Sigma + \operatorname{tr} \Sigma^{-1} S
      = Q \max(\Lambda, f) Q^\top, \qquad S = Q \Lambda Q^\top$$

    Args:
        covariances: S, `(k, d, d)`, or their diagonals `(k, d)`.
        floor: f, not negative.

    Example:
        >>> at_least(torch.tensor([[4.0, 0.0]]), 0.5)
        tensor([[4.0000, 0.5000]])
    """
    if covariances.dim() == 2:
        return covariances.clamp(min=floor)
    unit = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    # An eigenvalue lies under the floor exactly if the rest is not positive definite.
    _, failed = torch.linalg.cholesky_ex(covariances - floor * unit)
    low = torch.nonzero(failed > 0).flatten()
    if not len(low) or not bool(torch.isfinite(covariances).all()):
        return covariances
    values, vectors = torch.linalg.eigh(covariances[low])
    raised = (vectors * values.clamp(min=floor).unsqueeze(-2)) @ vectors.mT
    return covariances.index_copy(0, low, (raised + raised.mT) / 2)


def check_shapes(weights: Tensor, means: Tensor, covariances: Tensor) -> bool:
    """Whether the covariances are full matrices; raise unless the shapes fit together."""
    if means.dim() < 2 or len(means) == 0 or not means.is_floating_point():
        raise ShapeError(
            f"The 'means' of GaussianMixture must be floating point, of shape (k, *event) with k "
            f"of at least 1 and an event axis. Got {means.dtype} of shape {tuple(means.shape)}."
        )
    k, d = len(means), means[0].numel()
    full = tuple(covariances.shape) == (k, d, d)
    if tuple(weights.shape) != (k,) or not (full or covariances.shape == means.shape):
        raise ShapeError(
            f"GaussianMixture with 'means' of shape {tuple(means.shape)} needs 'weights' of shape "
            f"{(k,)} and 'covariances' of shape {(k, d, d)} (full) or {tuple(means.shape)} "
            f"(diagonal). Got {tuple(weights.shape)} and {tuple(covariances.shape)}."
        )
    return full
