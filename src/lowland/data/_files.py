"""What a file really holds, whatever its name says, and how much of it is taken in at once."""

import codecs
import importlib
from pathlib import Path
from typing import Any

from lowland._errors import DataError

# No array that a file declares may be larger: beyond it, memory runs out before anything is said.
MAX_BYTES = 8 * 2**30

_HEAD_BYTES = 2**16
_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"PAR1", "a Parquet file"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"RIFF", "a RIFF file, such as WebP"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x80", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file"),
)


def content(head: bytes) -> str:
    """Words for what a file is, judged by its first bytes.

    Example:
        >>> content(b"a,b"), content(b"PAR1" + bytes(9))
        ('text', 'a Parquet file')
    """
    if _is_text(head):
        opening = head[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        return "a web page" if opening.startswith((b"<!doctype html", b"<html")) else "text"
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            return what
    return "neither text nor a format that lowland knows"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        # Incremental, for the head may end in the middle of a character.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def check_file(path: Path, expected: str) -> None:
    """Raise unless `path` is a file that can be read and whose content is `expected`.

    Args:
        path: the file.
        expected: what `content` should say of it.

    Raises:
        DataError: it is missing, empty, unreadable, or holds something else.
    """
    if not path.exists():
        raise DataError(f"There is no file {path}. Check the path.")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file. Expected {expected}.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}.") from error
    if not head:
        raise DataError(f"{path} is empty: it has 0 bytes. Expected {expected}.")
    found = content(head)
    if found != expected:
        raise DataError(
            f"{path} is not what its name says. Expected {expected}, found {found}. Give it its "
            f"right suffix, or export it again" + (" as UTF-8." if expected == "text" else ".")
        )


def optional(module: str, *, needed_for: str, extra: str) -> Any:
    """Import a library that only some sources of data need.

    Raises:
        DataError: it is not installed; the message names the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"{needed_for} needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Install it with: pip install 'lowland[{extra}]'"
        ) from error
