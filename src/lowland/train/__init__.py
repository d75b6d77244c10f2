"""Shape the surface: one loop, `fit`, and strategies that only say what a step is.

Contrastive strategies differ in which points they push up, architectural ones in how the code is
limited so that nothing needs pushing up.
"""

from lowland.train.architectural.coordinate_descent import CoordinateDescent
from lowland.train.architectural.expectation_maximization import ExpectationMaximization
from lowland.train.architectural.gradient import GradientDescent
from lowland.train.architectural.learned_codes import LearnedCodes
from lowland.train.architectural.mini_batch import MiniBatch
from lowland.train.contrastive.denoising import Denoising, DenoisingScoreMatching
from lowland.train.fit import Fit, fit
from lowland.train.history import History, Record
from lowland.train.strategy import GradientStrategy, Outcome, Strategy

__all__ = [
    "CoordinateDescent",
    "Denoising",
    "DenoisingScoreMatching",
    "ExpectationMaximization",
    "Fit",
    "GradientDescent",
    "GradientStrategy",
    "History",
    "LearnedCodes",
    "MiniBatch",
    "Outcome",
    "Record",
    "Strategy",
    "fit",
]
