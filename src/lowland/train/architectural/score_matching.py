"""Score matching: flat and curved upward at the data, with no noise and no negatives."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland._random import integers
from lowland.capabilities import Curves
from lowland.energy import Energy
from lowland.latent import Grid, NoLatent, OneHot
from lowland.train.slopes import slope, without_slopes
from lowland.train.strategy import GradientStrategy, Outcome

# From so many directions on, all derivatives at once are quicker than one after another.
_TOGETHER = 4


def _unsuited(energy: Energy, owner: str) -> str | None:
    if not isinstance(energy.latent, NoLatent | OneHot | Grid):
        return (
            f"{owner} needs the curvature of the free energy, and that of {type(energy).__name__} "
            f"is not known: its latent {energy.latent} moves with y. Use DenoisingScoreMatching."
        )
    return without_slopes(energy, owner)


def _flat(energy: Energy, owner: str) -> CapabilityError:
    return CapabilityError(
        f"{owner} needs curvature in y, and {type(energy).__name__} has none at these data. "
        f"Piecewise linear activations such as ReLU have none anywhere: use smooth ones (SiLU, "
        f"softplus, tanh), or DenoisingScoreMatching."
    )


@dataclass(frozen=True)
class ScoreMatching(GradientStrategy):
    r"""Make the energy flat at the data and curved upward around them.

    $$L = \frac1n \sum_i \left( \tfrac12 \|\nabla_y F(y_i)\|^2
      - \mathrm{tr}\, \nabla_y^2 F(y_i) \right)$$

    F is the free energy at beta = 1. L is, up to a constant, half the mean squared distance between
    the score of the Gibbs distribution and that of the data, and needs no log partition function.
    A step costs as much as one gradient for each element of y, a third of that where the energy
    carries its own curvature forward: take `SlicedScoreMatching` for long ones.
    Where regions of data are far apart, the score says nothing of how much mass each has: the
    weights of modes are not learned.

    Raises:
        CapabilityError: y has no slopes, the latent is neither absent nor finite, or the energy
            has no curvature.

    Reference:
        Estimation of Non-Normalized Statistical Models by Score Matching (Hyvärinen, 2005),
        https://www.jmlr.org/papers/v6/hyvarinen05a.html

    Example:
        >>> ScoreMatching()
        ScoreMatching()
    """

    kind: ClassVar[str] = "architectural"

    def unsuited(self, energy: Energy) -> str | None:
        """Why not: no slopes, no curvature, or nothing is left to train."""
        return _unsuited(energy, "ScoreMatching") or super().unsuited(energy)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """Half the squared slope less the trace of the curvature, the mean over the items."""
        if isinstance(energy, Curves) and isinstance(energy.latent, NoLatent):
            along, curvature = energy.curve(y.detach(), x=x)
            squared, trace = along.square().sum(0), _unless_flat(curvature)
        else:
            y = y.detach().requires_grad_()
            gradient = slope(energy, y, x, "ScoreMatching", beta=1.0)
            squared, trace = gradient.flatten(1).square().sum(1), _trace(gradient, y)
        if trace is None:
            raise _flat(energy, "ScoreMatching")
        return Outcome((squared / 2 - trace).mean())


@dataclass(frozen=True)
class SlicedScoreMatching(GradientStrategy):
    r"""Score matching with the curvature along random directions only.

    $$L = \frac1n \sum_i \left( \tfrac12 \|\nabla_y F(y_i)\|^2
      - \frac1m \sum_{j=1}^m v_{ij}^\top \nabla_y^2 F(y_i)\, v_{ij} \right)$$

    with v random signs, so that the mean over v is `ScoreMatching`'s loss, at the cost of m
    gradients whatever the length of y, or of about m / 2 where the energy carries its own curvature
    forward. The slope, whose square is exact, is computed once for all directions (the
    variance-reduced form).

    Args:
        slices: m, how many directions an item has at a step.

    Raises:
        DomainError: there is no slice.
        CapabilityError: as for `ScoreMatching`.

    Reference:
        Sliced Score Matching: A Scalable Approach to Density and Score Estimation (Song et al.,
        2019), https://arxiv.org/abs/1905.07088

    Example:
        >>> SlicedScoreMatching(slices=4)
        SlicedScoreMatching(slices=4)
    """

    slices: int = 1

    kind: ClassVar[str] = "architectural"

    def __post_init__(self) -> None:
        if isinstance(self.slices, bool) or not isinstance(self.slices, int) or self.slices < 1:
            raise DomainError(
                f"The 'slices' of SlicedScoreMatching must be a whole number of at least 1. Got "
                f"{self.slices!r}."
            )

    def unsuited(self, energy: Energy) -> str | None:
        """Why not: no slopes, no curvature, or nothing is left to train."""
        return _unsuited(energy, "SlicedScoreMatching") or super().unsuited(energy)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """Half the squared slope less the mean curvature along the slices."""
        y = y.detach().requires_grad_()
        gradient = slope(energy, y, x, "SlicedScoreMatching", beta=1.0)
        squared = gradient.square().sum()
        # Signs rather than normal numbers: the diagonal of the curvature then counts exactly.
        shape = (self.slices, *y.shape)
        signs = 2 * integers(2, shape, generator, like=y).to(y.dtype) - 1
        curvature: Tensor | None
        if self.slices > 1 and isinstance(energy, Curves) and isinstance(energy.latent, NoLatent):
            # Of several slices the sum is carried forward at once, for less than one derivative
            # after another takes.
            curvature = _unless_flat(energy.curve(y.detach(), signs, x=x)[1])
        else:
            along = _derivatives(gradient, y, signs)
            curvature = None if along is None else along * signs
        if curvature is None:
            raise _flat(energy, "SlicedScoreMatching")
        loss = (squared / 2 - curvature.sum() / self.slices) / len(y)
        return Outcome(loss)


def _unless_flat(curvature: Tensor) -> Tensor | None:
    return curvature if bool((curvature != 0).any()) else None


def _derivatives(gradient: Tensor, y: Tensor, directions: Tensor) -> Tensor | None:
    """The curvature times each direction, `(m, n, *event)`; None if all of it is zero."""
    if len(directions) >= _TOGETHER:
        (rows,) = torch.autograd.grad(
            gradient, y, directions, create_graph=True, is_grads_batched=True, allow_unused=True
        )
    else:
        found = [
            torch.autograd.grad(gradient, y, one, create_graph=True, allow_unused=True)[0]
            for one in directions
        ]
        rows = None if found[0] is None else torch.stack(found)
    return None if rows is None else _unless_flat(rows)


def _trace(gradient: Tensor, y: Tensor) -> Tensor | None:
    """The sum of the second derivatives of each item, `(n,)`; None if all are zero."""
    d = y[0].numel()
    basis = torch.eye(d, dtype=y.dtype, device=y.device)
    basis = basis.reshape(d, 1, *y.shape[1:]).expand(d, *y.shape)
    rows = _derivatives(gradient, y, basis)
    return None if rows is None else rows.flatten(2).diagonal(dim1=0, dim2=2).sum(1)
