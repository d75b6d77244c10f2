"""A folder of images as one tensor."""

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lowland._errors import DataError, DomainError
from lowland.data._files import MAX_BYTES, optional
from lowland.data._labels import encode_labels
from lowland.data.dataset import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# Named, so that a file cannot choose a decoder that starts another program (PostScript).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
# What Pillow's decoders raise on damaged bytes.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    SyntaxError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
_GRAY = ("1", "L", "LA")
_DEEP_GRAY = ("I;16", "I;16L", "I;16B", "I;16N")


def image_folder(
    folder: str | Path, *, size: tuple[int, int] | None = None, grayscale: bool = False
) -> Dataset:
    """A dataset from a folder of images, in the order of their paths.

    If every image lies in a subfolder, the first subfolder's name is its label. Photographs are
    turned upright, transparent parts are laid over white, an animation counts by its first frame,
    and grey images among coloured ones become coloured. Hidden files and other files are ignored.

    Args:
        folder: the folder; png, jpg, bmp, gif, webp and tif files in it and below it are read.
        size: (height, width) in pixels to resize each image to; the images' own if None.
        grayscale: whether to keep lightness alone.

    Returns:
        y of shape `(n, channels, height, width)`, float32 from 0 to 1, channels 1 or 3.

    Raises:
        DataError: there is no such folder or no image in it, an image is broken or too large, the
            sizes differ and none is given, a link leads out of the folder, or Pillow is missing.
        DomainError: `size` is not two positive whole numbers.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (6, 4), "red").save(folder / "red.png")
        >>> image_folder(folder)
        Dataset(1 × (3, 4, 6) torch.float32, kind='image')
    """
    folder = Path(folder)
    if size is not None:
        size = _checked_size(size)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path.")
    pillow = optional("PIL.Image", needed_for="Reading images", extra="images")
    ops = optional("PIL.ImageOps", needed_for="Reading images", extra="images")
    pillow.init()  # registers every decoder, for a format can only be named once it is known
    paths = sorted(_image_paths(folder))
    if not paths:
        raise DataError(f"There is no image in {folder}. Files of {', '.join(SUFFIXES)} are read.")
    images: list[Any] = []
    total = 0
    for path in paths:
        image = _read_image(pillow, ops, path, size, grayscale)
        if images and image.shape[:2] != images[0].shape[:2]:
            raise DataError(
                f"The images differ in size: {paths[0]} is {_size(images[0])} and {path} is "
                f"{_size(image)} (height×width). Give one size to all, such as "
                f"size={images[0].shape[:2]}."
            )
        images.append(image)
        total += image.nbytes
        if total > MAX_BYTES:
            raise DataError(
                f"The images of {folder} need more than {MAX_BYTES:,} bytes. Give a smaller size=."
            )
    channels = max(image.shape[2] for image in images)
    stacked = np.stack([np.broadcast_to(i, (*i.shape[:2], channels)) for i in images])
    labels, classes = _labels(folder, paths)
    return Dataset(
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(stacked, -1, 1))),
        labels=labels,
        kind="image",
        description=f"{len(images)} images of {folder.name}",
        classes=classes,
    )


def _checked_size(size: Any) -> tuple[int, int]:
    whole = isinstance(size, tuple | list) and all(isinstance(s, int) and s > 0 for s in size)
    if not whole or len(size) != 2:
        raise DomainError(
            f"The 'size' of images must be (height, width), two positive whole numbers. "
            f"Got {size!r}."
        )
    return (size[0], size[1])


def _size(image: Any) -> str:
    return f"{image.shape[0]}×{image.shape[1]}"


def _labels(folder: Path, paths: list[Path]) -> tuple[torch.Tensor | None, tuple[str, ...] | None]:
    parts = [path.relative_to(folder).parts for path in paths]
    if min(map(len, parts)) < 2:
        return None, None
    return encode_labels([part[0] for part in parts], f"folder {folder}")


def _image_paths(folder: Path) -> Iterator[Path]:
    """The images in the folder and below it; no link is followed out of it."""
    inside = folder.resolve()
    for root, directories, files in os.walk(folder, onerror=_unreadable):
        directories[:] = [name for name in directories if not name.startswith(".")]
        images = [n for n in files if not n.startswith(".") and n.lower().endswith(SUFFIXES)]
        for name in [*directories, *images]:
            path = Path(root, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise DataError(
                    f"{path} is a link that leads out of {folder}, and is not followed. Copy what "
                    f"it points to into the folder, or remove it."
                )
        yield from (Path(root, name) for name in images)


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _read_image(
    pillow: Any, ops: Any, path: Path, size: tuple[int, int] | None, grayscale: bool
) -> Any:
    """One image as float32 `(height, width, channels)` from 0 to 1."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns of images that fill the memory up to twice its limit.
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path, formats=_FORMATS) as opened:
                image = _lightness_or_colour(pillow, ops.exif_transpose(opened), grayscale)
    except (pillow.DecompressionBombWarning, pillow.DecompressionBombError) as error:
        raise DataError(
            f"{path} is too large to be decoded safely ({error}). Make it smaller first."
        ) from error
    except _DAMAGED as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}). Remove it, or save it again."
        ) from error
    if size is not None:
        image = image.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
    values = np.asarray(image, dtype=np.float32) / 255
    return values[:, :, None] if values.ndim == 2 else values


def _lightness_or_colour(pillow: Any, image: Any, grayscale: bool) -> Any:
    """The image in mode L, F (lightness of 16 bits, scaled to 255) or RGB."""
    if image.mode in _DEEP_GRAY:
        # Pillow's own conversion to 8 bits clips at 255.
        return pillow.fromarray(np.asarray(image).astype(np.float32) * (255 / 65535))
    if image.mode in ("I", "F"):
        raise ValueError(f"its mode is {image.mode!r}, which has no fixed range of brightness")
    gray = grayscale or image.mode in _GRAY
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if gray else "RGB")
