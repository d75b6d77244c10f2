"""Items and answers side by side: images, completions, projections, samples, prototypes."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland.ask import Completion
from lowland.capabilities import Decodes, refuse
from lowland.energy import Energy
from lowland.latent import OneHot
from lowland.plot._canvas import (
    BLUE,
    FAINT,
    ORANGE,
    Axes,
    Figure,
    draw_dots,
    drawing,
    explain_below,
    keep_style,
    new_figure,
    style,
)
from lowland.plot._mosaic import Mosaic, as_images, common_limits, is_image

Limits = tuple[float, float]

MOST_HISTOGRAMS = 16


def images(
    batch: Tensor,
    *,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
    limits: Limits | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw a grid of images, row by row.

    Pixels that are NaN are hatched, so that an image of nothing but NaN is an empty place.

    Args:
        batch: `(n, h, w)` or `(n, 1, h, w)` in grey, or `(n, 3, h, w)` in colour.
        columns: how many images a row; by default about twice as many as there are rows.
        titles: a short text under each image.
        limits: the values shown as black and white; by default the range of the batch.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        ShapeError: the batch does not hold images.
        DomainError: the batch is empty, the titles are not one an image, or an option is no good.
        CapabilityError: matplotlib is missing.

    Example:
        >>> figure = images(torch.rand(6, 1, 8, 8), columns=3)
        >>> len(figure.axes[0].images)
        6
    """
    pictures = as_images(batch, "batch")
    return _grid(
        pictures, columns=columns, titles=titles, limits=common_limits((pictures,), limits),
        colours="gray", axes=axes,
    )  # fmt: skip


def prototypes(
    source: Energy | Tensor,
    *,
    columns: int | None = None,
    limits: Limits | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw what each code of an energy stands for, or filters given as a tensor.

    Where there are negative values, blue is negative, white zero and red positive, to the same
    strength on both sides; otherwise the scale is grey.

    Args:
        source: an energy with a finite latent that decodes it, or filters `(k, *event)` as images
            or as points `(k, 2)`.
        columns: how many images a row.
        limits: the values at the ends of the scale.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        CapabilityError: the energy has no finite latent that it decodes, or matplotlib is missing.
        ShapeError: the filters are neither images nor points in the plane.

    Example:
        >>> from lowland.energies import KMeans
        >>> figure = prototypes(KMeans(torch.rand(5, 1, 8, 8)))
        >>> len(figure.axes[0].images)
        5
    """
    if isinstance(source, Energy):
        if not (isinstance(source, Decodes) and isinstance(source.latent, OneHot)):
            raise refuse(
                source,
                "lowland.plot.prototypes",
                "an energy with a OneHot latent that it decodes",
                "Give the filters themselves as a tensor of images (k, h, w).",
            )
        source = source.decode(source.latent.codes(source.device))
    if source.dim() == 2 and source.shape[-1] == 2:
        return _scatter(source, axes)
    pictures = as_images(source, "source")
    # Rounding leaves a prototype of zeros a hair below zero, which is no sign.
    signed = bool(pictures.min() < -1e-6 * pictures.abs().max())
    if limits is None and signed:
        strength = float(pictures[torch.isfinite(pictures)].abs().max())
        limits = (-strength, strength)
    return _grid(
        pictures, columns=columns, titles=None, limits=common_limits((pictures,), limits),
        colours="RdBu_r" if signed else "gray", axes=axes,
    )  # fmt: skip


def completions(
    y: Tensor,
    observed: Tensor,
    completion: Completion,
    *,
    yardsticks: Mapping[str, Tensor] | None = None,
    limits: Limits | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw one row an item: the truth, what was observed, and the answers, best first.

    The energy of each answer stands under it, unless they are all the same, as those of a
    prediction are that costs nothing by definition; hidden pixels and missing answers are hatched.

    Args:
        y: the true images, `(batch, *event)`.
        observed: bool, `event` or `(batch, *event)`, as it was given to `lowland.complete`.
        completion: what `lowland.complete` answered.
        yardsticks: other methods' answers by name, each `(batch, *event)`, in further columns.
        limits: the values shown as black and white; by default the range of the truth.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        ShapeError: y does not hold images, or the others do not fit it.
        CapabilityError: matplotlib is missing.

    Example:
        >>> from lowland.energies import KMeans
        >>> energy, y = KMeans(torch.rand(9, 1, 4, 4)), torch.rand(3, 1, 4, 4)
        >>> left = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> left[..., :2] = True
        >>> answers = ll.complete(energy, y, observed=left, n=2)
        >>> len(completions(y, left, answers).axes[0].images)
        12
    """
    truth = as_images(y, "y")
    _fits("observed", tuple(observed.shape), (tuple(y.shape[1:]), tuple(y.shape)))
    answers = completion.y
    n = answers.shape[1] if answers.dim() > 1 else 0
    _fits("completion.y", tuple(answers.shape), ((len(y), n, *y.shape[1:]),))
    _fits("completion.energy", tuple(completion.energy.shape), ((len(y), n),))
    known = y.detach().cpu().double().masked_fill(~observed.cpu(), math.nan)
    shown = [("truth", truth), ("observed", as_images(known, "y"))]
    for rank in range(n):
        name = f"answer {rank + 1}" if rank else "best answer" if n > 1 else "answer"
        shown.append((name, as_images(answers[:, rank], "completion.y")))
    for name, other in (yardsticks or {}).items():
        _fits(f"yardsticks[{name!r}]", tuple(other.shape), (tuple(y.shape),))
        shown.append((name, as_images(other, name)))
    span = common_limits((truth,), limits)
    height, width = truth.shape[1:3]
    told = len(completion.energy.unique()) > 1
    mosaic = Mosaic(len(y), len(shown), (height, width), captions=told)
    with drawing(axes, *mosaic.inches(column_labels=True)) as (figure, panel):
        for column, (name, pictures) in enumerate(shown):
            mosaic.label_column(panel, column, name)
            for row, picture in enumerate(pictures):
                rank = column - 2
                answered = told and 0 <= rank < n
                caption = _energy(completion.energy[row, rank]) if answered else ""
                mosaic.put(panel, picture, row, column, limits=span, caption=caption)
        mosaic.close(panel)
    return figure


def projections(
    noisy: Tensor,
    projected: Tensor,
    clean: Tensor | None = None,
    *,
    limits: Limits | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw points before and after they were projected on the manifold.

    Images stand one above the other, an item a column; points in the plane are joined by an arrow.

    Args:
        noisy: what was projected, `(n, *event)`.
        projected: what `lowland.project` answered, `(n, *event)`.
        clean: the truth, `(n, *event)`, or None.
        limits: the values shown as black and white; by default the range of the cleanest row.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        ShapeError: the items are neither images nor points in the plane, or differ in shape.
        CapabilityError: matplotlib is missing.

    Example:
        >>> noisy = torch.rand(7, 8, 8)
        >>> len(projections(noisy, noisy.round()).axes[0].images)
        14
    """
    rows = {"clean": clean, "noisy": noisy, "projected": projected}
    given = {name: tensor for name, tensor in rows.items() if tensor is not None}
    for name, tensor in given.items():
        _fits(name, tuple(tensor.shape), (tuple(noisy.shape),))
    if noisy.dim() == 2 and noisy.shape[-1] == 2:
        return _moves(noisy, projected, clean, axes)
    shown = {name: as_images(tensor, name) for name, tensor in given.items()}
    span = common_limits((shown["clean" if clean is not None else "projected"],), limits)
    height, width = shown["noisy"].shape[1:3]
    mosaic = Mosaic(len(shown), len(noisy), (height, width), captions=False)
    with drawing(axes, *mosaic.inches(row_labels=True)) as (figure, panel):
        for row, (name, pictures) in enumerate(shown.items()):
            mosaic.label_row(panel, row, name)
            for column, picture in enumerate(pictures):
                mosaic.put(panel, picture, row, column, limits=span)
        mosaic.close(panel)
    return figure


def samples(
    y: Tensor, *, columns: int | None = None, limits: Limits | None = None, bins: int = 40
) -> Figure:
    """Draw samples as their event allows: images, points in the plane, or a histogram a column.

    Args:
        y: `(n, *event)`; join the chains of `Draws.y` first, `draws.y.flatten(0, 1)`.
        columns: how many images or histograms a row.
        limits: the values shown as black and white, for images.
        bins: how many bars a histogram has.

    Returns:
        The figure.

    Raises:
        ShapeError: the items are neither images nor vectors of at most 16 elements.
        DomainError: there are no samples, those for a histogram are not finite, or `columns` is 0.
        CapabilityError: matplotlib is missing.

    Example:
        >>> len(samples(torch.rand(50, 3)).axes)
        3
    """
    if y.numel() == 0:
        raise DomainError(f"'y' holds no samples: its shape is {tuple(y.shape)}.")
    if is_image(tuple(y.shape[1:])):
        return images(y, columns=columns, limits=limits)
    if y.dim() == 2 and y.shape[1] == 2:
        return _scatter(y, None)
    rows = y.detach().cpu().double()
    rows = rows.unsqueeze(-1) if rows.dim() == 1 else rows
    if rows.dim() != 2 or rows.shape[1] > MOST_HISTOGRAMS:
        raise ShapeError(
            f"'y' must hold images or vectors of at most {MOST_HISTOGRAMS} elements. Got "
            f"{tuple(y.shape)}. Reshape it to images, or choose columns: samples(y[:, :8])."
        )
    if not bool(torch.isfinite(rows).all()):
        raise DomainError("'y' must be finite, to be counted in bins. Got NaN or infinite values.")
    n = rows.shape[1]
    across = _across(n, columns, 4)
    down = math.ceil(n / across)
    with style():
        figure = new_figure(2.1 * across + 0.4, 1.6 * down + 0.3)
        for i in range(n):
            panel = keep_style(figure.add_subplot(down, across, i + 1))
            panel.hist(rows[:, i].numpy(), bins=bins, color=BLUE)
            panel.set_xlabel(f"$y_{{{i + 1}}}$")
            if i % across == 0:
                panel.set_ylabel("samples")
    return figure


def _grid(
    pictures: Tensor,
    *,
    columns: int | None,
    titles: Sequence[str] | None,
    limits: Limits,
    colours: str,
    axes: Axes | None,
) -> Figure:
    n = len(pictures)
    if titles is not None and len(titles) != n:
        raise DomainError(f"'titles' must have one text for each of {n} images. Got {len(titles)}.")
    across = _across(n, columns, max(5, math.ceil(math.sqrt(2 * n))))
    height, width = pictures.shape[1:3]
    mosaic = Mosaic(math.ceil(n / across), across, (height, width), captions=titles is not None)
    with drawing(axes, *mosaic.inches()) as (figure, panel):
        for i, picture in enumerate(pictures):
            row, column = divmod(i, across)
            caption = titles[i] if titles is not None else ""
            mosaic.put(panel, picture, row, column, limits=limits, colours=colours, caption=caption)
        mosaic.close(panel)
    return figure


def _across(n: int, columns: int | None, usual: int) -> int:
    if columns is not None and columns < 1:
        raise DomainError(f"'columns' must be a whole number of at least 1. Got {columns!r}.")
    return min(n, columns or usual)


def _scatter(points: Tensor, axes: Axes | None) -> Figure:
    with drawing(axes, 4.2, 4.0) as (figure, panel):
        draw_dots(panel, points, BLUE)
        panel.set(xlabel="$y_1$", ylabel="$y_2$")
        panel.set_aspect("equal", adjustable="datalim")
    return figure


def _moves(noisy: Tensor, projected: Tensor, clean: Tensor | None, axes: Axes | None) -> Figure:
    with drawing(axes, 4.6, 4.4) as (figure, panel):
        start, end = noisy.detach().cpu().double(), projected.detach().cpu().double()
        if clean is not None:
            draw_dots(panel, clean, FAINT)
        panel.quiver(
            *start.unbind(-1), *(end - start).unbind(-1), angles="xy", scale_units="xy", scale=1,
            color=FAINT, width=0.002, headwidth=5, zorder=1,
        )  # fmt: skip
        draw_dots(panel, noisy, ORANGE)
        draw_dots(panel, projected, BLUE)
        panel.set(xlabel="$y_1$", ylabel="$y_2$")
        panel.set_aspect("equal", adjustable="datalim")
        entries = {"noisy": ("o", ORANGE), "projected": ("o", BLUE)}
        explain_below(panel, entries if clean is None else {"clean": ("o", FAINT), **entries})
    return figure


def _fits(argument: str, got: tuple[int, ...], allowed: tuple[tuple[int, ...], ...]) -> None:
    if got not in allowed:
        expected = " or ".join(map(str, allowed))
        raise ShapeError(
            f"'{argument}' must have shape {expected}, to stand beside the others. Got {got}."
        )


def _energy(value: Tensor) -> str:
    return f"F = {float(value):.3g}" if math.isfinite(float(value)) else "no answer"
