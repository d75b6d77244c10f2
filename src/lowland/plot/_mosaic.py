"""Images side by side in one panel, with hatched places where there is nothing to show."""

import math
import textwrap

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland.plot._canvas import EMPTY, FAINT, Axes

GAP = 0.1
CAPTION = 0.26
MAX_WIDTH = 9.0
# Inches that a letter of a label takes, about.
LETTER = 0.065


def as_images(batch: Tensor, argument: str) -> Tensor:
    """The batch as grey `(n, h, w)` or coloured `(n, h, w, 3)` images, float64 on the CPU.

    Raises:
        ShapeError: the batch does not hold images.
    """
    shape = tuple(batch.shape) if isinstance(batch, Tensor) else ()
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] not in (1, 3)):
        got = shape if isinstance(batch, Tensor) else type(batch).__name__
        raise ShapeError(
            f"'{argument}' must hold images: a tensor (n, h, w), (n, 1, h, w) or (n, 3, h, w). "
            f"Got {got}. Reshape it, or draw vectors with lowland.plot.samples."
        )
    if batch.numel() == 0:
        raise DomainError(f"'{argument}' holds no pixels: its shape is {shape}. Give some images.")
    pixels = batch.detach().cpu().double()
    if len(shape) == 3:
        return pixels
    return pixels.squeeze(1) if shape[1] == 1 else pixels.movedim(1, -1)


def is_image(event: tuple[int, ...]) -> bool:
    """Whether one item of this shape can be shown as an image."""
    return len(event) == 2 or (len(event) == 3 and event[0] in (1, 3))


def common_limits(
    images: tuple[Tensor, ...], limits: tuple[float, float] | None
) -> tuple[float, float]:
    """The values shown as black and white: those asked for, or the range of all finite pixels.

    Raises:
        DomainError: the limits are not two increasing finite numbers.
    """
    if limits is None:
        finite = torch.cat([pixels[torch.isfinite(pixels)] for pixels in images])
        if finite.numel() == 0:
            return 0.0, 1.0
        low, high = float(finite.min()), float(finite.max())
        return (low, high) if high > low else (low, low + 1.0)
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DomainError(
            f"'limits' must be two finite numbers (black, white), the first the smaller. "
            f"Got {limits!r}."
        )
    return float(low), float(high)


class Mosaic:
    """Rows and columns of images of one size; an image is one unit high.

    Args:
        rows: how many rows.
        columns: how many columns.
        shape: height and width of an image in pixels.
        captions: whether there is a line of text under each image.
    """

    def __init__(self, rows: int, columns: int, shape: tuple[int, int], *, captions: bool) -> None:
        self.rows, self.columns = rows, columns
        self.aspect = min(8.0, max(0.125, shape[1] / shape[0]))
        self.row_pitch = 1 + GAP + (CAPTION if captions else 0)
        self.column_pitch = self.aspect + GAP * max(1.0, self.aspect)

    def inches(
        self, *, row_labels: bool = False, column_labels: bool = False
    ) -> tuple[float, float]:
        """Width and height of a figure that holds it, and of its labels."""
        width, unit = self.columns * self.column_pitch, self._unit()
        room = 0.9 if row_labels else 0.1
        height = self.rows * self.row_pitch * unit + (0.4 if column_labels else 0.1)
        return max(2.0, width * unit + room), max(0.8, height)

    def _unit(self) -> float:
        """The height of an image in inches."""
        return min(0.85, MAX_WIDTH / (self.columns * self.column_pitch))

    def put(
        self,
        axes: Axes,
        image: Tensor,
        row: int,
        column: int,
        *,
        limits: tuple[float, float],
        colours: str = "gray",
        caption: str = "",
    ) -> None:
        """Show one image; pixels that are NaN leave the hatching behind it visible."""
        from matplotlib.patches import Rectangle

        left, top = column * self.column_pitch, row * self.row_pitch
        missing = not bool(torch.isfinite(image).all())
        axes.add_patch(
            Rectangle(
                (left, top),
                self.aspect,
                1,
                facecolor=EMPTY if missing else "none",
                edgecolor=FAINT,
                hatch="//////" if missing else None,
                linewidth=0.4,
                # Hatching lies below the image, and a frame above it.
                zorder=-1 if missing else 1,
            )
        )
        low, high = limits
        if image.dim() == 3:
            visible = torch.isfinite(image).all(-1, keepdim=True).to(image)
            tones = ((image - low) / (high - low)).clamp(0, 1).nan_to_num(0.0)
            shown = torch.cat([tones, visible], -1)
        else:
            shown = image
        axes.imshow(
            shown.numpy(),
            cmap=colours,
            vmin=low,
            vmax=high,
            extent=(left, left + self.aspect, top + 1, top),
            interpolation="nearest",
            aspect="auto",
        )
        if caption:
            axes.text(
                left + self.aspect / 2, top + 1.05, caption, ha="center", va="top", fontsize=7
            )

    def label_row(self, axes: Axes, row: int, text: str) -> None:
        """Write what a row shows, on its left."""
        axes.text(-GAP, row * self.row_pitch + 0.5, text, ha="right", va="center", fontsize=8)

    def label_column(self, axes: Axes, column: int, text: str) -> None:
        """Write what a column shows, above it, on several lines if it is longer than that."""
        middle = column * self.column_pitch + self.aspect / 2
        letters = max(1, int(self.column_pitch * self._unit() / LETTER))
        text = textwrap.fill(text, letters, break_long_words=False)
        axes.text(middle, -GAP, text, ha="center", va="bottom", fontsize=8)

    def close(self, axes: Axes) -> None:
        """Frame the mosaic, whatever each image did to the limits of the axes."""
        axes.set_axis_off()
        axes.set_xlim(0, self.columns * self.column_pitch)
        axes.set_ylim(self.rows * self.row_pitch, 0)
        axes.set_aspect("equal")
