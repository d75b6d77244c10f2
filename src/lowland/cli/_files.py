"""Answers as files."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from lowland._errors import DataError


def save_arrays(path: Path, arrays: dict[str, Tensor]) -> None:
    """Write arrays by name to an .npz file.

    Raises:
        DataError: the file cannot be written.
    """
    import numpy as np

    values: dict[str, Any] = {n: array.detach().cpu().numpy() for n, array in arrays.items()}
    _write(path, lambda: np.savez(path, **values))


def save_rows(path: Path, header: list[str], rows: Tensor) -> None:
    """Write a table to a .csv file; whole numbers without a point, others to float32's precision.

    Raises:
        DataError: the file cannot be written.
    """

    def write() -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([f"{value:.9g}" for value in row] for row in rows.tolist())

    _write(path, write)


def save_picture(path: Path, draw: Callable[[], Any]) -> None:
    """Draw, and write the figure.

    Raises:
        LowlandError: the answer cannot be drawn, matplotlib is missing, or the file cannot be
            written.
    """
    figure = draw()
    _write(path, lambda: figure.savefig(path))


def save_film(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a film.

    Raises:
        LowlandError: the library for it is missing, or the file cannot be written.
    """
    _write(path, lambda: write(path))


def _write(path: Path, write: Callable[[], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. Choose another place."
        ) from error
