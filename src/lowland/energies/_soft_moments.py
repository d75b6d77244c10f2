"""Passes of expectation-maximisation over fixed data: two matrix products each."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.capabilities import SoftlySwept
from lowland.energies._covariances import at_least, inverse_triangular, whitening_of

# A block of features is read by two products; much smaller ones cost more calls than they save.
_BLOCK_BYTES = 4 * 2**20
# The expansion is believed if its rounding stays under this many times the root of the unit in the
# last place, in nats an item: 3e-3 in float32, 1e-7 in float64.
_TRUSTED = 8


class Components(NamedTuple):
    """Gaussians with weights, in float64.

    Attributes:
        log_weights: `(k,)`.
        means: `(k, d)`.
        whitening: `(k, d, d)` lower triangular, or its diagonal `(k, d)`.
    """

    log_weights: Tensor
    means: Tensor
    whitening: Tensor


class SoftMoments:
    r"""One fused pass: responsibilities, the moments they weigh, and the log density.

    With the features $\phi(u) = (1, u, \operatorname{vech}(u u^\top))$ of the whitened datum u,
    every log density is one product $C \phi$ and every moment one product $R \phi^\top$. Features
    live in one reused block. Products are in the data's precision inside a block, sums in float64
    across blocks. Diagonal covariances need the squares of u only.

    Args:
        y: the data, `(n, *event)`; neither copied nor changed.
        k: the number of components.
        full: whether covariances are full matrices.
    """

    def __init__(self, y: Tensor, k: int, *, full: bool) -> None:
        self.y, self.k, self.full = y, k, full
        self.d = d = y[0].numel()
        self._features = 1 + d + (d * (d + 1) // 2 if full else d)
        fitting = _BLOCK_BYTES // (self._features * y.element_size())
        rows = max(256, min(4096, 1 << int(math.log2(max(1, fitting)))))
        if y.device.type != "cpu":
            rows *= 64
        self._rows = min(rows, len(y))
        self._block = y.new_ones(self._features, self._rows)
        self.centre, self.spread = self._frame()
        self._inward = _inverse(self.spread).to(y.dtype)
        self._offset = self.centre.to(y.dtype)

    def __call__(self, components: Components) -> SoftlySwept:
        """One pass; components too narrow for the expansion are compared one by one."""
        inward, away = _inverse(self.spread), components.means - self.centre
        means = away @ inward.T if self.full else away * inward
        shape = _compose(components.whitening, self.spread)  # W L: whitens u, not y
        precision = shape.mT @ shape if self.full else shape.square()
        eps = torch.finfo(self.y.dtype).eps
        lost = eps * _sizes(means, precision) > _TRUSTED * math.sqrt(eps)
        narrow = [
            _Narrow(j, components, self.y.dtype) for j in torch.nonzero(lost).flatten().tolist()
        ]
        # Their rows of the product are not read; zeros keep them finite.
        precision = precision.masked_fill(lost.reshape(-1, *[1] * (precision.dim() - 1)), 0)
        coefficients = self._coefficients(components, means, precision).to(self.y.dtype)
        total = torch.zeros(self.k, self._features, dtype=torch.float64, device=self.y.device)
        log_density, largest = total.new_zeros(()), total.new_zeros(())
        # A sum in float32 keeps its digits over as many items as a block of them has.
        for start in range(0, len(self.y), self._rows):
            points = self.y[start : start + self._rows].reshape(-1, self.d)
            features = self._expand(points)
            scores = coefficients @ features
            for component in narrow:
                scores[component.j] = component.scores(points)
            best = scores.amax(0)
            part = scores.sub_(best).exp_()
            norm = part.sum(0)
            part /= norm
            largest += best.sum(dtype=torch.float64)
            log_density += norm.log_().sum(dtype=torch.float64)
            total += part @ features.T
            for component in narrow:
                component.weigh(points, part[component.j])
        statistics = self._moments(total, means)
        for component in narrow:
            statistics["sums"][component.j] = component.sums
            statistics["squares"][component.j] = component.squares
        return SoftlySwept(-(largest + log_density), -largest, statistics["counts"], statistics)

    def _frame(self) -> tuple[Tensor, Tensor]:
        """Mean of the data and the L of their covariance L Lᵀ, both of a sample of rows."""
        sample = self.y[:: max(1, len(self.y) // 8192)].flatten(1).double()
        centre = sample.mean(0)
        away = sample - centre
        covariance = away.T @ away / len(sample) if self.full else away.square().mean(0)
        scale = float((covariance.diagonal() if self.full else covariance).max())
        # Any frame is exact; a floor far above rounding makes it one that can be inverted.
        raised = at_least(covariance.unsqueeze(0), 1e-8 * scale)
        whitening, singular = whitening_of(raised)
        if bool(singular.any()):  # items that are all the same have no scale
            unit = torch.eye(self.d, dtype=torch.float64, device=self.y.device)
            return centre, unit if self.full else unit.diagonal()
        return centre, _inverse(whitening[0])

    def _expand(self, points: Tensor) -> Tensor:
        """Phi, `(features, rows)`."""
        points = points - self._offset
        whole = len(points) == self._rows
        block = self._block if whole else self._block.new_ones(self._features, len(points))
        d, at = self.d, 1 + self.d
        u = block[1:at]
        if not self.full:
            torch.mul(points.T, self._inward.unsqueeze(1), out=u)
            torch.mul(u, u, out=block[at:])
            return block
        torch.mm(self._inward, points.T, out=u)
        for i in range(d):
            torch.mul(u[i:], u[i], out=block[at : at + d - i])
            at += d - i
        return block

    def _coefficients(self, components: Components, means: Tensor, precision: Tensor) -> Tensor:
        """C, `(k, features)` float64."""
        slope = _each(precision, means)
        diagonal = components.whitening
        if self.full:
            diagonal = diagonal.diagonal(dim1=-2, dim2=-1)
        constant = (
            components.log_weights
            + diagonal.log().sum(1)
            - self.d / 2 * math.log(2 * math.pi)
            - (means * slope).sum(1) / 2
        )
        if self.full:
            row, column = self._upper()
            halves = torch.where(row == column, 0.5, 1.0).to(precision)
            precision = precision[:, row, column] * halves
        else:
            precision = precision / 2
        return torch.cat([constant.unsqueeze(1), slope, -precision], 1)

    def _moments(self, total: Tensor, means: Tensor) -> dict[str, Tensor]:
        """Moments about the means of the components, in the units of y."""
        d = self.d
        counts, sums, squares = total[:, 0], total[:, 1 : 1 + d], total[:, 1 + d :]
        shifted = sums - counts.unsqueeze(1) * means
        if not self.full:
            squares = squares - means * (sums + shifted)
            sums, squares = shifted * self.spread, squares * self.spread.square()
            return {"counts": counts, "sums": sums, "squares": squares}
        row, column = self._upper()
        matrix = total.new_zeros(self.k, d, d)
        matrix[:, row, column] = squares
        matrix[:, column, row] = squares
        cross = sums.unsqueeze(2) * means.unsqueeze(1)
        matrix = matrix - cross - means.unsqueeze(2) * shifted.unsqueeze(1)
        matrix = self.spread @ matrix @ self.spread.T
        return {"counts": counts, "sums": shifted @ self.spread.T, "squares": matrix}

    def _upper(self) -> tuple[Tensor, Tensor]:
        row, column = torch.triu_indices(self.d, self.d, device=self.y.device).unbind(0)
        return row, column


def _inverse(triangle: Tensor) -> Tensor:
    """The inverse of a lower triangular matrix, or of a diagonal given as a vector."""
    return triangle.reciprocal() if triangle.dim() == 1 else inverse_triangular(triangle)


def _each(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Each of k matrices, or diagonals, times its vector, `(k, d)`."""
    if matrices.dim() == 2:
        return matrices * vectors
    product: Tensor = (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
    return product


def _compose(whitening: Tensor, spread: Tensor) -> Tensor:
    """W L for each W."""
    return whitening @ spread if spread.dim() == 2 else whitening * spread


def _sizes(means: Tensor, precision: Tensor) -> Tensor:
    """The sum of the terms that must cancel where a component's own items lie, `(k,)`."""
    if precision.dim() == 2:
        return (means.square() * precision).sum(1)
    return ((means.abs().unsqueeze(1) @ precision.abs()).squeeze(1) * means.abs()).sum(1)


class _Narrow:
    """One component's log densities and moments, by differences from its mean."""

    def __init__(self, j: int, components: Components, dtype: torch.dtype) -> None:
        self.j = j
        whitening = components.whitening[j]
        self.full = whitening.dim() == 2
        diagonal = whitening.diagonal() if self.full else whitening
        self.mean, self.whitening = components.means[j].to(dtype), whitening.to(dtype)
        volume = len(diagonal) / 2 * math.log(2 * math.pi)
        self.constant = float(components.log_weights[j] + diagonal.log().sum()) - volume
        self.sums, self.squares = torch.zeros_like(diagonal), torch.zeros_like(whitening)

    def scores(self, points: Tensor) -> Tensor:
        """The log of weight times density, `(rows,)`."""
        away = points - self.mean
        white = away @ self.whitening.T if self.full else away * self.whitening
        return self.constant - white.square().sum(1) / 2

    def weigh(self, points: Tensor, share: Tensor) -> None:
        """Take the items into the moments about the mean, each by its share."""
        away = points - self.mean
        weighed = away * share.unsqueeze(1)
        self.sums += weighed.sum(0)
        self.squares += weighed.T @ away if self.full else (weighed * away).sum(0)
