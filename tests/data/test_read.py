import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lowland._errors import DataError, DomainError, ShapeError
from lowland.data import Dataset, digits, read, spiral


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of one true file of each kind."""
    np.save(folder / "a.npy", np.eye(3))
    np.savez(folder / "a.npz", y=np.eye(3))
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_parquet(folder / "a.parquet")
    Image.new("RGB", (3, 3)).save(folder / "a.png")
    Image.new("RGB", (3, 3)).save(folder / "a.bmp")
    torch.save(torch.zeros(3), folder / "a.pt")
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


WHAT = {
    ".npy": "a NumPy array file",
    ".npz": "a ZIP archive",
    ".csv": "text",
    ".parquet": "a Parquet file",
    ".png": "a PNG image",
    ".bmp": "a BMP image",
    ".pt": "a ZIP archive",
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz", ".npy"])
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, suffix: str) -> None:
    expected = WHAT[".csv" if suffix == ".tsv" else suffix]
    for true, whole in files(tmp_path).items():
        if WHAT[true] == expected:
            continue
        path = tmp_path / f"posing{suffix}"
        path.write_bytes(whole)
        with pytest.raises(
            DataError, match=f"not what its name says. Expected {expected}, found {WHAT[true]}"
        ):
            read(path)


def test_a_torch_file_named_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(files(tmp_path)[".pt"])
    with pytest.raises(DataError, match="holds no arrays"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz", ".npy"])
def test_empty_and_missing_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(DataError, match="There is no file or folder"):
        read(path)
    path.touch()
    with pytest.raises(DataError, match=r"is empty: it has 0 bytes"):
        read(str(path))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".ckpt"])
def test_pickles_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match=r"is a pickle.*can run any code.*numpy.savez"):
        read(path)


def test_other_suffixes(tmp_path: Path) -> None:
    for name, message in [
        ("a.xlsx", "has the suffix '.xlsx'. Files of .csv, .tsv"),
        ("noname", "has the suffix ''"),
        ("a.png", "is one image. Give the folder"),
    ]:
        (tmp_path / name).write_text("?")
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match="not a regular file"):
        read(tmp_path / "a.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be opened: Permission denied"):
        read(path)


def test_bundled_names() -> None:
    assert torch.equal(read("digits").y, digits().y)
    expected = spiral(7, noise=0.5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(read("toy:spiral?n=7&noise=.5&seed=3").y, expected.y)
    assert torch.equal(read("toy:spiral", n=7, noise=0.5, seed=3).y, expected.y)
    assert torch.equal(read("toy:spiral?n=7", noise=0.5, seed=3).y, expected.y)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(read("toy:spiral?n=7&noise=.5", generator=generator).y, expected.y)
    assert len(read("toy:horn")) == 1000


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("toy:spirale", {}, DataError, "no toy 'spirale'. There are: spiral, moons"),
        ("toy:", {}, DataError, "no toy ''"),
        ("toy:ring?n=many", {}, DomainError, "cannot be understood.*toy:ring"),
        ("toy:ring?n", {}, DomainError, "cannot be understood"),
        ("toy:ring?m=3", {}, DomainError, "cannot be understood|does not take the option 'm'"),
        ("toy:ring?n=3&n=4", {}, DomainError, "given twice"),
        ("toy:ring?n=3", {"n": 4}, DomainError, "given twice"),
        ("toy:ring", {"size": 4}, DomainError, "toy 'ring' does not take the option 'size'"),
        (
            "toy:ring?seed=1",
            {"generator": torch.Generator()},
            DomainError,
            "'seed' or 'generator', not both",
        ),
        ("toy:ring?seed=-1", {}, DomainError, "'seed' must be a whole number from 0"),
        ("toy:ring", {"seed": "a"}, DomainError, "'seed' must be a whole number .* Got 'a'"),
        ("toy:ring", {"seed": 2**63}, DomainError, "'seed' must be a whole number"),
        ("x" * 5000 + ".csv", {}, DataError, "cannot be looked up: File name too long"),
        ("digits", {"n": 3}, DomainError, "'digits' does not take the option 'n'. It takes: none"),
        ("digit", {}, DataError, "no file or folder digit. Did you mean 'digits'"),
        ("spiral", {}, DataError, "no file or folder spiral. Did you mean 'toy:spiral'"),
        ("", {}, DataError, "empty string"),
        ("https://example.org/a.csv", {}, DataError, "downloads nothing"),
    ],
)
def test_bad_strings(
    source: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(source, **options)


def test_tensors_arrays_and_datasets() -> None:
    data = Dataset(torch.zeros(3, 2))
    assert read(data) is data
    assert read(torch.zeros(3, 2, dtype=torch.float64)).y.dtype == torch.float64
    assert read(np.zeros((3, 2))).y.dtype == torch.float32
    assert read(np.zeros((3, 2)), labels=[2, 1, 2]).labels.tolist() == [1, 0, 1]


def test_pairs() -> None:
    data = read((np.ones((3, 1)), torch.zeros(3, 2)))
    assert (data.x.shape, data.y.shape) == ((3, 1), (3, 2))
    assert read((torch.ones(3, 1), torch.zeros(3, 2)), dtype=torch.float64).x.dtype == torch.float64
    with pytest.raises(ShapeError, match=r"'x' of Dataset .* 3 items of y. Got shape \(2, 1\)"):
        read((torch.ones(2, 1), torch.zeros(3, 2)))
    with pytest.raises(DataError, match=r"The y of a pair \(x, y\) must be .* Got list"):
        read((torch.ones(2, 1), [1, 2]))


@pytest.mark.parametrize("source", [[1.0, 2.0], None, 3, {"y": 1}, (1, 2, 3), b"a.csv"])
def test_things_that_are_no_data(source: object) -> None:
    with pytest.raises(DataError, match=f"Cannot read data from {type(source).__name__}"):
        read(source)


@pytest.mark.parametrize(
    ("source", "option", "message"),
    [
        (Dataset(torch.zeros(1)), "label", "A Dataset does not take the option 'label'"),
        (torch.zeros(1), "label", "An array .* 'label'. It takes: labels, dtype"),
        ((torch.zeros(1), torch.zeros(1)), "label", r"A pair \(x, y\) does not take"),
        (pd.DataFrame({"a": [1]}), "size", "A frame .* 'size'. It takes: columns, drop, label"),
    ],
)
def test_options_that_a_source_does_not_take(source: object, option: str, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        read(source, **{option: "a"})


@pytest.mark.parametrize(
    ("suffix", "option", "takes"),
    [
        (".csv", "size", "columns, drop, label, header, delimiter, dtype"),
        (".parquet", "key", "columns, drop, label"),
        (".npz", "columns", "key, label, condition, dtype"),
        (".npy", "seed", "key"),
    ],
)
def test_options_that_a_file_does_not_take(
    tmp_path: Path, suffix: str, option: str, takes: str
) -> None:
    files(tmp_path)
    with pytest.raises(DomainError, match=f"A {suffix} file .* {option!r}. It takes: {takes}"):
        read(tmp_path / f"a{suffix}", **{option: 1})
    with pytest.raises(DomainError, match=r"A folder of images .* 'label'. It takes: size, gray"):
        read(tmp_path, label="a")


def test_the_package_is_light_to_import() -> None:
    heavy = ("pandas", "polars", "pyarrow", "PIL", "sklearn", "narwhals", "matplotlib")
    code = f"import sys, lowland.data; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
