"""Energies with a formula for everything: to learn from, and to measure methods against."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland._random import normal
from lowland.energy import Energy


class Gaussian(Energy):
    r"""One quadratic well: the Gibbs distribution at beta = 1 is a normal distribution.

    $$E(y) = \tfrac12 (y - \mu)^\top \Sigma^{-1} (y - \mu)$$

    Args:
        mean: μ, `(d,)`.
        covariance: Σ, `(d, d)`, symmetric and positive definite.

    Raises:
        ShapeError: the shapes do not fit.
        DomainError: the covariance is not positive definite.

    Example:
        >>> Gaussian(torch.zeros(2), torch.eye(2))(torch.tensor([[3.0, 4.0]]))
        tensor([12.5000])
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        if mean.dim() != 1 or tuple(covariance.shape) != (len(mean), len(mean)):
            raise ShapeError(
                f"Gaussian needs a mean (d,) and a covariance (d, d). Got {tuple(mean.shape)} and "
                f"{tuple(covariance.shape)}."
            )
        super().__init__((len(mean),))
        _, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed) or not torch.allclose(covariance, covariance.T):
            raise DomainError(
                "The 'covariance' of Gaussian must be symmetric and positive definite. Add a small "
                "multiple of the identity if it comes from few data."
            )
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("covariance", covariance.detach().clone())

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Half the squared Mahalanobis distance, `(*batch,)`."""
        difference = (y - self.get_buffer("mean")).unsqueeze(-1)
        white: Tensor = torch.linalg.solve_triangular(self._factor(), difference, upper=False)
        return white.squeeze(-1).square().sum(-1) / 2

    def slope(self, y: Tensor, *, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The energy `(n,)` and its gradient, the inverse covariance times the distance."""
        precision, away = self._inverted()
        distance = away(y)
        gradient = torch.mm(distance, precision)
        return torch.linalg.vecdot(distance, gradient).div_(2), gradient

    def gradient(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The gradient alone, one matrix product."""
        precision, away = self._inverted()
        return torch.mm(away(y), precision)

    def kicker(
        self, push: Tensor, *, x: Tensor | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """What takes push times the gradient at y from a velocity, in the one matrix product."""
        precision, away = self._inverted()
        mean = self.get_buffer("mean")
        return _Kick(precision * -push, mean if away(mean) is not mean else None)

    def _inverted(self) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The inverse covariance, and the distance from the mean; again when these changed."""
        mean, covariance = self._buffers["mean"], self._buffers["covariance"]
        if mean is None or covariance is None:
            raise DomainError("This Gaussian has lost its mean or its covariance.")
        known: tuple[Any, ...] | None = self.__dict__.get("_known")
        versions = (mean._version, covariance._version)
        if (
            known is None
            or known[0] is not mean
            or known[1] is not covariance
            or self.__dict__["_versions"] != versions
        ):
            # It is kept, and others may take derivatives through it.
            with torch.inference_mode(False), torch.no_grad():
                # It comes by columns, and products with rows are quicker.
                precision = torch.cholesky_inverse(self._factor()).contiguous()
            known = (mean, covariance, precision, bool((mean == 0).all()))
            self.__dict__.update(_known=known, _versions=versions)
        centred = known[3]
        return known[2], (lambda y: y) if centred else (lambda y: y - mean)

    def _factor(self) -> Tensor:
        factor: Tensor = torch.linalg.cholesky(self.get_buffer("covariance"))
        return factor

    def sample_gibbs(
        self,
        n: int,
        *,
        beta: float,
        generator: torch.Generator | None,
        x: Tensor | None = None,
    ) -> Tensor:
        """Draws from N(mu, Sigma / beta), `(n, d)`."""
        mean = self.get_buffer("mean")
        noise = normal((n, *self.event), generator, like=mean)
        return mean + noise @ self._factor().T / math.sqrt(beta)

    def log_z(self, beta: float = 1.0) -> Tensor:
        """Log of the integral of exp(-beta E), a float64 scalar."""
        factor = torch.linalg.cholesky(self.get_buffer("covariance").double())
        log_z: Tensor = factor.diagonal().log().sum() + len(factor) / 2 * math.log(
            2 * math.pi / beta
        )
        return log_z


class _Kick:
    """What adds (y - mean) times a matrix to a velocity; no mean stands for 0."""

    def __init__(self, matrix: Tensor, mean: Tensor | None) -> None:
        self.matrix, self.mean = matrix, mean

    def __call__(self, velocity: Tensor, y: Tensor) -> Tensor:
        """Add it in place."""
        return velocity.addmm_(y if self.mean is None else y - self.mean, self.matrix)


class DoubleWell(Energy):
    r"""Two wells at y_1 = ±1 with a barrier between them, and a bowl in the other directions.

    $$E(y) = h \, (y_1^2 - 1)^2 + \tfrac12 \sum_{i > 1} y_i^2$$

    Args:
        event: `(d,)`, the number of coordinates.
        height: h, the height of the barrier at y_1 = 0, positive.

    Raises:
        ShapeError: the event has not one axis.
        DomainError: the height is not positive.

    Example:
        >>> DoubleWell()(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        tensor([0., 4.])
    """

    def __init__(self, event: Sequence[int] = (2,), height: float = 4.0) -> None:
        super().__init__(_vector(event, "DoubleWell"))
        self.height = _positive(height, "height", "DoubleWell")

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The double well along the first coordinate, `(*batch,)`."""
        wells: Tensor = self.height * (y[..., 0].square() - 1).square()
        return wells + y[..., 1:].square().sum(-1) / 2

    def slope(self, y: Tensor, *, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The energy `(n,)` and its gradient: 4 h y_1 (y_1² − 1), and y itself elsewhere."""
        first = y[..., 0]
        gradient = y.clone()
        gradient[..., 0] = 4 * self.height * first * (first.square() - 1)
        return self.forward(y), gradient


class Ring(Energy):
    r"""A circular valley: low at one distance from the origin.

    $$E(y) = \frac{(\|y\| - r)^2}{2 w^2}$$

    Args:
        event: `(d,)`, the number of coordinates.
        radius: r, positive.
        width: w, positive.

    Raises:
        ShapeError: the event has not one axis.
        DomainError: the radius or the width is not positive.

    Example:
        >>> Ring(width=0.5)(torch.tensor([[0.0, 1.0], [0.0, 2.0]]))
        tensor([0., 2.])
    """

    def __init__(
        self, event: Sequence[int] = (2,), radius: float = 1.0, width: float = 0.1
    ) -> None:
        super().__init__(_vector(event, "Ring"))
        self.radius = _positive(radius, "radius", "Ring")
        self.width = _positive(width, "width", "Ring")

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The squared distance from the ring in units of its width, halved, `(*batch,)`."""
        distance: Tensor = torch.linalg.vector_norm(y, dim=-1) - self.radius
        return distance.square() / (2 * self.width**2)

    def slope(self, y: Tensor, *, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The energy `(n,)` and its gradient along the radius, 0 at the origin."""
        norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
        distance = norm - self.radius
        outward = torch.where(norm > 0, y / norm, 0.0)
        energy = distance.squeeze(-1).square() / (2 * self.width**2)
        return energy, outward * distance / self.width**2


def _vector(event: Sequence[int], name: str) -> tuple[int, ...]:
    if len(event) != 1:
        raise ShapeError(f"The 'event' of {name} must have one axis. Got {tuple(event)}.")
    return tuple(event)


def _positive(value: float, argument: str, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise DomainError(f"The '{argument}' of {name} must be positive. Got {value!r}.")
    return float(value)
