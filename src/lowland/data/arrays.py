"""Tensors, NumPy arrays, and the NPY and NPZ files that hold them; never pickles."""

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from lowland._errors import DataError, DomainError
from lowland.data._files import MAX_BYTES, check_file
from lowland.data._labels import encode_labels
from lowland.data.dataset import Dataset, position

# Deflate cannot shrink real measurements 1,000 times; below this size a bomb does no harm.
MAX_RATIO = 1000
_HARMLESS_BYTES = 16 * 2**20

_CHANNELS = (1, 3, 4)
_DATA_KEYS = ("x_train", "X", "data", "y")
_LABEL_KEYS = {
    "x_train": ("y_train", "labels"),
    "X": ("y", "labels", "target"),
    "data": ("labels", "target", "y"),
    "y": ("labels",),
}


def from_array(array: Any, *, labels: Any = None, dtype: torch.dtype | None = None) -> Dataset:
    """A dataset from a tensor or a NumPy array, items along the first axis.

    Images held as uint8, of shape `(n, h, w)`, `(n, h, w, channels)` or `(n, channels, h, w)`,
    become `(n, channels, h, w)` from 0 to 1. Other whole numbers become floating point, except
    that an int64 tensor stays as it is: there it means class indices.

    Args:
        array: numbers or booleans, `(n, *event)`.
        labels: one label for each item, any array or sequence, or None.
        dtype: floating-point type of y; by default a tensor's own, else float32.

    Raises:
        DataError: the array does not hold numbers, or the numbers do not fit the dtype.
        DomainError: a value is NaN or infinite, or the array is empty.

    Example:
        >>> import numpy as np
        >>> from_array(np.full((5, 8, 8), 255, dtype=np.uint8))
        Dataset(5 × (1, 8, 8) torch.float32, kind='image')
    """
    y = as_values(array, dtype)
    encoded, classes = None, None
    if labels is not None:
        given = labels.cpu() if isinstance(labels, Tensor) else np.asarray(labels)
        if given.ndim != 1:
            raise DataError(
                f"'labels' must hold one label for each item, shape (n,). Got shape "
                f"{tuple(given.shape)}."
            )
        encoded, classes = encode_labels(given.tolist(), "'labels'")
    return Dataset(
        y,
        labels=encoded,
        kind=_kind(y),
        description=f"{type(array).__name__} of {len(y) if y.dim() else 1} items",
        classes=classes,
    )


def as_values(array: Any, dtype: torch.dtype | None = None) -> Tensor:
    """The numbers of a tensor or a NumPy array as a tensor, by the rules of `from_array`.

    Raises:
        DataError: the array does not hold numbers, or the numbers do not fit the dtype.
    """
    if isinstance(array, Tensor):
        tensor = array.detach()
        if tensor.dtype == torch.int64 and dtype is None:
            return tensor
        if tensor.is_complex():
            raise DataError(f"Data must be real numbers. Got a tensor of {tensor.dtype}.")
        kept = tensor.dtype if tensor.is_floating_point() else torch.float32
        return as_floating(_channels_first(tensor), dtype or kept)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"Data must be numbers or booleans. Got a NumPy array of dtype {array.dtype}. Encode "
            f"it as numbers first."
        )
    # A copy, so that the dataset does not change when the user's array does.
    wide = array.astype(np.uint8 if array.dtype == np.uint8 else np.float64)
    return as_floating(_channels_first(torch.from_numpy(wide)), dtype or torch.float32)


def as_floating(values: Tensor, dtype: torch.dtype, names: tuple[str, ...] | None = None) -> Tensor:
    """Round `values` to `dtype`, or say which column would not survive it.

    Raises:
        DomainError: `dtype` is not floating point.
        DataError: a value overflows, or a column that varies would become constant.
    """
    if not dtype.is_floating_point:
        raise DomainError(f"The 'dtype' of data must be floating point. Got {dtype}.")
    rounded = values.to(dtype)
    if rounded.dtype == values.dtype or rounded.numel() == 0:
        return rounded
    overflow = torch.nonzero(torch.isinf(rounded) & torch.isfinite(values))
    if len(overflow):
        first = tuple(overflow[0].tolist())
        raise DataError(
            f"{values[first].item()} at {position(first, names)} is too large for {dtype}. Read "
            f"the data with dtype=torch.float64."
        )
    if values.dim() == 2:
        varies = values.amax(0) > values.amin(0)
        flat = torch.nonzero(varies & (rounded.amax(0) == rounded.amin(0))).flatten().tolist()
        if flat:
            called = repr(names[flat[0]] if names else flat[0])
            raise DataError(
                f"Column {called} varies by less than {dtype} can tell apart, from "
                f"{values[:, flat[0]].min().item()} to {values[:, flat[0]].max().item()}. Read the "
                f"data with dtype=torch.float64, or subtract its mean first."
            )
    return rounded


def _channels_first(values: Tensor) -> Tensor:
    """Images of uint8 as `(n, channels, h, w)` from 0 to 1; anything else unchanged."""
    if values.dtype != torch.uint8 or values.dim() not in (3, 4):
        return values
    if values.dim() == 3:
        values = values.unsqueeze(1)
    elif values.shape[1] not in _CHANNELS and values.shape[-1] in _CHANNELS:
        values = values.movedim(-1, 1)
    return values.contiguous().float() / 255


def _kind(y: Tensor) -> str:
    if y.dim() == 2:
        return "table"
    return "image" if y.dim() == 4 and y.shape[1] in _CHANNELS else "array"


def array_file(
    path: str | Path,
    *,
    key: str | None = None,
    label: str | None = None,
    condition: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """A dataset from an NPY or NPZ file, whose declared sizes are checked before it is loaded.

    In an NPZ file the data are the array 'x_train', 'X', 'data' or 'y', the first there is, or the
    only array; their labels are 'y_train', 'y', 'labels' or 'target', where they belong together.
    A file with both 'x' and 'y' means different things to different people: name them.

    Args:
        path: the file.
        key: the name of the array that is y; NPZ only.
        label: the name of the array of labels; NPZ only.
        condition: the name of the array that is x; NPZ only.
        dtype: floating-point type of y and x.

    Raises:
        DataError: the file is missing, damaged, not what its name says, holds Python objects,
            declares more than it can hold, or it is not clear which array is meant.
        DomainError: an option is given that the file type does not take.

    Example:
        >>> import tempfile, pathlib, numpy as np
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.npz"
        >>> np.savez(path, X=np.eye(3), y=np.array([1, 2, 1]))
        >>> array_file(path)
        Dataset(3 × (3,) torch.float32, kind='table', 2 labels)
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        for option, value in (("key", key), ("label", label), ("condition", condition)):
            if value is not None:
                raise DomainError(
                    f"{path} holds one array, so that '{option}' means nothing for it. Leave "
                    f"{option}={value!r} out, or give an .npz file."
                )
        check_file(path, "a NumPy array file")
        try:
            with path.open("rb") as file:
                array = _load(file, path.stat().st_size, str(path))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error}).") from error
        y = as_values(array, dtype)
        return Dataset(y, kind=_kind(y), description=path.name)
    check_file(path, "a ZIP archive")
    try:
        with zipfile.ZipFile(path) as archive:
            return _from_archive(archive, path, key, label, condition, dtype)
    # RuntimeError: an encrypted entry, or a compression that zipfile does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise DataError(
            f"{path} is a damaged NPZ file ({error}). Copy or export it again."
        ) from error


def _from_archive(
    archive: zipfile.ZipFile,
    path: Path,
    key: str | None,
    label: str | None,
    condition: str | None,
    dtype: torch.dtype,
) -> Dataset:
    members = {
        info.filename.removesuffix(".npy"): info
        for info in archive.infolist()
        if info.filename.endswith(".npy")
    }
    if not members:
        raise DataError(f"{path} holds no arrays. Write it with numpy.savez(path, y=...).")
    _check_archive(archive, path)
    key = _data_key(members, path, key, label, condition)
    if label is None:
        label = next((k for k in _LABEL_KEYS.get(key, ()) if k in members and k != condition), None)
    if condition is None and key == "y" and "x" in members:
        condition = "x"
    for name in (key, label, condition):
        if name is not None and name not in members:
            raise DataError(f"{path} has no array {name!r}. It holds: {', '.join(members)}.")

    def load(name: str) -> Any:
        with archive.open(members[name]) as file:
            return _load(file, members[name].file_size, f"array {name!r} of {path}")

    y = as_values(load(key), dtype)
    encoded, classes = None, None
    if label is not None:
        labels = load(label)
        if labels.shape[:1] != tuple(y.shape[:1]) or labels.size != labels.shape[0]:
            raise DataError(
                f"{path}: array {label!r} of shape {labels.shape} does not hold one label for each "
                f"item of {key!r}, of shape {tuple(y.shape)}. Name the right one with label=."
            )
        encoded, classes = encode_labels(labels.reshape(-1).tolist(), f"array {label!r} of {path}")
    return Dataset(
        y,
        x=None if condition is None else as_values(load(condition), dtype),
        labels=encoded,
        kind=_kind(y),
        description=f"{key} of {path.name}",
        classes=classes,
    )


def _data_key(
    members: dict[str, zipfile.ZipInfo],
    path: Path,
    key: str | None,
    label: str | None,
    condition: str | None,
) -> str:
    if key is not None:
        return key
    others = [name for name in members if name not in (label, condition)]
    if len(others) == 1:
        return others[0]
    if {"x", "y"} <= set(others) and not {"labels", "x_train", "X", "data"} & set(others):
        raise DataError(
            f"{path} holds both 'x' and 'y', which may be a condition and its answer or data and "
            f"their labels. Say which: key='y', condition='x', or key='x', label='y'."
        )
    for name in _DATA_KEYS:
        if name in others:
            return name
    raise DataError(
        f"{path} holds several arrays: {', '.join(members)}. Say which is the data with key=."
    )


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that declares far more than its bytes can hold."""
    on_disk = path.stat().st_size
    if sum(info.compress_size for info in archive.infolist()) > on_disk:
        raise DataError(f"{path} is damaged: its entries overlap, or it was cut short.")
    for info in archive.infolist():
        ratio = info.file_size / max(1, info.compress_size)
        if info.file_size > MAX_BYTES or (info.file_size > _HARMLESS_BYTES and ratio > MAX_RATIO):
            raise DataError(
                f"{path} declares {info.file_size:,} bytes for {info.filename!r} from "
                f"{info.compress_size:,} compressed ones; at most {MAX_BYTES:,} bytes and a ratio "
                f"of {MAX_RATIO} are read. If you trust it, load it with numpy and give the array."
            )


# numpy parses the header as Python text, so a damaged one fails in as many ways as text can.
_BAD_HEADER = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    SyntaxError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
    struct.error,
)


def _load(file: Any, size: int, source: str) -> Any:
    """The array in an open NPY file of `size` bytes, once its header is known to be true."""
    try:
        version = npy.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = npy.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = npy.read_array_header_2_0(file)
        else:
            raise ValueError(f"NPY version {version}")
    except _BAD_HEADER as error:
        raise DataError(f"{source} is not a readable NumPy array ({error}).") from error
    if dtype.hasobject:
        raise DataError(
            f"{source} holds Python objects, which only a pickle can store and loading could run "
            f"any code. Save an array of numbers instead."
        )
    declared = math.prod(shape) * dtype.itemsize
    held = size - file.tell()
    if min(shape, default=0) < 0 or declared != held:
        raise DataError(
            f"{source} declares shape {shape} of {dtype}, {declared:,} bytes, but holds {held:,}. "
            f"It was cut short or altered: copy or export it again."
        )
    if declared > MAX_BYTES:
        raise DataError(
            f"{source} holds {declared:,} bytes; at most {MAX_BYTES:,} are read at once. Load a "
            f"part of it with numpy and give the array."
        )
    file.seek(0)
    try:
        return npy.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{source} cannot be read ({error}).") from error
