"""Points in the plane with a known shape, to see and to measure what an energy learned.

Every toy draws in float64 and rounds last, so that one seed gives the same points in each dtype.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.data.dataset import Dataset


def _draws(
    toy: str, n: int, noise: float, generator: torch.Generator | None
) -> tuple[Callable[[], Tensor], Callable[[int], Tensor]]:
    """Check the arguments; return draws of `(n,)` uniform and of `(n, d)` normal numbers."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise DomainError(f"The 'n' of {toy} must be a whole number of at least 1. Got {n!r}.")
    if not (math.isfinite(noise) and noise >= 0):
        raise DomainError(
            f"The 'noise' of {toy} must be a finite standard deviation of at least 0. "
            f"Got {noise!r}."
        )

    def uniform() -> Tensor:
        return torch.rand(n, generator=generator, dtype=torch.float64, device=device)

    def normal(d: int) -> Tensor:
        return torch.randn(n, d, generator=generator, dtype=torch.float64, device=device)

    device = torch.device("cpu") if generator is None else generator.device
    return uniform, normal


def _dataset(
    y: Tensor,
    dtype: torch.dtype,
    description: str,
    *,
    x: Tensor | None = None,
    labels: Tensor | None = None,
) -> Dataset:
    if not dtype.is_floating_point:
        raise DomainError(f"The 'dtype' of a toy must be floating point. Got {dtype}.")
    return Dataset(
        y.to(dtype),
        x=None if x is None else x.to(dtype),
        labels=labels,
        names=("y1", "y2"),
        kind="points",
        description=description,
    )


def _circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def spiral(
    n: int = 1000,
    *,
    noise: float = 0.02,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""One spiral of two turns in [-1, 1]², the data of the lecture's K-means picture.

    $$y = \frac{\theta}{9\pi/2} (\cos\theta, \sin\theta) + \epsilon, \qquad
      \theta^2 \sim U\left((\pi/2)^2, (9\pi/2)^2\right)$$

    Uniform in θ² is nearly uniform along the arc: its density varies by less than a fifth.

    Args:
        n: how many points.
        noise: standard deviation of ε.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> spiral(500, noise=0.0, generator=g).y.abs().max() <= 1
        tensor(True)
    """
    uniform, normal = _draws("spiral", n, noise, generator)
    first, last = 0.5 * math.pi, 4.5 * math.pi
    angle = (first**2 + (last**2 - first**2) * uniform()).sqrt()
    y = (angle / last).unsqueeze(-1) * _circle(angle) + noise * normal(2)
    return _dataset(y, dtype, "one spiral of two turns in [-1, 1]²")


def moons(
    n: int = 1000,
    *,
    noise: float = 0.1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""Two interleaved half circles, in the units of scikit-learn's `make_moons`.

    $$y = (\cos\theta, \sin\theta) + \epsilon \quad \text{or} \quad
      y = (1 - \cos\theta, \tfrac12 - \sin\theta) + \epsilon, \qquad
      \theta \sim U(0, \pi)$$

    Args:
        n: how many points.
        noise: standard deviation of ε.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`, labels 0 (upper moon) and 1 (lower moon).

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> moons(100, generator=g).labels.unique()
        tensor([0, 1])
    """
    uniform, normal = _draws("moons", n, noise, generator)
    labels = (uniform() < 0.5).long()
    upper = _circle(math.pi * uniform())
    lower = torch.stack([1 - upper[:, 0], 0.5 - upper[:, 1]], dim=-1)
    y = torch.where(labels.unsqueeze(-1) == 0, upper, lower) + noise * normal(2)
    return _dataset(y, dtype, "two interleaved half circles", labels=labels)


def eight_gaussians(
    n: int = 1000,
    *,
    noise: float = 0.5 / 1.414,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""Eight Gaussians on a circle, an equal mixture whose entropy is 2.832 nats at this noise.

    $$p(y) = \frac18 \sum_{k=0}^{7} \mathcal N\left(y;\
      \tfrac{4}{1.414} (\cos\tfrac{k\pi}{4}, \sin\tfrac{k\pi}{4}), \sigma^2 I\right)$$

    Args:
        n: how many points.
        noise: σ, the standard deviation of each Gaussian.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`, labels k.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Reference:
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> radius = eight_gaussians(100, noise=0.0, generator=g).y.norm(dim=1)
        >>> torch.allclose(radius, torch.tensor(4 / 1.414))
        True
    """
    uniform, normal = _draws("eight_gaussians", n, noise, generator)
    labels = (8 * uniform()).long()
    y = 4 / 1.414 * _circle(math.pi / 4 * labels.double()) + noise * normal(2)
    return _dataset(y, dtype, "eight Gaussians on a circle", labels=labels)


def checkerboard(
    n: int = 1000,
    *,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""Every second square, of side 2, of the board [-4, 4]²: density 1/32, entropy log 32.

    $$p(y) = \tfrac{1}{32} \text{ where } \lfloor y_1 / 2 \rfloor + \lfloor y_2 / 2 \rfloor
      \text{ is even}, \quad 0 \text{ elsewhere}$$

    Args:
        n: how many points.
        noise: standard deviation of Gaussian noise added to the points.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Reference:
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = checkerboard(100, generator=g).y
        >>> bool(((y / 2).floor().sum(1) % 2 == 0).all())
        True
    """
    uniform, normal = _draws("checkerboard", n, noise, generator)
    column = (4 * uniform()).floor() - 2
    row = 2 * (2 * uniform()).floor() - 2 + column % 2
    corner = torch.stack([column, row], dim=-1)
    y = 2 * (corner + torch.stack([uniform(), uniform()], dim=-1)) + noise * normal(2)
    return _dataset(y, dtype, "every second square of the board [-4, 4]²")


def ring(
    n: int = 1000,
    *,
    noise: float = 0.05,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""The unit circle.

    $$y = (\cos\theta, \sin\theta) + \epsilon, \qquad \theta \sim U(0, 2\pi)$$

    Args:
        n: how many points.
        noise: standard deviation of ε.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> torch.allclose(ring(100, noise=0.0, generator=g).y.norm(dim=1), torch.ones(100))
        True
    """
    uniform, normal = _draws("ring", n, noise, generator)
    y = _circle(2 * math.pi * uniform()) + noise * normal(2)
    return _dataset(y, dtype, "a circle of radius 1")


def pinwheel(
    n: int = 1000,
    *,
    noise: float = 0.1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""Five curved arms around the origin.

    $$y = 2 R(-\theta)\, (r, t)^\top, \qquad r \sim \mathcal N(1, 0.3^2),\quad
      t \sim \mathcal N(0, \sigma^2),\quad \theta = \tfrac{2\pi k}{5} + \tfrac14 e^r$$

    where R(θ) turns by θ and k is the arm.

    Args:
        n: how many points.
        noise: σ, the standard deviation across an arm before doubling.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`, labels k.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Reference:
        Composing graphical models with neural networks for structured representations and fast
        inference (Johnson et al., 2016), https://arxiv.org/abs/1603.06277

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> pinwheel(100, generator=g).labels.unique()
        tensor([0, 1, 2, 3, 4])
    """
    uniform, normal = _draws("pinwheel", n, noise, generator)
    labels = (5 * uniform()).long()
    standard = normal(2)
    r, t = 1 + 0.3 * standard[:, 0], noise * standard[:, 1]
    angle = 2 * math.pi / 5 * labels.double() + 0.25 * r.exp()
    cos, sin = angle.cos(), angle.sin()
    y = 2 * torch.stack([r * cos + t * sin, t * cos - r * sin], dim=-1)
    return _dataset(y, dtype, "five curved arms", labels=labels)


def ellipse(
    n: int = 1000,
    *,
    noise: float = 1 / 20,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""The ellipse of the lecture's two-parameter family: `horn` at x = 0.

    $$y = (2 \cos\theta, 1.5 \sin\theta) + \epsilon, \qquad \theta \sim U(0, 2\pi)$$

    Args:
        n: how many points.
        noise: standard deviation of ε.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y.

    Returns:
        y of shape `(n, 2)`.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = ellipse(100, noise=0.0, generator=g).y
        >>> torch.allclose((y / torch.tensor([2.0, 1.5])).norm(dim=1), torch.ones(100))
        True
    """
    uniform, normal = _draws("ellipse", n, noise, generator)
    angle = 2 * math.pi * uniform()
    y = _family(torch.zeros_like(angle), angle) + noise * normal(2)
    return _dataset(y, dtype, "the ellipse (2 cos θ, 1.5 sin θ)")


def horn(
    n: int = 1000,
    *,
    noise: float = 1 / 20,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""Ellipses that grow with the condition x, together a horn.

    $$y = (\rho_1(x) \cos\theta, \rho_2(x) \sin\theta) + \epsilon, \qquad
      \theta \sim U(0, 2\pi),\quad x \sim U(0, 1)$$
    $$\rho_1 = (\alpha x + \beta (1 - x)) e^{2x}, \quad
      \rho_2 = (\beta x + \alpha (1 - x)) e^{2x}, \quad \alpha = 1.5,\ \beta = 2$$

    Args:
        n: how many points.
        noise: standard deviation of ε.
        generator: the source of randomness; torch's global one if None.
        dtype: floating-point type of y and x.

    Returns:
        y of shape `(n, 2)` and x of shape `(n, 1)`.

    Raises:
        DomainError: n is not positive, or noise is negative or not finite.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> data = horn(100, generator=g)
        >>> data.y.shape, data.x.shape
        (torch.Size([100, 2]), torch.Size([100, 1]))
    """
    uniform, normal = _draws("horn", n, noise, generator)
    x = uniform()
    y = _family(x, 2 * math.pi * uniform()) + noise * normal(2)
    return _dataset(y, dtype, "ellipses that grow with x", x=x.unsqueeze(-1))


def _family(x: Tensor, angle: Tensor) -> Tensor:
    """The lecture's curves, `(n, 2)`, for conditions and angles of shape `(n,)`."""
    alpha, beta = 1.5, 2.0
    first = (alpha * x + beta * (1 - x)) * (2 * x).exp()
    second = (beta * x + alpha * (1 - x)) * (2 * x).exp()
    return torch.stack([first, second], dim=-1) * _circle(angle)


TOYS: tuple[Callable[..., Dataset], ...] = (
    spiral,
    moons,
    eight_gaussians,
    checkerboard,
    ring,
    pinwheel,
    ellipse,
    horn,
)
