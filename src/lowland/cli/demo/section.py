"""What each part of the demonstration hands to the report: words, tables, pictures, figures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lowland.plot import Report
from lowland.plot._canvas import Figure

Figures = dict[str, dict[str, float]]


class Table(NamedTuple):
    """Methods by measures.

    Attributes:
        figures: measures by method.
        columns: the measures to show, in order, and their headings with units.
        caption: what the table shows.
        best: "max" or "min" by measure.
    """

    figures: Figures
    columns: Mapping[str, str]
    caption: str
    best: Mapping[str, str]


class Picture(NamedTuple):
    """A figure with its caption, and the same for those who cannot see it."""

    figure: Figure
    caption: str
    alt: str


class Line(NamedTuple):
    """One line of the summary: our best figure beside the best yardstick.

    Attributes:
        question: what was asked.
        measure: what was measured, with its unit.
        ours: the name of our best.
        value: its figure.
        yardstick: the name of the best yardstick.
        reference: its figure.
        larger: whether larger is better.
    """

    question: str
    measure: str
    ours: str
    value: float
    yardstick: str
    reference: float
    larger: bool

    @property
    def verdict(self) -> str:
        """Whether we win, lose or come out equal to the fourth digit."""
        if abs(self.value - self.reference) <= 5e-5 * max(abs(self.value), abs(self.reference)):
            return "equal"
        return "better" if (self.value > self.reference) == self.larger else "worse"


class Section(NamedTuple):
    """One part of the demonstration.

    Attributes:
        key: its name in figures.json.
        title: its heading.
        parts: paragraphs, tables and pictures in reading order.
        figures: everything that was measured.
        lines: what the summary says of it.
    """

    key: str
    title: str
    parts: Sequence[str | Table | Picture]
    figures: Figures
    lines: Sequence[Line] = ()

    def write(self, report: Report) -> None:
        """Add this part to the report."""
        report.text(f"## {self.title}")
        for part in self.parts:
            match part:
                case str():
                    report.text(part)
                case Table(figures, columns, caption, best):
                    rows = [
                        [method, *(measured.get(measure) for measure in columns)]
                        for method, measured in figures.items()
                    ]
                    headings = ["method", *columns.values()]
                    report.table(
                        headings, rows, caption, best={columns[k]: v for k, v in best.items()}
                    )
                case Picture(figure, caption, alt):
                    report.figure(figure, caption, alt)


def line(
    figures: Figures,
    measure: str,
    *,
    question: str,
    label: str,
    ours: Sequence[str],
    larger: bool,
) -> Line:
    """Compare the best of our methods with the best of all the others by one measure."""
    sign = 1.0 if larger else -1.0
    measured = {name: row[measure] for name, row in figures.items() if measure in row}
    best = max((name for name in measured if name in ours), key=lambda n: sign * measured[n])
    other = max((name for name in measured if name not in ours), key=lambda n: sign * measured[n])
    return Line(question, label, best, measured[best], other, measured[other], larger)


def said(compared: Line) -> str:
    """The comparison as a sentence, whichever way it went."""
    first = f"**{compared.ours}** ({compared.value:.4g})"
    second = f"{compared.yardstick} ({compared.reference:.4g})"
    match compared.verdict:
        case "equal":
            return f"By {compared.measure}, {first} and {second} come out equal."
        case "better":
            return f"By {compared.measure}, {first} is better than the best yardstick, {second}."
        case _:
            return f"By {compared.measure} we lose: {first}, and {second} is better."
