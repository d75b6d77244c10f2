import contextlib
import datetime
import inspect
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lowland._errors import DataError, DomainError, LowlandError
from lowland.data import from_frame, read
from lowland.data.tables import table_file

COLUMNS = {"age": [31, 47, 52], "height": [1.75, 1.5, 2.0], "member": [True, False, True]}
CITIES = {**COLUMNS, "city": ["Rome", "Oslo", "Rome"]}
EXPECTED = [[31.0, 1.75, 1.0], [47.0, 1.5, 0.0], [52.0, 2.0, 1.0]]

every_frame = pytest.mark.parametrize(
    "frame", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"]
)


@every_frame
def test_frames(frame: Any) -> None:
    data = read(frame(COLUMNS))
    assert data.names == ("age", "height", "member")
    assert data.y.tolist() == EXPECTED
    assert (data.y.dtype, data.kind) == (torch.float32, "table")
    assert read(frame(COLUMNS), dtype=torch.float64).y.dtype == torch.float64


@every_frame
def test_choosing_columns(frame: Any) -> None:
    table = frame(CITIES)
    assert from_frame(table, columns=["height", "age"]).names == ("height", "age")
    assert from_frame(table, columns="age").y.tolist() == [[31.0], [47.0], [52.0]]
    assert from_frame(table, drop="city").y.tolist() == EXPECTED
    labelled = from_frame(table, label="city")
    assert labelled.names == ("age", "height", "member")
    assert labelled.labels.tolist() == [1, 0, 1]
    assert labelled.classes == ("Oslo", "Rome")


@every_frame
def test_numeric_labels_are_sorted_classes(frame: Any) -> None:
    data = from_frame(frame({"a": [1, 2, 3], "grade": [9, 5, 9]}), label="grade")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.classes == ("5", "9")


@every_frame
def test_a_word_among_numbers_is_named(frame: Any) -> None:
    table = frame({"a": [1, 2, 3], "b": ["1.5", "2", "unknown"]})
    with pytest.raises(
        DataError, match=r"Column 'b' is not numeric: its type is String.*row 2.*'unknown'.*drop="
    ):
        from_frame(table)


@every_frame
def test_dates_are_not_numbers(frame: Any) -> None:
    table = frame({"a": [1.0], "day": [datetime.datetime(2020, 1, 1)]})
    with pytest.raises(DataError, match=r"Column 'day' is not numeric: its type is Datetime"):
        from_frame(table)


@every_frame
@pytest.mark.parametrize("bad", [None, float("nan")])
def test_a_gap_is_named(frame: Any, bad: Any) -> None:
    table = frame({"a": [1.0, 2.0, 3.0], "age": [1.0, bad, bad]})
    with pytest.raises(DataError, match=r"missing value at row 1, column 'age'.*2 such row"):
        from_frame(table)
    assert from_frame(table, drop=["age"]).names == ("a",)


@every_frame
def test_infinity_is_named(frame: Any) -> None:
    with pytest.raises(DataError, match="infinity at row 1, column 'a'"):
        from_frame(frame({"a": [0.0, float("-inf")]}))


@every_frame
def test_a_column_without_values(frame: Any) -> None:
    with pytest.raises(DataError, match="Column 'void' has no value in any row"):
        from_frame(frame({"a": [1.0, 2.0], "void": [None, None]}))


@every_frame
def test_a_missing_label(frame: Any) -> None:
    with pytest.raises(DataError, match="label at row 1 of column 'kind' is missing"):
        from_frame(frame({"a": [1.0, 2.0], "kind": ["x", None]}), label="kind")


@every_frame
def test_unknown_columns(frame: Any) -> None:
    for option in ("columns", "drop", "label"):
        with pytest.raises(DataError, match=f"'{option}' names column 'agee'.*mean 'age'"):
            from_frame(frame(CITIES), **{option: "agee"})


@every_frame
def test_nothing_left(frame: Any) -> None:
    with pytest.raises(DataError, match="No column is left"):
        from_frame(frame({"a": [1.0]}), drop=["a"])
    with pytest.raises(DataError, match="no rows"):
        from_frame(frame({"a": np.zeros(0)}))


def test_pandas_own_types() -> None:
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, 2], dtype="Int64"),
            "yes": pd.array([True, False], dtype="boolean"),
            "arrow": pd.array([0.5, 1.5], dtype="float64[pyarrow]"),
            "small": np.array([1, 2], dtype=np.uint8),
        },
        index=["p", "q"],
    )
    assert from_frame(frame).y.tolist() == [[1.0, 1.0, 0.5, 1.0], [2.0, 0.0, 1.5, 2.0]]
    frame["whole"] = pd.array([1, None], dtype="Int64")
    with pytest.raises(DataError, match="missing value at row 1, column 'whole'"):
        from_frame(frame)
    with pytest.raises(DataError, match="label at row 1 of column 'whole' is missing"):
        from_frame(frame, label="whole")
    with pytest.raises(DataError, match="Column 'c' is not numeric: its type is Categorical"):
        from_frame(pd.DataFrame({"c": pd.Categorical(["a", "b"])}))


def test_decimals() -> None:
    table = pa.table({"price": [Decimal("1.50"), Decimal("2.25")]})
    assert from_frame(table).y.tolist() == [[1.5], [2.25]]


def test_pandas_columns_named_by_numbers() -> None:
    data = from_frame(pd.DataFrame(np.eye(2)))
    assert data.names == ("0", "1")
    assert data.y.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_doubled_columns_lazy_frames_and_series() -> None:
    with pytest.raises(DataError, match="named once each"):
        from_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match=r"LazyFrame.*\.collect\(\)"):
        read(pl.LazyFrame(COLUMNS))
    with pytest.raises(DataError, match="Cannot read data from Series"):
        read(pd.Series([1.0]))


def test_numbers_that_do_not_fit_float32_are_named() -> None:
    frame = pd.DataFrame({"time": 1.7e9 + np.arange(3.0)})
    with pytest.raises(DataError, match=r"Column 'time' varies by less than torch.float32"):
        from_frame(frame)
    with pytest.raises(DataError, match="at row 1, column 'big' is too large"):
        from_frame(pd.DataFrame({"big": [1.0, 1e300]}))


def test_csv_tsv_and_parquet_round_trips(tmp_path: Path) -> None:
    frame = pd.DataFrame(CITIES)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.TSV", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    pl.DataFrame(CITIES).write_parquet(tmp_path / "b.parquet")
    for name in ("a.csv", "a.TSV", "a.parquet", "b.parquet"):
        data = read(str(tmp_path / name), label="city")
        assert data.y.tolist() == EXPECTED
        assert data.names == ("age", "height", "member")
        assert data.classes == ("Oslo", "Rome")


def test_a_saved_index_is_not_data(tmp_path: Path) -> None:
    frame = pd.DataFrame(COLUMNS, index=[5, 7, 9])
    frame.to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").names == ("age", "height", "member")
    frame.to_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match="column has no name; often it is an index"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", drop=[""]).y.tolist() == EXPECTED


def test_csv_without_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match=r"first line .* holds numbers, 1, 2, .*header=False"):
        read(path)
    data = read(path, header=False)
    assert data.y.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert data.names == ("f0", "f1")


def test_csv_with_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1;2\n")
    with pytest.raises(DataError, match=r"no ',' but ';'. Read it with delimiter=';'"):
        read(path)
    assert read(path, delimiter=";").y.tolist() == [[1.0, 2.0]]
    with pytest.raises(DomainError, match="'delimiter' must be one character"):
        read(path, delimiter="--")


def test_csv_with_a_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"a","say ""b"""\r\n1,"2"\r\n')
    assert read(path).names == ("a", 'say "b"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "columns .'a', 'b'. but no rows"),
        ("\n\n", "cannot be read as a table"),
        ("a,b\n1,2,3\n", "cannot be read as a table of text .*Expected 2 columns, got 3"),
        ("a,a\n1,2\n", "named once each"),
        ("a,b\n1,?\n", r"a.csv: Column 'b' is not numeric.*row 0.*'\?'"),
        ("a,b\n1,\n2,3\n", "a.csv: There is a missing value at row 0, column 'b'"),
        ("a,b\n1,NaN\n2,3\n", "a.csv: There is a missing value at row 0, column 'b'"),
        ("<!DOCTYPE html>\n<p>sign in", "Expected text, found a web page"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read(path)


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("größe\n1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"Expected text, found neither.*as UTF-8"):
        read(path)
    path.write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"Expected text, found neither"):
        read(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_parquet(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.arange(1000.0)}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="damaged Parquet file"):
        read(path)


def test_altered_parquet_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame(CITIES).to_parquet(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        raw = bytearray(whole)
        for place in random.integers(0, len(raw), 3):
            raw[place] = random.integers(256)
        path.write_bytes(bytes(raw))
        with contextlib.suppress(LowlandError):
            read(path, label="city")


def test_a_parquet_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.zeros(10**6), "b": np.zeros(10**6)}), path)
    assert path.stat().st_size < 10**5
    monkeypatch.setitem(inspect.unwrap(table_file).__globals__, "MAX_BYTES", 10**7)
    with pytest.raises(DataError, match="declares 1,000,000 rows of 2 columns, more than 10,000"):
        table_file(path)


def test_parquet_takes_no_csv_options(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(COLUMNS), path)
    for option in ({"header": False}, {"delimiter": ";"}):
        with pytest.raises(DomainError, match=r"is for .csv and .tsv files"):
            read(path, **option)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"needs pyarrow.*pip install 'lowland\[tables\]'"):
        table_file(tmp_path / "a.csv")
