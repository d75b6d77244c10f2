"""Keep embeddings apart without negatives: by their variances and covariances, or their shape."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowland._embedding import Embeds
from lowland._errors import DomainError
from lowland._random import normal
from lowland.train.views import TwoViews

# Inside the square root of a variance, whose slope is infinite at zero.
_SMALL = 1e-4
# The empirical characteristic function is compared up to this frequency.
_HIGHEST = 5.0


@dataclass(frozen=True)
class VarianceCovariance(TwoViews):
    r"""Push down the energy of pairs, and hold the embedding's variances up and covariances down.

    $$L = \frac{s}{d n} \sum_i E(x_i, y_i) + \sum_{A \in \{\mathrm{Emb}(x), \mathrm{Emb}(y)\}}
      \frac{\mu}{d} \sum_j \max\!\left(0, 1 - \sqrt{\mathrm{Var}(A_j) + \epsilon}\right)
      + \frac{\nu}{d} \sum_{j \ne k} \mathrm{Cov}(A_j, A_k)^2$$

    No two data can then have one embedding, and the volume of low energy is limited by the
    architecture (VICReg). With μ = ν = 0 the embedding collapses, which `Fit.caution` says.

    Args:
        views: makes the two views of each datum; None are `lowland.pretext.usual_views`. Data with
            an x of their own bring their pairs.
        invariance: s, the weight of the energy.
        variance: μ.
        covariance: ν.

    Raises:
        DomainError: a weight is negative or not finite.

    Reference:
        VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning (Bardes,
        Ponce and LeCun, 2022), https://arxiv.org/abs/2105.04906

    Example:
        >>> VarianceCovariance(ll.pretext.GaussianNoise(0.1)).variance
        25.0
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    kind: ClassVar[str] = "architectural"

    def __post_init__(self) -> None:
        for name in ("invariance", "variance", "covariance"):
            _check_weight(getattr(self, name), name, "VarianceCovariance")

    def cost(self, energy: Embeds, a: Tensor, b: Tensor, generator: torch.Generator) -> Tensor:
        """The weighted energy, hinges on the deviations, and squared covariances."""
        d = a.shape[1]
        total = self.invariance / d * energy.compare(a, b).mean()
        for embedded in (a, b):
            away = embedded - embedded.mean(0)
            covariance = away.T @ away / max(1, len(away) - 1)
            variances = covariance.diagonal()
            hinge = (1 - (variances + _SMALL).sqrt()).clamp(min=0).sum()
            off = covariance.square().sum() - variances.square().sum()
            total = total + (self.variance * hinge + self.covariance * off) / d
        return total


@dataclass(frozen=True)
class SIGReg(TwoViews):
    r"""Push down the energy of pairs, and hold the embedding to a standard normal distribution.

    $$L = (1 - \lambda) \frac{1}{d n} \sum_i E(x_i, y_i) + \frac{\lambda}{2 M} \sum_A \sum_{m=1}^M
      n \int \left| \frac1n \sum_i e^{\mathrm{i} t \, u_m \cdot A_i} - e^{-t^2 / 2} \right|^2
      e^{-t^2 / 2} \, dt$$

    Each step draws M directions u on the sphere; along each, the embeddings A of a view are
    compared with N(0, 1) by the Epps–Pulley test, whose cost is linear in n and whose slope is
    bounded (sketched isotropic Gaussian regularization, LeJEPA). A standard normal embedding has no
    collapsed direction. With λ = 0 it collapses, which `Fit.caution` says.

    Args:
        views: makes the two views of each datum; None are `lowland.pretext.usual_views`. Data with
            an x of their own bring their pairs.
        weight: λ, in [0, 1).
        directions: M, how many are drawn each step.
        frequencies: how many t the integral is taken over.

    Raises:
        DomainError: the weight is not in [0, 1), or a number is not a positive whole one.

    Reference:
        LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics (Balestriero
        and LeCun, 2025), https://arxiv.org/abs/2511.08544; A Test for Normality Based on the
        Empirical Characteristic Function (Epps and Pulley, 1983),
        https://doi.org/10.1093/biomet/70.3.723

    Example:
        >>> SIGReg(weight=0.1).directions
        256
    """

    weight: float = 0.05
    directions: int = 256
    frequencies: int = 17

    kind: ClassVar[str] = "architectural"

    def __post_init__(self) -> None:
        if not 0 <= self.weight < 1:
            raise DomainError(f"The 'weight' of SIGReg must be in [0, 1). Got {self.weight!r}.")
        for name, least in (("directions", 1), ("frequencies", 3)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise DomainError(
                    f"The '{name}' of SIGReg must be a whole number of at least {least}. Got "
                    f"{number!r}."
                )

    def cost(self, energy: Embeds, a: Tensor, b: Tensor, generator: torch.Generator) -> Tensor:
        """The weighted energy, and how far both views' embeddings are from normal."""
        agreement = energy.compare(a, b).mean() / a.shape[1]
        if self.weight == 0:
            return agreement
        u = normal((a.shape[1], self.directions), generator, like=a)
        u = u / u.norm(dim=0, keepdim=True)
        far = sum((epps_pulley(e @ u, self.frequencies).mean() for e in (a, b)), a.new_zeros(()))
        return (1 - self.weight) * agreement + self.weight * far / 2


def epps_pulley(values: Tensor, frequencies: int = 17) -> Tensor:
    r"""How far samples are from a standard normal distribution: the Epps–Pulley statistic.

    $$T = n \int \left| \frac1n \sum_j e^{\mathrm{i} t s_j} - e^{-t^2 / 2} \right|^2
      e^{-t^2 / 2} \, dt$$

    Args:
        values: s, `(n, m)`: m samples of n.
        frequencies: how many t of the trapezoidal rule there are, from 0 to 5.

    Returns:
        T of each sample, `(m,)`, differentiable.

    Example:
        >>> far = epps_pulley(torch.full((100, 1), 3.0))
        >>> near = epps_pulley(
        ...     torch.erfinv(torch.linspace(-0.99, 0.99, 100)).reshape(-1, 1) * 2**0.5
        ... )
        >>> bool(near < 0.1 < 50 < far)
        True
    """
    t = torch.linspace(0, _HIGHEST, frequencies, dtype=values.dtype, device=values.device)
    step = _HIGHEST / (frequencies - 1)
    normal_one = (-t.square() / 2).exp()
    # The integrand is even, so its half counts twice but for the ends of the rule.
    weights = 2 * step * normal_one
    weights[0] = step
    weights[-1] = weights[-1] / 2
    angles = values.unsqueeze(2) * t
    real = angles.cos().mean(0) - normal_one
    imaginary = angles.sin().mean(0)
    return len(values) * ((real.square() + imaginary.square()) * weights).sum(1)


def _check_weight(weight: float, name: str, owner: str) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise DomainError(
            f"The '{name}' of {owner} must be a weight of at least 0. Got {weight!r}."
        )
