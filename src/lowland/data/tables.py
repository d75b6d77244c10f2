"""Tables of numbers: pandas, polars and pyarrow frames, CSV, TSV and Parquet files."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lowland._errors import DataError, DomainError
from lowland.data._files import MAX_BYTES, check_file, optional
from lowland.data._labels import encode_labels
from lowland.data.arrays import as_floating
from lowland.data.dataset import Dataset, position


def from_frame(
    frame: Any,
    *,
    columns: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = (),
    label: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """A dataset from a pandas, polars or pyarrow frame: a row is an item.

    Args:
        frame: the frame; the columns taken must be numbers or booleans, without gaps.
        columns: the columns to take; all of them if None.
        drop: columns to leave out.
        label: a column of any type to set apart as the labels, encoded as classes in sorted order.
        dtype: floating-point type of y.

    Returns:
        y of shape `(rows, columns)`, with the columns' names.

    Raises:
        DataError: a column is unknown or not numeric, a value is missing or infinite, there are no
            rows or columns, or the object is no such frame.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": [31, 47], "height": [1.8, 1.6], "city": ["Rome", "Oslo"]})
        >>> data = from_frame(frame, label="city")
        >>> data.names, data.labels, data.classes
        (('age', 'height'), tensor([1, 0]), ('Oslo', 'Rome'))
    """
    table = _eager(frame)
    available = list(table.columns)
    chosen = available if columns is None else _known(columns, available, "columns")
    left_out = {*_known(drop, available, "drop"), *_known(label or (), available, "label")}
    taken = [name for name in chosen if name not in left_out]
    if not taken:
        raise DataError(
            f"No column is left to model. The table has {available or 'no columns'}; take some of "
            f"them with columns=, or drop fewer."
        )
    if len(table) == 0:
        raise DataError(f"The table has columns {available} but no rows.")
    names = tuple(map(str, taken))
    series = dict(zip(available, table.iter_columns(), strict=True))
    values = np.stack([_numbers(series[name], str(name)) for name in taken], axis=1)
    encoded, classes = None, None
    if label is not None:
        missing = series[label].is_null().to_list()
        given = [None if m else v for m, v in zip(missing, series[label].to_list(), strict=True)]
        encoded, classes = encode_labels(given, f"column {label!r}")
    return Dataset(
        as_floating(torch.from_numpy(values), dtype, names),
        labels=encoded,
        names=names,
        kind="table",
        description=f"a table of {len(table)} rows",
        classes=classes,
    )


def _eager(frame: Any) -> Any:
    import narwhals.exceptions

    try:
        return narwhals.from_native(frame, eager_only=True)
    except (narwhals.exceptions.NarwhalsError, TypeError, ValueError) as error:
        raise DataError(
            f"A table must be a pandas, polars or pyarrow frame in memory, its columns named once "
            f"each. Got {type(frame).__name__} ({error}). A lazy frame becomes one by .collect()."
        ) from error


def _known(names: str | Sequence[str], available: list[Any], argument: str) -> list[Any]:
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in available:
            close = difflib.get_close_matches(str(name), list(map(str, available)), n=1)
            raise DataError(
                f"'{argument}' names column {name!r}, which the table does not have. "
                + (f"Did you mean {close[0]!r}? " if close else "")
                + f"Its columns are {available}."
            )
    return wanted


def _numbers(series: Any, name: str) -> Any:
    """The column as float64 `(rows,)`, complete and finite."""
    import narwhals

    if name == "":
        raise DataError(
            "A column has no name; often it is an index that was saved with the table. Leave it "
            "out with drop=[''], or give it a name."
        )
    if series.null_count() == len(series):
        raise DataError(f"Column {name!r} has no value in any row. Leave it out: drop=[{name!r}].")
    if not (series.dtype.is_numeric() or isinstance(series.dtype, narwhals.Boolean)):
        row, value = _first_word(series.to_list())
        raise DataError(
            f"Column {name!r} is not numeric: its type is {series.dtype}, and row {row} (counted "
            f"from 0) holds {value!r}. Leave it out with drop=[{name!r}], set it apart with "
            f"label={name!r}, or encode it as numbers first."
        )
    missing = series.is_null().to_numpy()
    values = np.zeros(len(series)) if missing.any() else series.to_numpy().astype(np.float64)
    bad = np.flatnonzero(missing | ~np.isfinite(values))
    if len(bad):
        row = int(bad[0])
        found = "a missing value" if missing[row] or np.isnan(values[row]) else "infinity"
        raise DataError(
            f"There is {found} at {position((row, 0), (name,))} (counted from 0; {len(bad)} such "
            f"row(s) in that column). Remove or complete those rows first, or drop the column with "
            f"drop=[{name!r}]."
        )
    return values


def _first_word(values: list[Any]) -> tuple[int, Any]:
    """The first value that is no number, and its row: in a column of numbers, the culprit."""
    for row, value in enumerate(values):
        if value is not None and not _is_number(value):
            return row, value
    return 0, values[0]


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def table_file(
    path: str | Path,
    *,
    columns: str | Sequence[str] | None = None,
    drop: str | Sequence[str] = (),
    label: str | None = None,
    header: bool = True,
    delimiter: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    r"""A dataset from a CSV, TSV or Parquet file, by the rules of `from_frame`.

    Args:
        path: the file; its suffix says its format.
        columns: the columns to take; all of them if None.
        drop: columns to leave out.
        label: a column of any type to set apart as the labels.
        header: whether the first line holds names; columns are called f0, f1, … if not. CSV only.
        delimiter: what separates values; a comma in .csv and a tab in .tsv if None. CSV only.
        dtype: floating-point type of y.

    Raises:
        DataError: the file is missing, empty, damaged or not what its name says, or `from_frame`
            refuses its content.
        DomainError: an option is given that the file type does not take.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = path.write_text("age,height\n31,1.8\n47,1.6\n")
        >>> table_file(path).names
        ('age', 'height')
    """
    path = Path(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        table = _read_text(path, header, delimiter)
    else:
        for option, given in (("header", not header), ("delimiter", delimiter is not None)):
            if given:
                raise DomainError(
                    f"The option '{option}' is for .csv and .tsv files. Got it for {path}: leave "
                    f"it out."
                )
        table = _read_parquet(path)
    try:
        return from_frame(table, columns=columns, drop=drop, label=label, dtype=dtype)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read_text(path: Path, header: bool, delimiter: str | None) -> Any:
    arrow = optional("pyarrow", needed_for=f"Reading {path}", extra="tables")
    csv = optional("pyarrow.csv", needed_for=f"Reading {path}", extra="tables")
    separator = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    if len(separator) != 1:
        raise DomainError(f"The 'delimiter' must be one character. Got {separator!r}.")
    check_file(path, "text")
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(autogenerate_column_names=not header),
            parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        )
        names = table.column_names
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table of text ({error}).") from error
    if header and all(map(_is_number, names)):
        raise DataError(
            f"The first line of {path} holds numbers, {', '.join(names[:3])}, …, where the names "
            f"of the columns belong. Read it with header=False, or add a line of names."
        )
    if len(names) == 1:
        found = [other for other in (";", "\t", ",", "|") if other in names[0]]
        if found:
            raise DataError(
                f"The first line of {path} has no {separator!r} but {found[0]!r}. Read it with "
                f"delimiter={found[0]!r}."
            )
    return table


def _read_parquet(path: Path) -> Any:
    arrow = optional("pyarrow", needed_for=f"Reading {path}", extra="tables")
    parquet = optional("pyarrow.parquet", needed_for=f"Reading {path}", extra="tables")
    check_file(path, "a Parquet file")
    try:
        with parquet.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
            # Encoded columns can declare far more rows than the file has bytes.
            fits = 8 * rows * columns <= MAX_BYTES
            table = file.read() if fits else None
            index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
            # An index that pandas saved beside the columns is not a measurement.
            if table is not None:
                table.validate(full=True)
                table = table.drop_columns([name for name in index if name in table.column_names])
    except (arrow.ArrowException, OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is a damaged Parquet file ({error}). Copy or export it again."
        ) from error
    if table is None:
        raise DataError(
            f"{path} declares {rows:,} rows of {columns} columns, more than {MAX_BYTES:,} bytes. "
            f"Read a part of it with pandas or polars and give the frame."
        )
    return table
