"""Learn an energy whose lowlands are your data. Then ask it questions.

An energy is a module that returns one scalar per item, low where x, y and z agree. Everything else
is a way to infer z, to shape the surface, or to put a question to it:

- `lowland.energies`: models, one a file; `Energy` is the base of yours.
- `lowland.infer`, `lowland.free_energy`: eliminate the latent z.
- `lowland.fit` with a strategy: shape the surface.
- `lowland.score`, `complete`, `project`, `predict`, `rollout`, `sample`, `encode`, `likelihood`:
  ask.
- `lowland.diagnose`: can the surface, the chains, the run be trusted?
- `lowland.save`, `lowland.load`: keep it.
- `lowland.data`, `lowland.plot`, `lowland.testing`: real data in, pictures out, contracts.
- `lowland.estimators`: scikit-learn's interfaces, and probes of what was learned without labels.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lowland._version import __version__

if TYPE_CHECKING:
    from lowland import data, diagnose, energies, estimators, plot, pretext, testing
    from lowland._errors import (
        CapabilityError,
        CheckpointError,
        DataError,
        DivergedError,
        DomainError,
        LowlandError,
        ShapeError,
    )
    from lowland.ask import (
        Completion,
        Likelihood,
        Prediction,
        Rollout,
        complete,
        encode,
        likelihood,
        predict,
        project,
        rollout,
        sample,
        score,
    )
    from lowland.checkpoint import load, save
    from lowland.domain import Binary, Categorical, Real
    from lowland.energy import Energy, Sum, Tempered
    from lowland.infer import FreeEnergy, Inference, free_energy, infer
    from lowland.latent import Ball, Codes, Grid, NoLatent, Normal, OneHot, Sparse, Vector
    from lowland.mixture import Mixture
    from lowland.sample import (
        HMC,
        MALA,
        NUTS,
        Draws,
        Gibbs,
        GibbsWithGradients,
        ImportanceSampling,
        KickedDescent,
        Langevin,
        ParallelTempering,
        RandomWalk,
        SingleSite,
    )
    from lowland.scaling import Scaled, Scaling
    from lowland.train import (
        Amortization,
        Chains,
        Contraction,
        ContrastiveDivergence,
        CoordinateDescent,
        Denoising,
        DenoisingScoreMatching,
        EnergyDiscrepancy,
        EquilibriumMatching,
        ExpectationMaximization,
        Fit,
        FreeEnergyDescent,
        GradientDescent,
        InfoNCE,
        LearnedCodes,
        Margin,
        Masking,
        MaximumLikelihood,
        MiniBatch,
        MinimumProbabilityFlow,
        MonteCarlo,
        NoiseContrastive,
        PersistentContrastiveDivergence,
        PredictiveSparseDecomposition,
        Quadrature,
        RatioMatching,
        Regularized,
        ScoreMatching,
        SIGReg,
        SlicedScoreMatching,
        StraightThrough,
        VarianceCovariance,
        Variational,
        fit,
    )

# Where each name lives. Imported when first asked for, so that `lowland --help` waits for no torch.
_HOMES = {
    "lowland._errors": (
        "CapabilityError",
        "CheckpointError",
        "DataError",
        "DivergedError",
        "DomainError",
        "LowlandError",
        "ShapeError",
    ),
    "lowland.ask": (
        "Completion",
        "Likelihood",
        "Prediction",
        "Rollout",
        "complete",
        "encode",
        "likelihood",
        "predict",
        "project",
        "rollout",
        "sample",
        "score",
    ),
    "lowland.checkpoint": ("load", "save"),
    "lowland.domain": ("Binary", "Categorical", "Real"),
    "lowland.energy": ("Energy", "Sum", "Tempered"),
    "lowland.infer": ("FreeEnergy", "Inference", "free_energy", "infer"),
    "lowland.latent": ("Ball", "Codes", "Grid", "NoLatent", "Normal", "OneHot", "Sparse", "Vector"),
    "lowland.mixture": ("Mixture",),
    "lowland.sample": (
        "Draws",
        "Gibbs",
        "GibbsWithGradients",
        "HMC",
        "ImportanceSampling",
        "KickedDescent",
        "Langevin",
        "MALA",
        "NUTS",
        "ParallelTempering",
        "RandomWalk",
        "SingleSite",
    ),
    "lowland.scaling": ("Scaled", "Scaling"),
    "lowland.train": (
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
        "InfoNCE",
        "LearnedCodes",
        "Margin",
        "Masking",
        "MaximumLikelihood",
        "MiniBatch",
        "MinimumProbabilityFlow",
        "MonteCarlo",
        "NoiseContrastive",
        "PersistentContrastiveDivergence",
        "PredictiveSparseDecomposition",
        "Quadrature",
        "RatioMatching",
        "Regularized",
        "SIGReg",
        "ScoreMatching",
        "SlicedScoreMatching",
        "StraightThrough",
        "VarianceCovariance",
        "Variational",
        "fit",
    ),
}
_PARTS = ("data", "diagnose", "energies", "estimators", "plot", "pretext", "testing")


class _FrontDoor(ModuleType):
    """Keeps `ll.infer` and `ll.sample` the functions, though packages have the same names."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("infer", "sample") and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name in _PARTS:
        return import_module(f"lowland.{name}")
    for module, names in _HOMES.items():
        if name in names:
            if (
                module == "lowland.checkpoint"
            ):  # which rebuilds whatever classes are defined by then
                for classes in ("energies", "infer", "mixture"):
                    import_module(f"lowland.{classes}")
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'lowland' has no attribute {name!r}")


__all__ = [
    "HMC",
    "MALA",
    "NUTS",
    "Amortization",
    "Ball",
    "Binary",
    "CapabilityError",
    "Categorical",
    "Chains",
    "CheckpointError",
    "Codes",
    "Completion",
    "Contraction",
    "ContrastiveDivergence",
    "CoordinateDescent",
    "DataError",
    "Denoising",
    "DenoisingScoreMatching",
    "DivergedError",
    "DomainError",
    "Draws",
    "Energy",
    "EnergyDiscrepancy",
    "EquilibriumMatching",
    "ExpectationMaximization",
    "Fit",
    "FreeEnergy",
    "FreeEnergyDescent",
    "Gibbs",
    "GibbsWithGradients",
    "GradientDescent",
    "Grid",
    "ImportanceSampling",
    "Inference",
    "InfoNCE",
    "KickedDescent",
    "Langevin",
    "LearnedCodes",
    "Likelihood",
    "LowlandError",
    "Margin",
    "Masking",
    "MaximumLikelihood",
    "MiniBatch",
    "MinimumProbabilityFlow",
    "Mixture",
    "MonteCarlo",
    "NoLatent",
    "NoiseContrastive",
    "Normal",
    "OneHot",
    "ParallelTempering",
    "PersistentContrastiveDivergence",
    "Prediction",
    "PredictiveSparseDecomposition",
    "Quadrature",
    "RandomWalk",
    "RatioMatching",
    "Real",
    "Regularized",
    "Rollout",
    "SIGReg",
    "Scaled",
    "Scaling",
    "ScoreMatching",
    "ShapeError",
    "SingleSite",
    "SlicedScoreMatching",
    "Sparse",
    "StraightThrough",
    "Sum",
    "Tempered",
    "VarianceCovariance",
    "Variational",
    "Vector",
    "__version__",
    "complete",
    "data",
    "diagnose",
    "encode",
    "energies",
    "estimators",
    "fit",
    "free_energy",
    "infer",
    "likelihood",
    "load",
    "plot",
    "predict",
    "pretext",
    "project",
    "rollout",
    "sample",
    "save",
    "score",
    "testing",
]
