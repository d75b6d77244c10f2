"""Pretext tasks: how a datum becomes (x, y). A task is a mask of what is observed.

`Given` keeps one mask for every datum; `region` names the usual ones (a half, some columns).
`Future`, `Masked` and `Occluded` are tasks: masks drawn from a generator, which serve training,
evaluation and questions alike. `with_actions` adds to the past what is done. `corrupt` holds the
damage that denoising undoes, `views` the changes that leave a thing what it is, whose results a
joint embedding compares.
"""

from lowland.pretext.acting import with_actions
from lowland.pretext.corrupt import (
    Corruption,
    GaussianNoise,
    MaskingNoise,
    SaltAndPepper,
    check_levels,
)
from lowland.pretext.future import Future
from lowland.pretext.given import Given, Pair
from lowland.pretext.masked import Masked
from lowland.pretext.occluded import Occluded
from lowland.pretext.regions import region
from lowland.pretext.task import Task, View
from lowland.pretext.views import Blanked, Moved, Together, usual_views

__all__ = [
    "Blanked",
    "Corruption",
    "Future",
    "GaussianNoise",
    "Given",
    "Masked",
    "MaskingNoise",
    "Moved",
    "Occluded",
    "Pair",
    "SaltAndPepper",
    "Task",
    "Together",
    "View",
    "check_levels",
    "region",
    "usual_views",
    "with_actions",
]
