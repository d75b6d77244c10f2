"""One restrained style for every picture, and matplotlib imported only when one is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lowland._errors import CapabilityError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
else:
    # Matplotlib is an extra; at run time its types are only names in signatures.
    Axes = Figure = Any

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), told apart by colour-blind readers.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
SERIES = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")
# The lecture's spiral is pink; this one stands out on every grey.
PINK = "#E7298A"
INK, FAINT, EMPTY = "#262626", "#8a8a8a", "#e4e4e4"

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}


@contextmanager
def style() -> Iterator[None]:
    """The style of lowland's pictures, for as long as the context lasts.

    Raises:
        CapabilityError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise CapabilityError(
            "lowland.plot draws with matplotlib, which is not installed. "
            "Install it with: pip install 'lowland[plot]'"
        ) from error
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that belongs to no window and no global state."""
    from matplotlib.figure import Figure as MatplotlibFigure

    return MatplotlibFigure(figsize=(width, height), layout="constrained")


@contextmanager
def drawing(axes: Axes | None, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """The caller's axes and their figure, or one new panel of so many inches, in our style."""
    with style():
        if axes is None:
            figure = new_figure(width, height)
            yield figure, keep_style(figure.add_subplot())
            return
        # Through a subfigure, if the axes lie in one, to the figure that can be saved.
        yield axes.figure.figure, axes


def keep_style(axes: Axes) -> Axes:
    """Fix the look of ticks that are made only when the figure is drawn, outside the context."""
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=8, width=0.7, length=3)
    return axes


def draw_dots(axes: Axes, points: Tensor, colour: str, *, shrink: float = 1.0) -> None:
    """Draw points `(n, 2)`, each the smaller the more there are."""
    first, second = points.detach().cpu().double().numpy().T
    area = shrink * min(14.0, max(3.0, 3000 / max(1, len(points))))
    axes.scatter(first, second, s=area, c=colour, linewidths=0, zorder=3)


def explain_below(axes: Axes, entries: dict[str, tuple[str, str]]) -> None:
    """Say under the axes what each marker, given with its colour, stands for."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], ls="", marker=marker, ms=4 if marker == "o" else 9, c=colour, mew=0, label=text
        )
        for text, (marker, colour) in entries.items()
    ]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, -0.12),
        ncols=len(handles),
        handletextpad=0.3,
    )
