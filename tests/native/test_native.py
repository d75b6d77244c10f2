"""Where there is a C compiler, lowland is installed with its kernels."""

import ctypes
import shutil
from collections.abc import Iterator

import pytest

from lowland import _native
from lowland._native import kernels


@pytest.fixture
def afresh() -> Iterator[None]:
    kernels.cache_clear()
    yield
    kernels.cache_clear()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_kernels_are_there_where_a_compiler_is() -> None:
    assert kernels() is not None


@pytest.mark.usefixtures("afresh")
def test_kernels_of_another_version_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels() is None:
        pytest.skip("lowland was installed without a C compiler")
    kernels.cache_clear()
    monkeypatch.setitem(_native._SIGNATURES, "lowland_of_tomorrow", (ctypes.c_int, []))
    with pytest.warns(UserWarning, match="another version .*lowland_of_tomorrow.*Install"):
        assert kernels() is None


@pytest.mark.usefixtures("afresh")
def test_kernels_of_another_machine_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(path: str) -> None:
        raise OSError("invalid ELF header")

    monkeypatch.setattr(ctypes, "CDLL", foreign)
    assert kernels() is None
