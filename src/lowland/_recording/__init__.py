"""A computation on tensors as straight-line code, recorded once and run with no graph to build.

`code` records and writes, `rewrites` puts cheaper operations in, `lifetimes` tells when memory can
serve again.
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
from lowland._recording.lifetimes import is_view, lifetimes, rooms, roots
from lowland._recording.rewrites import rewrite, without_changes

__all__ = [
    "REFUSALS",
    "Recording",
    "Untraceable",
    "fingerprint",
    "is_view",
    "keep_freed_memory",
    "lifetimes",
    "needed",
    "record",
    "rewrite",
    "rooms",
    "roots",
    "same",
    "without_changes",
]
