"""What the demonstration leaves behind: report.html, figures.json, a table on the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table as Grid

from lowland._errors import DomainError
from lowland.cli.demo.section import Line, Section
from lowland.plot import Report

INTRODUCTION = """
An energy is a number for each item, low where the item is plausible. This page trains three of
them on the 1,797 handwritten digits that scikit-learn carries, and asks them what an energy can be
asked. Every figure was measured in this run, beside yardsticks measured in the same run; where a
yardstick is better, the text says so.
"""
QUICK = "**This is a quick run with small settings: its figures mean little.**"


def prepare(out: Path) -> Path:
    """Make the folder.

    Raises:
        DomainError: it cannot be made or written in.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / "figures.json"
        probe.touch()
    except OSError as error:
        raise DomainError(
            f"The demonstration cannot be written to '{out}': {error.strerror or error}. Give a "
            f"folder that you may write to with --out."
        ) from error
    return out


def write(
    out: Path, sections: Sequence[Section], seconds: dict[str, float], *, quick: bool
) -> Path:
    """Write report.html and figures.json, and return the path of the report."""
    report = Report("lowland on real digits").text(INTRODUCTION)
    if quick:
        report.text(QUICK)
    lines = every_line(sections)
    rows: list[list[str | int | float | None]] = [
        [x.question, x.measure, x.ours, x.yardstick, x.verdict, x.value, x.reference] for x in lines
    ]
    won = sum(x.verdict == "better" for x in lines)
    equal = sum(x.verdict == "equal" for x in lines)
    lost = len(lines) - won - equal
    report.text(
        f"## In short\n\nOf {len(lines)} comparisons with the best yardstick, our best energy is "
        f"better in {won}, equal in {equal} and worse in {lost}. 'Our best' is chosen by the same "
        f"held-out figures, among the three energies, as is the best yardstick among theirs."
    )
    report.table(
        ["question", "measure", "our best", "best yardstick", "we are", "ours", "theirs"],
        rows,
        f"Measured in this run, in {sum(seconds.values()):.0f} s altogether.",
    )
    for section in sections:
        section.write(report)
    measured = {section.key: section.figures for section in sections}
    text = json.dumps({"figures": measured, "seconds": seconds}, indent=2, allow_nan=False)
    (out / "figures.json").write_text(text + "\n", encoding="utf-8")
    return report.write(out / "report.html")


def summary(sections: Sequence[Section]) -> Grid:
    """The comparisons as a table for the terminal."""
    grid = Grid(title="Measured in this run, on held-out digits")
    for heading in ("question", "measure", "our best", "best yardstick", "we are"):
        grid.add_column(heading)
    for heading in ("ours", "theirs"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for x in every_line(sections):
        words = (x.question, x.measure, x.ours, x.yardstick, x.verdict)
        grid.add_row(*words, f"{x.value:.4g}", f"{x.reference:.4g}")
    return grid


def every_line(sections: Sequence[Section]) -> list[Line]:
    """The comparisons of all sections."""
    return [line for section in sections for line in section.lines]
