"""The strategy that suits an energy, for whoever does not name one."""

from lowland.capabilities import (
    Embeds,
    EncodesNoisily,
    GuessesCodes,
    MeasuresContraction,
    Quantizes,
    ReadsMasks,
    Reconstructs,
    SolvesParameters,
    SolvesSoftly,
    SplitsCodes,
)
from lowland.energy import Energy
from lowland.latent import NoLatent
from lowland.train.architectural.amortized import PredictiveSparseDecomposition
from lowland.train.architectural.contraction import Contraction
from lowland.train.architectural.coordinate_descent import CoordinateDescent
from lowland.train.architectural.expectation_maximization import ExpectationMaximization
from lowland.train.architectural.free_energy_descent import FreeEnergyDescent
from lowland.train.architectural.gradient import GradientDescent
from lowland.train.architectural.learned_codes import LearnedCodes
from lowland.train.architectural.regularized import Variational
from lowland.train.architectural.straight_through import StraightThrough
from lowland.train.architectural.variance import VarianceCovariance
from lowland.train.contrastive.denoising import Denoising, DenoisingScoreMatching
from lowland.train.contrastive.masking import Masking
from lowland.train.strategy import Strategy


def default_strategy(energy: Energy) -> type[Strategy]:
    """The strategy that suits an energy best of those that lowland ships.

    Example:
        >>> default_strategy(ll.energies.KMeans(torch.zeros(1, 2))).__name__
        'CoordinateDescent'
    """
    if isinstance(energy, SolvesSoftly):
        return ExpectationMaximization
    if PredictiveSparseDecomposition().unsuited(energy) is None:
        return PredictiveSparseDecomposition
    if isinstance(energy, SolvesParameters):
        return CoordinateDescent
    if isinstance(energy, SplitsCodes):
        return FreeEnergyDescent
    if isinstance(energy, EncodesNoisily):
        return Variational
    if isinstance(energy, Quantizes):
        return StraightThrough
    if isinstance(energy, MeasuresContraction):
        return Contraction
    if isinstance(energy, ReadsMasks):
        return Masking
    if isinstance(energy, Embeds):
        return VarianceCovariance
    if isinstance(energy, Reconstructs):
        return Denoising
    if isinstance(energy.latent, NoLatent):
        return DenoisingScoreMatching
    # With a code to limit what is low, the data need only be pushed down.
    return LearnedCodes if isinstance(energy, GuessesCodes) else GradientDescent
