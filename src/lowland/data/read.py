"""The one door: whatever a user holds becomes a dataset, or a sentence that says why not."""

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import torch
from torch import Tensor

from lowland._errors import DataError, DomainError
from lowland.data.arrays import array_file, as_values, from_array
from lowland.data.dataset import Dataset
from lowland.data.digits import digits
from lowland.data.images import SUFFIXES, image_folder
from lowland.data.tables import from_frame, table_file
from lowland.data.text import text_file
from lowland.data.toys import TOYS
from lowland.data.video import SUFFIXES as VIDEOS
from lowland.data.video import video_file

_FILES: dict[str, Callable[..., Dataset]] = {
    ".csv": table_file,
    ".tsv": table_file,
    ".parquet": table_file,
    ".npz": array_file,
    ".npy": array_file,
    ".txt": text_file,
    ".md": text_file,
    **dict.fromkeys(VIDEOS, video_file),
}
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def read(source: Any, **options: Any) -> Dataset:
    """A dataset from what a user holds.

    Args:
        source: a Dataset (returned as it is), a tensor or NumPy array `(n, *event)`, a pair (x, y)
            of them, a pandas, polars or pyarrow frame, or a path or string: a folder of images, a
            .csv, .tsv, .parquet, .npz, .npy, .txt or .md file, a video, "digits", or "toy:NAME",
            which may carry its options: "toy:spiral?n=2000&seed=3".
        options: passed to the reader of that source: `labels`, `dtype` (`from_array`), `columns`,
            `drop`, `label`, `dtype` (`from_frame`), with `header`, `delimiter` (`table_file`),
            `key`, `label`, `condition`, `dtype` (`array_file`), `size`, `grayscale`
            (`image_folder`), `past`, `ahead`, `size`, `gray`, `stride` (a video), `n`, `noise`,
            `seed` or `generator`, `dtype` (a toy).

    Raises:
        DataError: the source is missing, damaged, or cannot be read as numbers.
        DomainError: an option is not one of that source, or a value is NaN or infinite.
        ShapeError: the two of a pair differ in length.

    Example:
        >>> read("toy:ring?n=5&seed=0")
        Dataset(5 × (2,) torch.float32, kind='points')
        >>> read((torch.zeros(3, 1), torch.ones(3, 2)))
        Dataset(3 × (2,) torch.float32, kind='table', x: (1,) torch.float32)
    """
    if isinstance(source, Dataset):
        return _call(_same, "A Dataset", source, options)
    if isinstance(source, Tensor | np.ndarray):
        return _call(from_array, "An array", source, options)
    if isinstance(source, tuple) and len(source) == 2:
        return _call(_from_pair, "A pair (x, y)", source, options)
    if isinstance(source, str):
        return _read_string(source, options)
    if isinstance(source, Path):
        return _read_path(source, options)
    # Asked of the class, for a lazy frame computes its columns when asked itself.
    if hasattr(type(source), "columns") or hasattr(type(source), "column_names"):
        return _call(from_frame, "A frame", source, options)
    raise DataError(
        f"Cannot read data from {type(source).__name__}. Give a tensor, a NumPy array, a pair "
        f"(x, y), a pandas, polars or pyarrow frame, or a path. Numbers in a list become an array "
        f"by numpy.array(...)."
    )


def _call(
    reader: Callable[..., Dataset], called: str, source: Any, options: dict[str, Any]
) -> Dataset:
    _check_options(reader, called, options)
    return reader(source, **options)


def _check_options(
    reader: Callable[..., Dataset], called: str, options: dict[str, Any], *more: str
) -> None:
    parameters = inspect.signature(reader).parameters.values()
    takes = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    takes.extend(more)
    for option in options:
        if option not in takes:
            raise DomainError(
                f"{called} does not take the option {option!r}. It takes: "
                f"{', '.join(takes) or 'none'}."
            )


def _same(data: Dataset) -> Dataset:
    return data


def _from_pair(pair: tuple[Any, Any], *, dtype: torch.dtype | None = None) -> Dataset:
    for name, part in zip(("x", "y"), pair, strict=True):
        if not isinstance(part, Tensor | np.ndarray):
            raise DataError(
                f"The {name} of a pair (x, y) must be a tensor or a NumPy array. Got "
                f"{type(part).__name__}."
            )
    x, y = (as_values(part, dtype) for part in pair)
    plain = from_array(y)
    return Dataset(y, x=x, kind=plain.kind, description=f"{plain.description}, each with its x")


def _read_string(source: str, options: dict[str, Any]) -> Dataset:
    if source == "digits":
        _check_options(digits, "'digits'", options)
        return digits()
    if source.startswith("toy:"):
        return _read_toy(source.removeprefix("toy:"), options)
    if "://" in source:
        raise DataError(f"{source} is an address, and lowland downloads nothing. Give a file.")
    if not source:
        raise DataError("The source is an empty string. Give a path, 'digits' or 'toy:NAME'.")
    return _read_path(Path(source), options)


def _read_toy(text: str, options: dict[str, Any]) -> Dataset:
    name, _, query = text.partition("?")
    toys = {toy.__name__: toy for toy in TOYS}
    if name not in toys:
        raise DataError(f"There is no toy {name!r}. There are: {', '.join(toys)}.")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        written: dict[str, Any] = {key: _number(key, value) for key, value in pairs}
    except ValueError as error:
        raise DomainError(
            f"'toy:{text}' cannot be understood ({error}). Write it as toy:{name}?n=2000&seed=3."
        ) from error
    if len(written) < len(pairs) or written.keys() & options.keys():
        raise DomainError(f"An option of 'toy:{text}' is given twice. Give it once.")
    merged = {**options, **written}
    _check_options(toys[name], f"The toy {name!r}", merged, "n", "seed")
    if "seed" in merged:
        if "generator" in merged:
            raise DomainError(f"The toy {name!r} takes 'seed' or 'generator', not both.")
        seed = merged.pop("seed")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise DomainError(f"'seed' must be a whole number from 0 to 2**63 - 1. Got {seed!r}.")
        merged["generator"] = torch.Generator().manual_seed(seed)
    return toys[name](**merged)


def _number(key: str, value: str) -> int | float:
    return float(value) if key == "noise" else int(value)


def _read_path(path: Path, options: dict[str, Any]) -> Dataset:
    path = path.expanduser()
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise DataError(f"{path} cannot be looked up: {error.strerror}.") from error
    if is_folder:
        return _call(image_folder, "A folder of images", path, options)
    suffix = path.suffix.lower()
    if not exists:
        known = ["digits", *(f"toy:{toy.__name__}" for toy in TOYS)]
        close = difflib.get_close_matches(str(path), known, n=1)
        raise DataError(
            f"There is no file or folder {path}. "
            + (f"Did you mean {close[0]!r}?" if close else "Check the path.")
        )
    if suffix in _PICKLES:
        raise DataError(
            f"{path} is a pickle, and loading a pickle can run any code that its writer put in. "
            f"Save the numbers with numpy.savez(path, y=y.numpy()) and read that."
        )
    if suffix in SUFFIXES:
        raise DataError(f"{path} is one image. Give the folder that holds your images.")
    if suffix not in _FILES:
        raise DataError(
            f"{path} has the suffix {suffix!r}. Files of {', '.join(_FILES)} and folders of images "
            f"are read."
        )
    return _call(_FILES[suffix], f"A {suffix} file", path, options)
