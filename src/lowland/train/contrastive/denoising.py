"""Denoising: the negatives are corrupted data, pushed up by mapping them back onto the data."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland._random import integers, normal_like
from lowland.capabilities import Reconstructs
from lowland.domain import Real
from lowland.energy import Energy
from lowland.infer import eliminate
from lowland.train.strategy import GradientStrategy, Outcome


def _noises(noise: float | tuple[float, ...], owner: str) -> tuple[float, ...]:
    levels = noise if isinstance(noise, tuple) else (noise,)
    if not levels or not all(math.isfinite(level) and level > 0 for level in levels):
        raise DomainError(
            f"The 'noise' of {owner} must be a positive standard deviation, or a tuple of them, in "
            f"the energy's own (scaled) units. Got {noise!r}."
        )
    return levels


def _corrupt(
    y: Tensor, levels: tuple[float, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Y plus normal noise of a level drawn for each item, the noise itself, and the levels."""
    choices = torch.tensor(levels, dtype=y.dtype, device=y.device)
    if len(levels) == 1:
        level = choices.expand(len(y))
    else:
        level = choices[integers(len(levels), (len(y),), generator, like=y)]
    level = level.reshape(-1, *[1] * (y.dim() - 1))
    unit = normal_like(y, generator)
    return y + level * unit, unit, level


@dataclass(frozen=True)
class Denoising(GradientStrategy):
    r"""Train an autoencoder to map corrupted points back: a denoising autoencoder.

    $$L = \frac1n \sum_i \|\mathrm{Dec}(\mathrm{Enc}(y_i + \sigma \epsilon_i)) - y_i\|^2$$

    A point off the manifold is reconstructed on it, so its energy becomes its squared distance from
    the manifold. For small noise r(y) − y = σ² ∇ log p_σ(y).

    Args:
        noise: σ, the standard deviation of the corruption in the energy's own (scaled) units; a
            tuple draws one of its levels for each item.

    Raises:
        DomainError: the noise is not positive.

    Reference:
        Extracting and Composing Robust Features with Denoising Autoencoders (Vincent et al., 2008),
        https://dl.acm.org/doi/10.1145/1390156.1390294

    Example:
        >>> Denoising(noise=0.3)
        Denoising(noise=0.3)
    """

    noise: float | tuple[float, ...] = 0.3

    kind: ClassVar[str] = "contrastive"
    needs: ClassVar[tuple[type, ...]] = (Reconstructs,)

    def __post_init__(self) -> None:
        _noises(self.noise, "Denoising")

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """The squared distance between the datum and what its corruption is reconstructed to."""
        if not isinstance(energy, Reconstructs):
            raise CapabilityError(f"{type(energy).__name__} does not reconstruct.")
        corrupted, _, _ = _corrupt(y, _noises(self.noise, "Denoising"), generator)
        error = (energy.reconstruct(corrupted, x=x) - y).flatten(1).square().sum(1).mean()
        return Outcome(error, negatives=corrupted)


@dataclass(frozen=True)
class DenoisingScoreMatching(GradientStrategy):
    r"""Match the slope of the energy at corrupted points to the way back to the datum.

    $$L = \frac{1}{n} \sum_i \left\| \sigma \nabla_y F(y_i + \sigma \epsilon_i)
      - \epsilon_i \right\|^2$$

    The Gibbs distribution at beta = 1 then has the score of the data blurred by σ, and the log
    partition function is never needed. With several levels the energy has to serve them all, and
    the blur is their mixture.

    Args:
        noise: σ, in the energy's own (scaled) units; a tuple draws one of its levels for each item.

    Raises:
        DomainError: the noise is not positive.
        CapabilityError: the energy's domain is not `Real`.

    Reference:
        A Connection Between Score Matching and Denoising Autoencoders (Vincent, 2011),
        https://doi.org/10.1162/NECO_a_00142

    Example:
        >>> DenoisingScoreMatching(noise=(0.1, 0.5))
        DenoisingScoreMatching(noise=(0.1, 0.5))
    """

    noise: float | tuple[float, ...] = 0.3

    kind: ClassVar[str] = "contrastive"

    def __post_init__(self) -> None:
        _noises(self.noise, "DenoisingScoreMatching")

    def unsuited(self, energy: Energy) -> str | None:
        """Why not: the domain has no slopes, or nothing is left to train."""
        if not isinstance(energy.domain, Real):
            return (
                f"DenoisingScoreMatching needs slopes in y, and {type(energy).__name__} lives on "
                f"{energy.domain}."
            )
        return super().unsuited(energy)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """The squared distance between the slope and the noise, for each item."""
        levels = _noises(self.noise, "DenoisingScoreMatching")
        corrupted, unit, level = _corrupt(y, levels, generator)
        corrupted.requires_grad_()
        value = eliminate(energy, corrupted, x, beta=math.inf)
        if not value.requires_grad:
            raise CapabilityError(
                f"DenoisingScoreMatching needs slopes in y, and the energy of "
                f"{type(energy).__name__} has none: its forward cuts the gradient to y."
            )
        (slope,) = torch.autograd.grad(value.sum(), corrupted, create_graph=True, allow_unused=True)
        if slope is None or not slope.requires_grad:
            raise CapabilityError(
                f"DenoisingScoreMatching needs slopes in y that depend on the parameters, and "
                f"those of {type(energy).__name__} do not."
            )
        error = (level * slope - unit).flatten(1).square().sum(1).mean()
        return Outcome(error, negatives=corrupted.detach())
