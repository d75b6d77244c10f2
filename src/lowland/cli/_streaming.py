"""Runs on data larger than memory: what is read of them at once, and what cannot be asked for."""

from pathlib import Path
from typing import Any

from lowland._errors import DataError, DomainError
from lowland.data import Dataset, Stream, stream

# An energy is started from the first rows, its units are measured on them, and questions are asked
# about them.
FIRST_ROWS = 65_536


def open_stream(source: str, options: dict[str, Any]) -> Stream:
    """The rows of a file, block by block.

    Raises:
        DataError: the source is no file that can be streamed.
        DomainError: an option needs all the data in memory.
    """
    unsuited = [f"--{name}" for name in options if name != "columns"]
    if unsuited:
        raise DomainError(f"'--stream' takes rows as they are: leave {unsuited[0]} out.")
    if Path(source).suffix not in (".npy", ".parquet"):
        raise DataError(
            f"{source} cannot be streamed. Files that can are .npy and .parquet. Leave '--stream' "
            f"out if it fits in memory."
        )
    return stream(source, rows=FIRST_ROWS, columns=options.get("columns"))


def first_rows(blocks: Stream) -> Dataset:
    """The beginning of a stream, as a dataset."""
    y = blocks.first(FIRST_ROWS)
    kind = "table" if y.dim() == 2 else "array"
    return Dataset(y, kind=kind, description=blocks.description)
