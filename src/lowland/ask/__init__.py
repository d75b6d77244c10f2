"""Questions to any trained energy: functions of an energy, one question a file.

Each checks its input once, works in the energy's own units, and answers in the data's.
"""

from lowland.ask.complete import Completion, complete
from lowland.ask.encode import encode
from lowland.ask.likelihood import Likelihood, likelihood
from lowland.ask.predict import Prediction, predict
from lowland.ask.project import project
from lowland.ask.rollout import Rollout, rollout
from lowland.ask.sample import sample
from lowland.ask.score import score

__all__ = [
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
]
