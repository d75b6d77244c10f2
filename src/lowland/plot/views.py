"""What a pretext task shows of images, and how a change leaves them."""

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland.plot._canvas import Axes, Figure, drawing
from lowland.plot._mosaic import Mosaic, as_images, common_limits
from lowland.pretext import Corruption, Given, Task


def views(
    y: Tensor,
    task: Task | Given | Corruption,
    *,
    draws: int = 3,
    generator: torch.Generator | None = None,
    limits: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw images as a pretext task shows them: an item a column, a row for each draw.

    What a task hides is hatched; a corruption's changes are shown as they are.

    Args:
        y: images `(n, h, w)`, `(n, 1, h, w)` or `(n, 3, h, w)`.
        task: hides parts of the images, or changes them.
        draws: how many rows there are below the images themselves.
        generator: the draws; torch's default generator if None.
        limits: the values shown as black and white; by default the range of the images.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        ShapeError: y does not hold images, or the task does not fit them.
        DomainError: draws is not a positive whole number.
        CapabilityError: the task is none, or matplotlib is missing.

    Example:
        >>> y = torch.rand(5, 1, 8, 8)
        >>> figure = views(y, ll.pretext.Masked(0.5, block=(2, 2)), draws=2)
        >>> len(figure.axes[0].images)
        15
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise DomainError(f"'draws' must be a whole number of at least 1. Got {draws!r}.")
    original = as_images(y, "y")
    rows = {"data": original}
    for draw in range(draws):
        rows[f"view {draw + 1}" if draws > 1 else "view"] = as_images(
            _seen(y, task, generator), "y"
        )
    span = common_limits((original,), limits)
    mosaic = Mosaic(len(rows), len(y), (original.shape[1], original.shape[2]), captions=False)
    with drawing(axes, *mosaic.inches(row_labels=True)) as (figure, panel):
        for row, (name, pictures) in enumerate(rows.items()):
            mosaic.label_row(panel, row, name)
            for column, picture in enumerate(pictures):
                mosaic.put(panel, picture, row, column, limits=span)
        mosaic.close(panel)
    return figure


def _seen(y: Tensor, task: Task | Given | Corruption, generator: torch.Generator | None) -> Tensor:
    match task:
        case Task():
            return task.view(y.double(), generator).x
        case Given():
            return y.double().masked_fill(~task.observed.to(y.device), torch.nan)
        case Corruption():
            return task.corrupt(y, generator)
    raise CapabilityError(
        f"lowland.plot.views draws what a pretext task or a corruption does, such as "
        f"lowland.pretext.Masked(0.5). Got {type(task).__name__}."
    )
