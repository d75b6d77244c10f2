"""What happened over the steps of training, and how scores spread."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.plot._canvas import (
    BLUE,
    GREEN,
    ORANGE,
    SERIES,
    Axes,
    Figure,
    drawing,
    keep_style,
    new_figure,
    style,
)
from lowland.train import Fit, History

# A quantity that falls by more than this factor is drawn on a logarithmic scale.
WIDE = 30.0
DASHES = ("-", "--", "-.", ":")


def training(run: Fit | History) -> Figure:
    """Draw the loss, and the energies of the data and of the negatives, against the step.

    An axis is logarithmic where everything on it is positive and spans more than a factor of 30.

    Args:
        run: what `lowland.fit` returned, or its history.

    Returns:
        The figure: loss on the left, energies on the right.

    Raises:
        DomainError: nothing was recorded.
        CapabilityError: matplotlib is missing.

    Example:
        >>> history = ll.train.History((1, 2), (0.1, 0.2), (4.0, 3.0), (4.0, 3.0), (None, None))
        >>> [axes.get_ylabel() for axes in training(history).axes]
        ['loss', 'mean energy']
    """
    history = run.history if isinstance(run, Fit) else run
    if len(history.step) == 0:
        raise DomainError(
            "The history holds no steps, so that there is nothing to draw. Train for at least one."
        )
    panels: dict[str, dict[str, tuple[Sequence[float | None], str]]] = {
        "loss": {"loss": (history.loss, GREEN)},
        "mean energy": {
            "data": (history.data_energy, BLUE),
            "negatives": (history.negative_energy, ORANGE),
        },
    }
    with style():
        figure = new_figure(7.2, 2.7)
        for position, (label, curves) in enumerate(panels.items(), start=1):
            panel = keep_style(figure.add_subplot(1, 2, position))
            drawn: list[float] = []
            for dashes, (name, (column, colour)) in zip(DASHES, curves.items(), strict=False):
                pairs = [(s, v) for s, v in zip(history.step, column, strict=True) if v is not None]
                if pairs:
                    steps, values = zip(*pairs, strict=True)
                    # A single step has no line to show, and is a dot.
                    mark = "o" if len(pairs) == 1 else ""
                    panel.plot(steps, values, dashes, color=colour, marker=mark, label=name)
                    drawn.extend(values)
            if min(drawn) > 0 and max(drawn) > WIDE * min(drawn):
                panel.set_yscale("log")
            panel.set(xlabel="step", ylabel=label)
            panel.locator_params(axis="x", integer=True)
            if len(panel.lines) > 1:
                panel.legend()
    return figure


def histogram(
    scores: Mapping[str, Tensor],
    *,
    bins: int = 60,
    label: str = "free energy F(y)",
    axes: Axes | None = None,
) -> Figure:
    """Draw how the scores of several sets spread, for example of digits and of noise.

    All share one set of bins, in equal ratios where every score is positive and they span more than
    a factor of 30; the height is the share of the set's items in that bin.

    Args:
        scores: the scores of each set, any shape, by the name of the set.
        bins: how many bins there are.
        label: what a score is, with its units if it has any.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        DomainError: there is no score, one is not finite, or there are fewer than one bin.
        CapabilityError: matplotlib is missing.

    Example:
        >>> figure = histogram({"digits": torch.rand(50), "noise": 3 + torch.rand(50)})
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['digits', 'noise']
    """
    if bins < 1:
        raise DomainError(f"'bins' must be a whole number of at least 1. Got {bins!r}.")
    columns = {name: value.detach().cpu().double().flatten() for name, value in scores.items()}
    if not columns:
        raise DomainError("'scores' is empty. Give at least one set of scores, by its name.")
    for name, column in columns.items():
        if column.numel() == 0 or not bool(torch.isfinite(column).all()):
            raise DomainError(
                f"The scores of {name!r} must be at least one number, all of them finite. "
                f"Got {column.numel()}, of which {int((~torch.isfinite(column)).sum())} are not."
            )
    together = torch.cat(list(columns.values()))
    low, high = float(together.min()), float(together.max())
    wide = low > 0 and high > WIDE * low
    with drawing(axes, 5.2, 2.9) as (figure, panel):
        from matplotlib.ticker import LogLocator, NullFormatter

        edges = _edges(low, high, bins, wide=wide)
        for i, (name, column) in enumerate(columns.items()):
            counts = torch.histogram(column, edges).hist / column.numel()
            colour, dashes = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
            panel.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.25)
            panel.stairs(counts.numpy(), edges.numpy(), color=colour, lw=1.3, ls=dashes, label=name)
        if wide:
            panel.set_xscale("log")
            # Powers of ten alone would leave an axis of one decade without numbers.
            steps = (1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)
            panel.xaxis.set_major_locator(LogLocator(subs=steps))
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set(xlabel=label, ylabel="share of items per bin")
        panel.set_ylim(bottom=0)
        panel.legend()
    return figure


def _edges(low: float, high: float, bins: int, *, wide: bool) -> Tensor:
    """The limits of the bins `(bins + 1,)`, the outer ones exactly the least and largest score."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    if not wide:
        return torch.linspace(low, high, bins + 1, dtype=torch.float64)
    edges = torch.linspace(math.log(low), math.log(high), bins + 1, dtype=torch.float64).exp()
    edges[0], edges[-1] = low, high
    return edges
