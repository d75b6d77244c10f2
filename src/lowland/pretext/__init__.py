"""Pretext tasks: how a datum becomes (x, y). A task is a mask of what is observed.

`Given` keeps one mask for every datum; `region` names the usual ones (a half, some columns).
"""

from lowland.pretext.given import Given
from lowland.pretext.regions import region

__all__ = ["Given", "region"]
