"""Compiled kernels, where lowland was installed with a C compiler at hand.

Each does what Python code beside its caller does too, in fewer passes over memory; that code is the
definition, and what runs where there is no compiler.
"""

import ctypes
import warnings
from functools import cache
from pathlib import Path

_POINTER, _LONG, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double


# What each kernel returns, and takes.
_SIGNATURES: dict[str, tuple[type, list[type]]] = {
    "lowland_widest": (_INT, []),
    "lowland_panel": (_LONG, []),
    "lowland_lloyd": (
        _LONG,
        [
            _INT,  # width
            _POINTER,  # y
            _LONG,  # n
            _LONG,  # d
            _POINTER,  # origin
            _POINTER,  # scratch
            _POINTER,  # packed
            _POINTER,  # offset
            _LONG,  # stride
            _POINTER,  # codes
            _POINTER,  # sums
            _POINTER,  # counts
            _POINTER,  # squares
            _INT,  # afresh
        ],
    ),
    "lowland_lasso": (
        _INT,
        [
            _INT,  # width
            _POINTER,  # gram
            _POINTER,  # atoms
            _LONG,  # k
            _LONG,  # d
            _DOUBLE,  # penalty
            _DOUBLE,  # tolerance
            _LONG,  # steps
            _INT,  # single
            _POINTER,  # y
            _POINTER,  # b
            _POINTER,  # start
            _LONG,  # n
            _POINTER,  # z
            _POINTER,  # value
            _POINTER,  # gap
            _POINTER,  # made
        ],
    ),
    "lowland_leaf": (
        _LONG,
        [
            _INT,  # width
            _INT,  # bytes of a number
            _POINTER,  # the half tree
            _POINTER,  # energy
            _POINTER,  # slope
            _LONG,  # leaf
            _INT,  # last
        ],
    ),
    "lowland_state": (_LONG, []),
    "lowland_same": (_INT, [_POINTER, _POINTER]),
    "lowland_mersenne": (
        _INT,
        [
            _INT,  # width
            _INT,  # kind
            _POINTER,  # from
            _POINTER,  # to
            _POINTER,  # chances
            _POINTER,  # out
            _LONG,  # n
        ],
    ),
}


@cache
def kernels() -> ctypes.CDLL | None:
    """The library of kernels, or None where none was compiled for this machine and version."""
    path = Path(__file__).with_name("kernels.so")
    if not path.exists():
        return None
    try:
        library = ctypes.CDLL(str(path))
        for name, (returns, takes) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = returns, takes
    except OSError:  # compiled for another machine
        return None
    except AttributeError as error:
        warnings.warn(
            f"The kernels in {path} are of another version of lowland ({error}), so that code in "
            f"torch runs in their place. Install lowland again: pip install -e . compiles them.",
            stacklevel=2,
        )
        return None
    return library
