"""Data larger than memory: blocks of rows that can be read again from the beginning."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowland._errors import DataError, DomainError, ShapeError
from lowland.data._files import check_file, optional
from lowland.data.tokenizer import Tokenizer

ROWS = 65_536


class Stream:
    """Blocks of rows, read one after the other, as often as they are asked for.

    Each block is checked as it comes: a value that is not finite is named by its row in the whole
    stream, and nothing learned before it is lost.

    Args:
        blocks: called without arguments at the beginning of each pass; returns the blocks, tensors
            or arrays `(rows, *event)`, the same ones each time.
        rows: how many rows to hand on at a time, at most.
        dtype: the type that the rows get.
        description: what the data are, for messages.
        tokenizer: how rows of tokens become text again, or None.

    Attributes:
        length: how many rows there are; None until they have been read to the end.

    Raises:
        DomainError: `rows` is not positive.

    Example:
        >>> halves = Stream(lambda: [torch.zeros(3, 2), torch.ones(2, 2)], rows=2)
        >>> [len(block) for block in halves]
        [2, 1, 2]
        >>> halves.event
        (2,)
    """

    def __init__(
        self,
        blocks: Callable[[], Iterable[Any]],
        *,
        rows: int = ROWS,
        dtype: torch.dtype = torch.float32,
        description: str = "a stream",
        tokenizer: Tokenizer | None = None,
    ) -> None:
        if isinstance(rows, bool) or rows < 1:
            raise DomainError(f"'rows' of a stream must be at least 1. Got {rows!r}.")
        self._blocks = blocks
        self.rows = rows
        self.dtype = dtype
        self.description = description
        self.tokenizer = tokenizer
        self.length: int | None = None
        self._event: tuple[int, ...] | None = None

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one row; looks at the first block."""
        if self._event is None:
            for _ in self:
                break
        if self._event is None:
            raise DomainError(f"{self.description} is empty: it has no rows.")
        return self._event

    def first(self, rows: int) -> Tensor:
        """The first rows, `(rows, *event)` or fewer, to start an energy from."""
        parts, held = [], 0
        for block in self:
            parts.append(block[: rows - held])
            held += len(parts[-1])
            if held >= rows:
                break
        if not parts:
            raise DomainError(f"{self.description} is empty: it has no rows.")
        return torch.cat(parts)

    def __iter__(self) -> Iterator[Tensor]:
        """One pass over the blocks `(at most rows, *event)`.

        Raises:
            DomainError: a value is not finite; the message names its row.
            ShapeError: a block's rows are shaped differently from those before.
            DataError: `blocks` returned something that is not numbers, or nothing a second time.
        """
        seen = 0
        for block in self._blocks():
            values = self._as_rows(block)
            for start in range(0, len(values), self.rows):
                part = values[start : start + self.rows]
                self._check(part, seen)
                seen += len(part)
                yield part
        self.length = seen
        if seen == 0 and self._event is not None:
            raise DataError(
                f"{self.description} gave rows in its first pass and none in a later one: its "
                f"'blocks' must begin anew each time. Give a function that opens the source, not "
                f"an iterator that is used up."
            )

    def _as_rows(self, block: Any) -> Tensor:
        try:
            values = block if isinstance(block, Tensor) else torch.as_tensor(np.array(block))
            return values.to(self.dtype)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self.description} holds a block that is not numbers: {error}."
            ) from error

    def _check(self, part: Tensor, seen: int) -> None:
        event = tuple(part.shape[1:])
        if part.dim() < 2 or (self._event is not None and event != self._event):
            raise ShapeError(
                f"{self.description}: rows {seen} to {seen + len(part) - 1} have shape {event}, "
                f"expected {self._event or 'at least one axis after the rows'}."
            )
        self._event = event
        # A sum is finite only if its terms are, and costs a small part of looking at each.
        if bool(torch.isfinite(part.sum())):
            return
        finite = torch.isfinite(part).flatten(1).all(1)
        if not bool(finite.all()):  # else the sum alone was too large
            row = seen + int(torch.nonzero(~finite)[0])
            raise DomainError(
                f"{self.description}: row {row} (counted from 0) holds NaN or infinite values. "
                f"Remove or complete it; nothing learned before it is lost."
            )


def stream(
    source: Any,
    *,
    rows: int = ROWS,
    columns: list[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Stream:
    """A stream over data that need not fit in memory.

    Args:
        source: a NumPy array (a memory map, for example), the path of a .npy file (mapped, not
            loaded) or of a .parquet file (read by groups of rows), or a function that returns an
            iterable of blocks each time it is called.
        rows: how many rows to hand on at a time, at most.
        columns: the columns of a Parquet file to read; all if None.
        dtype: the floating-point type that the rows get.

    Raises:
        DataError: the source is missing, damaged or of another kind.
        DomainError: an option is out of range or does not apply.

    Example:
        >>> import numpy as np
        >>> sum(len(block) for block in stream(np.zeros((10, 3)), rows=4))
        10
    """
    if columns is not None and not str(source).endswith(".parquet"):
        raise DomainError("'columns' applies to Parquet files. Leave it out for other sources.")
    if isinstance(source, np.ndarray | Tensor):
        starts = range(0, len(source), max(1, rows))
        return Stream(
            lambda: (source[start : start + rows] for start in starts),
            rows=rows,
            dtype=dtype,
            description="the array",
        )
    if callable(source):
        return Stream(source, rows=rows, dtype=dtype)
    if isinstance(source, str | Path):
        return _from_path(Path(source), rows, columns, dtype)
    raise DataError(
        f"Cannot stream {type(source).__name__}. Give an array, the path of a .npy or .parquet "
        f"file, or a function that returns blocks."
    )


def _from_path(path: Path, rows: int, columns: list[str] | None, dtype: torch.dtype) -> Stream:
    if path.suffix == ".npy":
        check_file(path, "a NumPy array file")
        return Stream(lambda: _mapped(path, rows), rows=rows, dtype=dtype, description=str(path))
    if path.suffix == ".parquet":
        check_file(path, "a Parquet file")
        return Stream(
            lambda: _row_groups(path, rows, columns),
            rows=rows,
            dtype=dtype,
            description=str(path),
        )
    raise DataError(f"{path} cannot be streamed. Files that can are .npy and .parquet.")


def _mapped(path: Path, rows: int) -> Iterator[NDArray[Any]]:
    try:
        n = len(np.load(path, mmap_mode="r", allow_pickle=False))
        for start in range(0, n, rows):
            # Mapped anew each time, so that pages already read do not count as memory in use.
            yield np.load(path, mmap_mode="r", allow_pickle=False)[start : start + rows]
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is not a readable NumPy array ({error}).") from error


def _row_groups(path: Path, rows: int, columns: list[str] | None) -> Iterator[NDArray[Any]]:
    parquet = optional("pyarrow.parquet", needed_for="Streaming Parquet files", extra="tables")
    arrow = optional("pyarrow", needed_for="Streaming Parquet files", extra="tables")
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [column for column in columns or () if column not in names]
            if missing:
                raise DomainError(f"{path} has no column {missing[0]!r}. It has: {names}.")
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                columns_read = [_numbers(path, name, batch[name]) for name in batch.schema.names]
                yield np.stack(columns_read, 1)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}).") from error


def _numbers(path: Path, name: str, column: Any) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: column {name!r} is not numeric ({column.type}). Name the columns to read "
            f"with columns=[...]."
        )
    return values
