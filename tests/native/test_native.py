"""Where there is a C compiler, lowland is installed with its kernels."""

import shutil

import pytest

from lowland._native import kernels


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_kernels_are_there_where_a_compiler_is() -> None:
    assert kernels() is not None
