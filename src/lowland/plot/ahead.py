"""The past, what came, and what might have come, side by side."""

from collections.abc import Mapping

from torch import Tensor

from lowland._errors import ShapeError
from lowland.ask import Prediction
from lowland.plot._canvas import Axes, Figure, drawing
from lowland.plot._mosaic import Mosaic, as_images, common_limits


def futures(
    x: Tensor,
    prediction: Prediction,
    *,
    y: Tensor | None = None,
    yardsticks: Mapping[str, Tensor] | None = None,
    limits: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw one row an item: the frames of the past, the truth, and the futures, best first.

    The weight of each future stands under it; the places of missing ones are hatched.

    Args:
        x: the past, `(items, past, channels, height, width)` of 1 or 3 channels; further ones, such
            as acts, are not shown.
        prediction: what `lowland.predict` answered, each y a frame.
        y: the frames that came, `(items, channels, height, width)`.
        yardsticks: other methods' answers by name, shaped like y, before the futures.
        limits: the values shown as black and white; by default the range of the past.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        ShapeError: the parts are no frames, or do not fit one another.
        CapabilityError: matplotlib is missing.

    Example:
        >>> energy = ll.energies.NextFrame((1, 8, 8), past=2, k=3, widths=(4, 8))
        >>> x = torch.rand(4, 2, 1, 8, 8)
        >>> len(futures(x, ll.predict(energy, x, n=3)).axes[0].images)
        20
    """
    answers = prediction.y
    if answers.dim() != 5 or x.dim() != 5 or x.shape[-2:] != answers.shape[-2:]:
        raise ShapeError(
            f"'x' and 'prediction.y' must hold frames of one size, (items, number, channels, "
            f"height, width). Got {tuple(x.shape)} and {tuple(answers.shape)}."
        )
    channels = answers.shape[2]
    shown: list[tuple[str, Tensor, Tensor | None]] = []
    for t in range(x.shape[1]):
        back = x.shape[1] - 1 - t
        shown.append((f"t − {back}" if back else "t", as_images(x[:, t, :channels], "x"), None))
    past = tuple(pictures for _, pictures, _ in shown)
    known = {"what came": y} if y is not None else {}
    for name, frames in {**known, **(yardsticks or {})}.items():
        if tuple(frames.shape) != (len(x), *answers.shape[2:]):
            raise ShapeError(
                f"{name!r} must be shaped like the frames that came, "
                f"{(len(x), *answers.shape[2:])}. Got {tuple(frames.shape)}."
            )
        shown.append((name, as_images(frames, name), None))
    for rank in range(answers.shape[1]):
        weight = prediction.weight[:, rank]
        name = f"future {rank + 1}"
        shown.append((name, as_images(answers[:, rank], "prediction.y"), weight))
    span = common_limits(past, limits)
    mosaic = Mosaic(len(x), len(shown), (int(x.shape[-2]), int(x.shape[-1])), captions=True)
    with drawing(axes, *mosaic.inches(column_labels=True)) as (figure, panel):
        for column, (name, pictures, weights) in enumerate(shown):
            mosaic.label_column(panel, column, name)
            for row, picture in enumerate(pictures):
                share = 0.0 if weights is None else float(weights[row])
                caption = f"{share:.2f}" if share > 0 else ""
                mosaic.put(panel, picture, row, column, limits=span, caption=caption)
        mosaic.close(panel)
    return figure
