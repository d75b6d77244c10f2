"""The seven strategies to shape an energy, as one table: what is here of each.

The list and its words are those of Y. LeCun's lecture "SSL, EBM with details and examples" and its
slides. Contrastive methods (C) differ in which points they push up; architectural ones
(A) in how they limit the volume of low energy.
"""

from typing import NamedTuple

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
from lowland.train.contrastive.likelihood import MaximumLikelihood
from lowland.train.contrastive.margin import Margin
from lowland.train.contrastive.masking import Masking
from lowland.train.contrastive.noise_contrastive import NoiseContrastive
from lowland.train.contrastive.ratio import MinimumProbabilityFlow, RatioMatching
from lowland.train.strategy import Strategy


class Row(NamedTuple):
    """One of the seven.

    Attributes:
        id: "C1" to "C3" or "A1" to "A4".
        words: what is done to the surface.
        classes: the strategies here that do it; empty where none does yet.
        energies: the public energies whose architecture it relies on, by name.
        paper: where to read about it.
    """

    id: str
    words: str
    classes: tuple[type[Strategy], ...]
    energies: tuple[str, ...]
    paper: str


SEVEN: tuple[Row, ...] = (
    Row(
        "C1",
        "push down the energy of data points, push up everywhere else (maximum likelihood)",
        (MaximumLikelihood,),
        ("Network",),
        "http://yann.lecun.com/exdb/publis/pdf/lecun-06.pdf",
    ),
    Row(
        "C2",
        "push down the energy of data points, push up on chosen locations",
        (
            ContrastiveDivergence,
            EnergyDiscrepancy,
            InfoNCE,
            Margin,
            MinimumProbabilityFlow,
            NoiseContrastive,
            PersistentContrastiveDivergence,
            RatioMatching,
        ),
        ("Network", "ConvNetwork", "JointEmbedding"),
        "https://www.cs.toronto.edu/~hinton/absps/tr00-004.pdf",
    ),
    Row(
        "C3",
        "train a function that maps points off the data manifold to points on it",
        (Denoising, DenoisingScoreMatching, EquilibriumMatching, Masking),
        ("Autoencoder", "Network", "MaskedAutoencoder", "MaskedImage", "Inpainter"),
        "https://dl.acm.org/doi/10.1145/1390156.1390294",
    ),
    Row(
        "A1",
        "build the machine so that the volume of low energy is bounded",
        (
            CoordinateDescent,
            ExpectationMaximization,
            FreeEnergyDescent,
            GradientDescent,
            MiniBatch,
        ),
        ("KMeans", "PCA", "ProbabilisticPCA", "GaussianMixture", "Ellipse", "NextFrame"),
        "https://doi.org/10.1109/TIT.1982.1056489",
    ),
    Row(
        "A2",
        "use a regularization term that measures the volume of space that has low energy",
        (
            Amortization,
            CoordinateDescent,
            GradientDescent,
            LearnedCodes,
            MiniBatch,
            PredictiveSparseDecomposition,
            Regularized,
            SIGReg,
            StraightThrough,
            VarianceCovariance,
            Variational,
        ),
        ("SparseCoding", "ConvolutionalSparseCoding", "Amortized", "GLO", "VAE", "VectorQuantized"),
        "https://doi.org/10.1038/381607a0",
    ),
    Row(
        "A3",
        "make G(x, y) as constant as possible with respect to y",
        (Contraction,),
        ("ContractiveAutoencoder", "Autoencoder"),
        "https://icml.cc/2011/papers/455_icmlpaper.pdf",
    ),
    Row(
        "A4",
        "minimize the gradient and maximize the curvature around data points (score matching)",
        (DenoisingScoreMatching, ScoreMatching, SlicedScoreMatching),
        ("Network",),
        "https://www.jmlr.org/papers/v6/hyvarinen05a.html",
    ),
)
