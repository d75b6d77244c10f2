"""Compiled kernels, where lowland was installed with a C compiler at hand.

Each does what Python code beside its caller does too, in fewer passes over memory; that code is the
definition, and what runs where there is no compiler.
"""

import ctypes
from functools import cache
from pathlib import Path

_POINTER, _LONG, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double


@cache
def kernels() -> ctypes.CDLL | None:
    """The library of kernels, or None where none was compiled for this machine."""
    path = Path(__file__).with_name("kernels.so")
    if not path.exists():
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError:  # compiled for another machine
        return None
    library.lowland_widest.argtypes = []
    library.lowland_widest.restype = _INT
    library.lowland_panel.argtypes = []
    library.lowland_panel.restype = _LONG
    library.lowland_lloyd.argtypes = [
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
    ]
    library.lowland_lloyd.restype = _LONG
    library.lowland_lasso.argtypes = [
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
    ]
    library.lowland_lasso.restype = _INT
    library.lowland_leaf.argtypes = [
        _INT,  # width
        _INT,  # bytes of a number
        _POINTER,  # the half tree
        _POINTER,  # energy
        _POINTER,  # slope
        _LONG,  # leaf
        _INT,  # last
    ]
    library.lowland_leaf.restype = _LONG
    library.lowland_state.argtypes = []
    library.lowland_state.restype = _LONG
    library.lowland_same.argtypes = [_POINTER, _POINTER]
    library.lowland_same.restype = _INT
    library.lowland_mersenne.argtypes = [
        _INT,  # width
        _INT,  # kind
        _POINTER,  # from
        _POINTER,  # to
        _POINTER,  # chances
        _POINTER,  # out
        _LONG,  # n
    ]
    library.lowland_mersenne.restype = _INT
    return library
