"""Kernels in C, by the instruction set that they are compiled for."""

import ctypes

import pytest

from lowland._native import kernels

WIDTHS = {"portable": 0, "avx2": 1, "avx512": 2}


def library(width: int = 0) -> ctypes.CDLL:
    """The kernels; the test is skipped where there are none of that width."""
    found = kernels()
    if found is None:
        pytest.skip("lowland was installed without a C compiler")
    if width > found.lowland_widest():
        pytest.skip("this processor lacks the instructions")
    return found
