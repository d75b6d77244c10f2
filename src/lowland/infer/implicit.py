"""The best sparse code as a function of y and the dictionary, with its slopes."""

import math

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._errors import CapabilityError, DomainError
from lowland._shapes import flatten_batch
from lowland.capabilities import DecodesLinearly
from lowland.energy import Energy
from lowland.infer.proximal import solve_sparse
from lowland.infer.search import Search
from lowland.latent import Sparse

# Pivots of a Gram matrix smaller than this part of the largest mean that atoms are dependent.
_SINGULAR = 1e-10
# An atom could be used if its correlation with the residual is within this part of the penalty.
_TOUCHING = 1e-6


def implicit(energy: Energy, y: Tensor, *, tolerance: float = 1e-12) -> Tensor:
    r"""Find the best sparse code, differentiable in y and in the dictionary.

    On the support A of z* the optimum satisfies
    $$W_A^\top (y - W_A z_A) = \lambda \operatorname{sign}(z_A)$$
    which defines z_A as a smooth function of y and W as long as the support does not change; its
    derivative follows from the implicit function theorem, without unrolling a solver. The gradient
    of F itself needs none of this: there z* may be held fixed.

    Args:
        energy: an energy with a `Sparse` latent and a linear decoder.
        y: `(*batch, *event)`.
        tolerance: the relative duality gap of the code.

    Returns:
        z*, `(*batch, k)`.

    Raises:
        CapabilityError: the latent is not `Sparse`, or the decoder not linear.
        DomainError: atoms that an item uses are linearly dependent, so that z* is no function.

    Reference:
        Task-Driven Dictionary Learning (Mairal, Bach and Ponce, 2012),
        https://arxiv.org/abs/1009.5358

    Example:
        >>> energy = ll.energies.SparseCoding(torch.eye(2), penalty=1.0)
        >>> y = torch.tensor([[3.0, 0.5]], requires_grad=True)
        >>> z = implicit(energy, y)
        >>> torch.autograd.grad(z.sum(), y)
        (tensor([[1., 0.]]),)
    """
    if not (isinstance(energy.latent, Sparse) and isinstance(energy, DecodesLinearly)):
        raise CapabilityError(
            f"implicit differentiates Sparse codes of a linear decoder. {type(energy).__name__} "
            f"has the latent {energy.latent}: use lowland.infer for codes without gradients."
        )
    batch = check_y(energy, y)
    points = flatten_batch(y, batch)
    decoder = energy.linear_decoder()
    search = Search(tolerance=tolerance)
    z = solve_sparse(energy.latent, decoder, points.detach(), search).z
    if z is None:
        raise CapabilityError(f"{energy.latent} gave no code.")
    # One step of Newton's method from z*, with the matrix held fixed, has the value z* and exactly
    # the slopes that the theorem gives.
    active = z != 0
    width = max(1, int(active.sum(1).amax()))
    index = z.abs().topk(width, 1).indices
    used = active.gather(1, index).to(z.dtype)  # (n, width)
    scale = math.sqrt(decoder.precision)
    atoms = scale * decoder.weight.T[index] * used.unsqueeze(2)  # (n, width, d)
    held = z.gather(1, index)
    target = scale * (points.flatten(1) - decoder.offset)
    residual = target - torch.bmm(held.unsqueeze(1), atoms).squeeze(1)
    slope = torch.bmm(atoms, residual.unsqueeze(2)).squeeze(2)
    slope = slope - energy.latent.penalty * held.sign()
    _require_unique(scale * decoder.weight.T.detach(), residual.detach(), active, energy.latent)
    gram = torch.bmm(atoms, atoms.mT).detach().double()
    gram.diagonal(dim1=1, dim2=2).add_(1 - used)
    factor = torch.linalg.cholesky(gram)
    inverse = torch.cholesky_inverse(factor).to(slope.dtype)
    step = torch.bmm(inverse, slope.unsqueeze(2)).squeeze(2) * used
    return (z.scatter_add(1, index, step)).reshape(*batch, -1)


def _require_unique(atoms: Tensor, residual: Tensor, active: Tensor, latent: Sparse) -> None:
    """The atoms that could be used at no cost must be independent, whichever were chosen."""
    touching = (residual @ atoms.T).abs() >= latent.penalty * (1 - _TOUCHING)
    might = active | touching
    width = max(1, int(might.sum(1).amax()))
    index = might.to(torch.int8).topk(width, 1).indices
    used = might.gather(1, index).double()
    chosen = atoms[index].double() * used.unsqueeze(2)
    gram = torch.bmm(chosen, chosen.mT)
    gram.diagonal(dim1=1, dim2=2).add_(1 - used)
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal(dim1=1, dim2=2)
    singular = (failed > 0) | (pivots.amin(1).square() < _SINGULAR * pivots.amax(1).square())
    if bool(singular.any()):
        raise DomainError(
            f"The atoms used by item {int(torch.nonzero(singular)[0])} are linearly dependent, so "
            f"its best code is not unique and has no slopes. Remove atoms that repeat others."
        )
