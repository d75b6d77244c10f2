"""Frames as a film: a gif that any page shows, or an mp4."""

import importlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland._errors import DataError, DomainError, ShapeError

SUFFIXES = (".gif", ".mp4")
# Small frames are enlarged, by a whole number so that pixels stay square, to about this height.
_HEIGHT = 160


def movie(
    frames: Tensor, path: str | Path, *, fps: float = 5.0, columns: int | None = None
) -> Path:
    """Write frames as a film, several of them side by side.

    Args:
        frames: `(times, channels, height, width)`, or `(films, times, channels, height, width)`,
            with 1 or 3 channels, shown from 0 (black) to 1 (white).
        path: a .gif (needs Pillow) or an .mp4 (needs PyAV).
        fps: frames a second.
        columns: how many films stand in a row; all if None.

    Returns:
        The path.

    Raises:
        ShapeError: these are no frames.
        DomainError: the suffix is not known, an option is out of range or a value is not finite.
        DataError: the library that writes such files is missing, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> frames = torch.rand(3, 4, 1, 8, 8)
        >>> movie(frames, f"{tempfile.mkdtemp()}/films.gif").name
        'films.gif'
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DomainError(f"A film is written as {' or '.join(SUFFIXES)}. Got {path}.")
    films = frames.unsqueeze(0) if frames.dim() == 4 else frames
    if films.dim() != 5 or films.shape[2] not in (1, 3) or films.numel() == 0:
        raise ShapeError(
            f"'frames' must be (times, channels, height, width), or with films first, of 1 or 3 "
            f"channels. Got shape {tuple(frames.shape)}."
        )
    if not (math.isfinite(fps) and fps > 0) or (columns is not None and columns < 1):
        raise DomainError(
            f"movie needs a positive fps and at least one column. Got fps={fps!r}, "
            f"columns={columns!r}."
        )
    if not bool(torch.isfinite(films).all()):
        raise DomainError("'frames' must be finite.")
    pictures = _tiled(films.detach().cpu().float(), columns or len(films))
    try:
        (_gif if path.suffix.lower() == ".gif" else _mp4)(pictures, path, fps)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}).") from error
    return path


def _tiled(films: Tensor, columns: int) -> Any:
    """One picture a time, `(times, height, width, 3)` of bytes, even in both sizes for codecs."""
    n, times, _, height, width = films.shape
    scale = max(1, round(_HEIGHT / height))
    films = films.clamp(0, 1).mul(255).round().to(torch.uint8).expand(n, times, 3, height, width)
    films = films.repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    films = torch.nn.functional.pad(films, (1, 1, 1, 1), value=128)
    rows = math.ceil(n / columns)
    blank = films.new_full((rows * columns - n, *films.shape[1:]), 255)
    grid = torch.cat([films, blank]).unflatten(0, (rows, columns))
    pictures = grid.permute(2, 0, 4, 1, 5, 3).flatten(1, 2).flatten(2, 3)
    odd = pictures.shape[1] % 2, pictures.shape[2] % 2
    pictures = torch.nn.functional.pad(pictures, (0, 0, 0, odd[1], 0, odd[0]), value=255)
    return pictures.contiguous().numpy()


def _gif(pictures: Any, path: Path, fps: float) -> None:
    image = _library("PIL.Image", "Pillow")
    first, *rest = [image.fromarray(picture) for picture in pictures]
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _mp4(pictures: Any, path: Path, fps: float) -> None:
    av = _library("av", "PyAV")
    with av.open(str(path), "w") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = container.add_stream(codec, rate=max(1, round(fps)))
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"Writing such a film needs {name}, which cannot be imported ({error}). Install it "
            f"with: pip install 'lowland[video]'"
        ) from error
