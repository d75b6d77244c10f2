"""A computation on tensors as straight-line code, recorded once and run with no graph to build.

`code` records and writes, `interpreted` writes for torch's own interpreter, `rewrites` puts cheaper
operations in, `repeats` takes out what is done twice, `lifetimes` tells when memory can serve
again, `constants` whether tensors that were looked at are still in place.
"""

from lowland._recording.code import (
    REFUSALS,
    Recording,
    Untraceable,
    fingerprint,
    keep_freed_memory,
    needed,
    record,
    same,
)
from lowland._recording.constants import Place, places
from lowland._recording.interpreted import interpreted, spelled
from lowland._recording.lifetimes import Last, is_view, lifetimes, rooms, roots
from lowland._recording.repeats import without_repeats
from lowland._recording.rewrites import by_channels, by_items, rewrite, without_changes

__all__ = [
    "REFUSALS",
    "Last",
    "Place",
    "Recording",
    "Untraceable",
    "by_channels",
    "by_items",
    "fingerprint",
    "interpreted",
    "is_view",
    "keep_freed_memory",
    "lifetimes",
    "needed",
    "places",
    "record",
    "rewrite",
    "rooms",
    "roots",
    "same",
    "spelled",
    "without_changes",
    "without_repeats",
]
