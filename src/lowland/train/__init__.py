"""Shape the surface: one loop, `fit`, and strategies that only say what a step is.

Contrastive strategies differ in which points they push up, architectural ones in how the code is
limited so that nothing needs pushing up.
"""

from lowland.train.architectural.amortized import (
    Amortization,
    PredictiveSparseDecomposition,
)
from lowland.train.architectural.contraction import Contraction
from lowland.train.architectural.coordinate_descent import CoordinateDescent
from lowland.train.architectural.expectation_maximization import ExpectationMaximization
from lowland.train.architectural.free_energy_descent import FreeEnergyDescent
from lowland.train.architectural.gradient import GradientDescent
from lowland.train.architectural.learned_codes import LearnedCodes
from lowland.train.architectural.mini_batch import MiniBatch
from lowland.train.architectural.regularized import Regularized, Variational
from lowland.train.architectural.score_matching import ScoreMatching, SlicedScoreMatching
from lowland.train.architectural.straight_through import StraightThrough
from lowland.train.architectural.variance import SIGReg, VarianceCovariance
from lowland.train.contrastive.contrastive_divergence import (
    ContrastiveDivergence,
    PersistentContrastiveDivergence,
)
from lowland.train.contrastive.denoising import Denoising, DenoisingScoreMatching
from lowland.train.contrastive.energy_discrepancy import EnergyDiscrepancy
from lowland.train.contrastive.equilibrium_matching import EquilibriumMatching
from lowland.train.contrastive.info_nce import InfoNCE
from lowland.train.contrastive.integral import Chains, MonteCarlo, Quadrature
from lowland.train.contrastive.likelihood import MaximumLikelihood
from lowland.train.contrastive.margin import Margin
from lowland.train.contrastive.masking import Masking
from lowland.train.contrastive.noise_contrastive import NoiseContrastive
from lowland.train.contrastive.ratio import MinimumProbabilityFlow, RatioMatching
from lowland.train.default import default_strategy
from lowland.train.fit import Fit, fit
from lowland.train.history import History, Record
from lowland.train.rollback import Rollback
from lowland.train.schedule import one_cycle
from lowland.train.strategy import GradientStrategy, Outcome, Strategy

__all__ = [
    "Amortization",
    "Chains",
    "Contraction",
    "ContrastiveDivergence",
    "CoordinateDescent",
    "Denoising",
    "DenoisingScoreMatching",
    "EnergyDiscrepancy",
    "EquilibriumMatching",
    "ExpectationMaximization",
    "Fit",
    "FreeEnergyDescent",
    "GradientDescent",
    "GradientStrategy",
    "History",
    "InfoNCE",
    "LearnedCodes",
    "Margin",
    "Masking",
    "MaximumLikelihood",
    "MiniBatch",
    "MinimumProbabilityFlow",
    "MonteCarlo",
    "NoiseContrastive",
    "Outcome",
    "PersistentContrastiveDivergence",
    "PredictiveSparseDecomposition",
    "Quadrature",
    "RatioMatching",
    "Record",
    "Regularized",
    "Rollback",
    "SIGReg",
    "ScoreMatching",
    "SlicedScoreMatching",
    "StraightThrough",
    "Strategy",
    "VarianceCovariance",
    "Variational",
    "default_strategy",
    "fit",
    "one_cycle",
]
