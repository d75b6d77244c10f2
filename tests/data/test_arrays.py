import contextlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lowland._errors import DataError, DomainError, LowlandError
from lowland.data import from_array, read

ROWS = np.arange(12, dtype=np.float64).reshape(4, 3)


def header(shape: str, descr: str = "<f8") -> bytes:
    """An NPY header that says what it likes."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=1, max_dims=4),
        elements=st.floats(-1e6, 1e6).map(float),
    )
)
def test_values_are_kept(array: Any) -> None:
    data = from_array(array, dtype=torch.float64)
    assert np.array_equal(data.y.numpy(), array)


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.int64, np.uint16, np.float16, np.float64, ">f8", "<i4"]
)
def test_numbers_of_any_type_become_float32(dtype: Any) -> None:
    array = np.array([[0, 1], [1, 0]], dtype=dtype)
    data = from_array(array)
    assert data.y.dtype == torch.float32
    assert data.y.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert data.kind == "table"


def test_tensors_keep_their_type() -> None:
    assert from_array(torch.zeros(3, dtype=torch.float64)).y.dtype == torch.float64
    tokens = from_array(torch.tensor([[1, 2]]))
    assert tokens.y.dtype == torch.int64
    assert from_array(torch.tensor([[1, 2]]), dtype=torch.float64).y.dtype == torch.float64
    assert from_array(torch.tensor([[True]])).y.tolist() == [[1.0]]


def test_data_carry_no_gradient() -> None:
    assert not from_array(torch.zeros(3, 2, requires_grad=True)).y.requires_grad


def test_the_dataset_does_not_change_with_the_array() -> None:
    array = np.zeros((2, 2), dtype=np.float32)
    data = from_array(array)
    array[0, 0] = 9
    assert data.y.sum() == 0


@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor])
def test_uint8_images(wrap: Any) -> None:
    gray = np.array([[[0, 255], [51, 102]]], dtype=np.uint8)
    data = from_array(wrap(gray))
    assert data.kind == "image"
    assert torch.allclose(data.y, torch.tensor([[[[0.0, 1.0], [0.2, 0.4]]]]))
    colour = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    last, first = from_array(wrap(colour)), from_array(wrap(np.moveaxis(colour, -1, 1).copy()))
    assert last.event == (3, 5, 6)
    assert torch.equal(last.y, first.y)
    assert last.y[1, 2, 4, 3] == pytest.approx(colour[1, 4, 3, 2] / 255)


def test_uint8_rows_are_numbers() -> None:
    assert from_array(np.array([[0, 255]], dtype=np.uint8)).y.tolist() == [[0.0, 255.0]]


def test_labels_become_classes() -> None:
    data = from_array(ROWS, labels=np.array(["b", "a", "b", "c"]))
    assert data.labels.tolist() == [1, 0, 1, 2]
    assert data.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0, float("nan"), 1.0, 1.0], "label at row 1 of 'labels' is missing"),
        (np.array(["a", None, "b", "c"], dtype=object), "label at row 1"),
        (np.array([1, "a", 2, 3], dtype=object), "cannot be sorted"),
        (5, r"shape \(n,\). Got shape \(\)"),
        (torch.zeros(4, 1), r"shape \(n,\). Got shape \(4, 1\)"),
    ],
)
def test_bad_labels(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_array(ROWS, labels=labels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", "b"]), "numbers or booleans. Got a NumPy array of dtype <U1"),
        (np.array([1j]), "dtype complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dtype datetime64"),
        (np.array([object()]), "dtype object"),
        (torch.tensor([1j]), "real numbers. Got a tensor of torch.complex64"),
    ],
)
def test_arrays_that_are_not_numbers(array: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_array(array)


def test_numbers_that_do_not_fit_float32() -> None:
    with pytest.raises(DataError, match=r"1e\+40 at row 1, column 0 is too large.*torch.float64"):
        from_array(np.array([[1.0], [1e40]]))
    times = 1.7e9 + np.arange(20.0)[:, None]
    with pytest.raises(DataError, match=r"Column 0 varies by less than torch.float32"):
        from_array(times)
    assert from_array(times, dtype=torch.float64).y.unique().numel() == 20
    with pytest.raises(DomainError, match=r"must be floating point. Got torch.int64"):
        from_array(times, dtype=torch.int64)


def test_nan_and_empty() -> None:
    with pytest.raises(DomainError, match="Got nan at row 1, column 2"):
        from_array(np.where(ROWS == 5, np.nan, ROWS))
    with pytest.raises(DomainError, match="empty"):
        from_array(np.zeros((0, 3)))


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_round_trip(tmp_path: Path, order: Any) -> None:
    np.save(tmp_path / "rows.npy", np.asarray(ROWS, order=order))
    data = read(tmp_path / "rows.npy", dtype=torch.float64)
    assert np.array_equal(data.y.numpy(), ROWS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("key", "label"),
    [("X", "y"), ("x_train", "y_train"), ("data", "labels"), ("data", "target"), ("y", "labels")],
)
def test_npz_round_trip(tmp_path: Path, save: Any, key: str, label: str) -> None:
    arrays = {key: ROWS, label: np.array([7, 3, 3, 7]), "x_test": ROWS[:1]}
    save(tmp_path / "a.npz", **arrays)
    data = read(tmp_path / "a.npz")
    assert np.array_equal(data.y.numpy(), ROWS)
    assert data.labels.tolist() == [1, 0, 0, 1]
    assert data.classes == ("3", "7")


def test_npz_only_array_and_named_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", measurements=ROWS)
    assert len(read(tmp_path / "one.npz")) == 4
    np.savez(tmp_path / "two.npz", a=ROWS, b=-ROWS)
    with pytest.raises(DataError, match=r"several arrays: a, b. Say which .* key="):
        read(tmp_path / "two.npz")
    assert read(tmp_path / "two.npz", key="b", condition="a").x.sum() == ROWS.sum()
    with pytest.raises(DataError, match=r"no array 'c'. It holds: a, b"):
        read(tmp_path / "two.npz", key="c")


def test_npz_with_x_and_y_asks(tmp_path: Path) -> None:
    path = tmp_path / "xy.npz"
    np.savez(path, x=ROWS, y=np.array([0, 1, 1, 0]))
    with pytest.raises(DataError, match=r"both 'x' and 'y'.*key='y', condition='x'"):
        read(path)
    assert read(path, key="x", label="y").labels.tolist() == [0, 1, 1, 0]
    assert read(path, key="y", condition="x").x.shape == (4, 3)
    np.savez(path, x=ROWS, y=ROWS, labels=np.array([0, 1, 1, 0]))
    full = read(path)
    assert (full.x.shape, full.y.shape, len(full.labels)) == ((4, 3), (4, 3), 4)


def test_npz_labels_must_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=ROWS, y=np.zeros((4, 2)))
    with pytest.raises(DataError, match=r"'y' of shape \(4, 2\) does not hold one label"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", X=ROWS, y=np.zeros(()))
    with pytest.raises(DataError, match=r"'y' of shape \(\) does not hold one label"):
        read(tmp_path / "b.npz")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", y=objects)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(DataError, match="holds Python objects"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(10000000000000,)", "80,000,000,000,000 bytes, but holds 8"),
        ("(-1, -1)", r"declares shape \(-1, -1\)"),
        ("(2,)", "16 bytes, but holds 8"),
        ("'many'", "not a readable NumPy array"),
    ],
)
def test_a_header_that_lies(tmp_path: Path, shape: str, message: str) -> None:
    lie = header(shape) + bytes(8)
    (tmp_path / "a.npy").write_bytes(lie)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("y.npy", lie)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_a_zip_bomb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", header("(4194304,)") + bytes(8 * 4194304))
    assert (tmp_path / "a.npz").stat().st_size < 40_000
    with pytest.raises(DataError, match=r"declares 33,554,560 bytes for 'y.npy' from"):
        read(tmp_path / "a.npz")


def test_an_entry_that_declares_terabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, y=ROWS)
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="declares 4,294,967,294 bytes"):
        read(path)


def test_entries_that_overlap(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, y=ROWS)
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 20 : entry + 24] = struct.pack("<I", 10**6)
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="entries overlap, or it was cut short"):
        read(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files(tmp_path: Path, share: float) -> None:
    np.save(tmp_path / "a.npy", np.zeros(1000))
    np.savez(tmp_path / "a.npz", y=np.zeros(1000))
    for name in ("a.npy", "a.npz"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="but holds"):
        read(tmp_path / "a.npy")
    with pytest.raises(DataError, match="damaged NPZ file"):
        read(tmp_path / "a.npz")


def test_a_flipped_byte_in_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, y=np.random.default_rng(0).normal(size=1000))
    raw = bytearray(path.read_bytes())
    raw[4000] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"damaged NPZ file .*CRC"):
        read(path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_altered_bytes_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, ROWS)
    else:
        np.savez(path, X=ROWS, y=np.array(["a", "b", "a", "b"]))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        raw = bytearray(whole)
        for place in random.integers(0, len(raw), 3):
            raw[place] = random.integers(256)
        path.write_bytes(bytes(raw))
        with contextlib.suppress(LowlandError):
            read(path)


def test_an_encrypted_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, y=ROWS)
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"damaged NPZ file .*encrypted"):
        read(path)


def test_npz_without_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(DataError, match="holds no arrays"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz")
    with pytest.raises(DataError, match="holds no arrays"):
        read(tmp_path / "b.npz")


def test_structured_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, dtype=[("a", "f8")]))
    with pytest.raises(DataError, match="numbers or booleans"):
        read(tmp_path / "a.npy")


def test_npy_takes_no_key(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    for option in ("key", "label", "condition"):
        with pytest.raises(DomainError, match=f"'{option}' means nothing"):
            read(tmp_path / "a.npy", **{option: "y"})


def test_npy_of_an_unknown_version(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, ROWS)
    raw = bytearray(buffer.getvalue())
    raw[6] = 9
    (tmp_path / "a.npy").write_bytes(bytes(raw))
    with pytest.raises(DataError, match="not a readable NumPy array"):
        read(tmp_path / "a.npy")
