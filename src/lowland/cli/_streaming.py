"""Runs on data larger than memory: what is read of them at once, and what cannot be asked for."""

from pathlib import Path
from typing import Any

from lowland._errors import DataError, DomainError
from lowland.data import Dataset, Stream, stream, stream_text

# An energy is started from the first rows, its units are measured on them, and questions are asked
# about them.
FIRST_ROWS = 65_536
TEXTS = (".txt", ".md")


def open_stream(source: str, options: dict[str, Any]) -> Stream:
    """The rows of a file, or the blocks of a text, part by part.

    Raises:
        DataError: the source is no file that can be streamed.
        DomainError: an option needs all the data in memory.
    """
    path = Path(source)
    text = path.suffix in TEXTS
    suited = ("tokenizer", "vocabulary", "length") if text else ("columns",)
    unsuited = [f"--{name}" for name in options if name not in suited]
    if unsuited:
        raise DomainError(f"'--stream' takes rows as they are: leave {unsuited[0]} out.")
    if text:
        return stream_text(path, **options)
    if path.suffix not in (".npy", ".parquet"):
        raise DataError(
            f"{source} cannot be streamed. Files that can are .npy, .parquet, "
            f"{' and '.join(TEXTS)}. Leave '--stream' out if it fits in memory."
        )
    return stream(source, rows=FIRST_ROWS, columns=options.get("columns"))


def first_rows(blocks: Stream) -> Dataset:
    """The beginning of a stream, as a dataset."""
    y = blocks.first(FIRST_ROWS)
    kind = "table" if y.dim() == 2 else "array"
    if blocks.tokenizer is not None:
        kind = "text"
    return Dataset(y, kind=kind, description=blocks.description, tokenizer=blocks.tokenizer)
