from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lowland as ll
from lowland.data import stream


def rows(n: int, d: int = 3) -> np.ndarray:
    return np.arange(n * d, dtype=np.float32).reshape(n, d)


def whole(blocks: ll.data.Stream) -> torch.Tensor:
    return torch.cat(list(blocks))


@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_every_source_gives_the_rows_in_order_and_again(size: int, tmp_path: Path) -> None:
    array = rows(10)
    np.save(tmp_path / "a.npy", array)
    pd.DataFrame(array, columns=list("abc")).to_parquet(tmp_path / "a.parquet")
    sources = [array, torch.tensor(array), tmp_path / "a.npy", str(tmp_path / "a.parquet")]
    for source in sources:
        found = stream(source, rows=size)
        assert all(len(block) <= size for block in found)
        for _ in range(2):
            assert torch.equal(whole(found), torch.tensor(array))
        assert found.event == (3,)
        assert torch.equal(found.first(7), torch.tensor(array[:7]))


def test_a_mapped_file_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(2_000_000, 8)).flush()
    assert len(next(iter(stream(path, rows=5)))) == 5


def test_columns_of_a_table(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}).to_parquet(tmp_path / "t.parquet")
    chosen = stream(tmp_path / "t.parquet", columns=["a"])
    assert whole(chosen).tolist() == [[1.0], [2.0]]
    with pytest.raises(ll.DataError, match="'b' is not numeric"):
        whole(stream(tmp_path / "t.parquet"))
    with pytest.raises(ll.DomainError, match="no column 'c'"):
        whole(stream(tmp_path / "t.parquet", columns=["c"]))
    with pytest.raises(ll.DomainError, match="'columns' applies to Parquet"):
        stream(rows(2), columns=["a"])


def test_a_row_that_is_not_finite_is_named_by_its_place_in_the_stream() -> None:
    array = rows(1000)
    array[700, 1] = np.nan
    with pytest.raises(ll.DomainError, match="row 700 "):
        whole(stream(array, rows=64))


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(ll.DataError, match="There is no file"):
        stream(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(ll.DataError, match="not what its name says"):
        stream(tmp_path / "text.npy")
    with pytest.raises(ll.DataError, match="cannot be streamed"):
        stream(tmp_path / "a.csv")
    with pytest.raises(ll.DataError, match="Cannot stream int"):
        stream(3)
    with pytest.raises(ll.DomainError, match="'rows'"):
        stream(rows(2), rows=0)
    with pytest.raises(ll.DataError, match="not numbers"):
        whole(stream(lambda: [np.array([["a"]])]))
    with pytest.raises(ll.ShapeError, match="rows 2 to 3"):
        whole(stream(lambda: [torch.zeros(2, 3), torch.zeros(2, 4)]))


def test_an_iterator_that_is_used_up_is_noticed() -> None:
    blocks = iter([torch.zeros(2, 3)])
    once = stream(lambda: blocks)
    assert len(whole(once)) == 2
    with pytest.raises(ll.DataError, match="begin anew"):
        list(once)


def test_an_empty_stream_has_no_event() -> None:
    with pytest.raises(ll.DomainError, match="empty"):
        _ = stream(lambda: []).event
