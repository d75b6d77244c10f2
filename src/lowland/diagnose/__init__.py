"""Can it be trusted? Look at a surface, at chains, at a training run, and say it in words.

Each function returns a frozen result whose `verdicts` are sentences about what is wrong; there are
none if nothing was seen to be.
"""

from lowland.diagnose.chains import Chains, chains
from lowland.diagnose.contrast import Contrast, Well, contrast
from lowland.diagnose.embedding import Embedding, embedding
from lowland.diagnose.training import Training, training

__all__ = [
    "Chains",
    "Contrast",
    "Embedding",
    "Training",
    "Well",
    "chains",
    "contrast",
    "embedding",
    "training",
]
