"""One self-contained web page of text, tables and figures, which needs no network to be read."""

import base64
import html
import io
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from lowland._errors import DomainError
from lowland.plot._canvas import Figure

Cell = str | int | float | None

DPI = 160
BEST = ("max", "min")

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0;
  --page: #ffffff; --band: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --faint: #9aa4af; --line: #3d444d; --page: #16191d; --band: #1f242a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.6 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.25; margin: 0 0 1.5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.5rem; }
p, ul { margin: 0 0 1rem; max-width: 42rem; }
code { font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: var(--band); padding: 0.1em 0.3em; border-radius: 3px; }
figure { margin: 1.5rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff;
  border-radius: 4px; }
figcaption, caption { color: var(--faint); font-size: 0.9rem; text-align: left; }
figcaption { margin-top: 0.5rem; max-width: 42rem; }
caption { caption-side: top; padding-bottom: 0.4rem; }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-size: 0.93rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
th { font-weight: 600; }
td.number, th.number { text-align: right; padding: 0.35rem 0.9rem 0.35rem 1.2rem; }
td.best { font-weight: 700; }
@media print {
  :root { --ink: #000000; --faint: #444444; --line: #bbbbbb; --page: #ffffff; --band: #f2f2f2; }
  main { max-width: none; padding: 0; }
  figure, table { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""


class Report:
    """A page in the making: add text, tables and figures in reading order, then write it.

    Args:
        title: the heading of the page.

    Example:
        >>> report = Report("Digits").text("Two methods, one measure.")
        >>> report = report.table(["method", "PSNR (dB)"], [["DAE", 19.7]], "Noise taken away.")
        >>> "19.7</td>" in report.html()
        True
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def text(self, paragraphs: str) -> Self:
        """Add paragraphs, set apart by empty lines.

        A block of lines that begin with "- " is a list; a line that begins with "## " or "### " is
        a heading; `**bold**` and backquotes work. Everything else stands as it is written.

        Args:
            paragraphs: the text.
        """
        for block in re.split(r"\n\s*\n", paragraphs.strip()):
            lines = [line.strip() for line in block.splitlines() if line.strip()]
            while lines and (heading := re.fullmatch(r"(#{2,3})\s+(.*)", lines[0])):
                level = len(heading[1])
                self._parts.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
                lines = lines[1:]
            if lines and all(line.startswith("- ") for line in lines):
                items = "".join(f"<li>{_inline(line[2:])}</li>" for line in lines)
                self._parts.append(f"<ul>{items}</ul>")
            elif lines:
                self._parts.append(f"<p>{_inline(' '.join(lines))}</p>")
        return self

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        caption: str,
        *,
        best: Mapping[str, str] | None = None,
    ) -> Self:
        """Add a table; columns of numbers are aligned on the right.

        Args:
            columns: their headings, with units.
            rows: the cells; floats are written with four significant digits, None as a dash.
            caption: what the table shows.
            best: "max" or "min" by column: its best finite number is set in bold.

        Raises:
            DomainError: a row does not have one cell for each column, or `best` names a column that
                does not exist, or neither "max" nor "min".
        """
        for number, row in enumerate(rows):
            if len(row) != len(columns):
                raise DomainError(
                    f"Row {number} of the table must have {len(columns)} cells, one for each of "
                    f"{list(columns)}. Got {len(row)}: {list(row)}."
                )
        wanted = dict(best or {})
        for name, kind in wanted.items():
            if name not in columns or kind not in BEST:
                raise DomainError(
                    f"'best' must give 'max' or 'min' for columns among {list(columns)}. "
                    f"Got {name!r}: {kind!r}."
                )
        numeric = [_is_numeric([row[i] for row in rows]) for i in range(len(columns))]
        champions = [
            _champion([row[i] for row in rows], wanted.get(name)) for i, name in enumerate(columns)
        ]
        head = "".join(
            f'<th scope="col"{_class(["number"] if right else [])}>{_inline(name)}</th>'
            for name, right in zip(columns, numeric, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(_cell(cell, numeric[i], champions[i]) for i, cell in enumerate(row))
            + "</tr>"
            for row in rows
        )
        self._parts.append(
            f'<div class="scroll"><table><caption>{_inline(caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
        return self

    def figure(self, figure: Figure, caption: str, alt: str) -> Self:
        """Add a figure as it is now, as a picture inside the page.

        Args:
            figure: any matplotlib figure.
            caption: what to see in it, printed below.
            alt: the same for those who cannot see it.

        Raises:
            DomainError: `alt` is empty.
        """
        if not alt.strip():
            raise DomainError("'alt' must say in words what the figure shows. Got an empty text.")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        self._parts.append(
            f'<figure><img src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}" '
            f'width="{width}" height="{height}">'
            f"<figcaption>{_inline(caption)}</figcaption></figure>"
        )
        return self

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        body = "\n".join(self._parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to one file, whole or not at all; an older file there is replaced.

        Args:
            path: where to, in a folder that exists.

        Returns:
            The absolute path of the file.

        Raises:
            DomainError: nothing can be written there; what was there before is untouched.
        """
        target = Path(path).absolute()
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        # Half of a surrogate pair has no place in UTF-8, and is written out by its number.
        page = self.html().encode("utf-8", "backslashreplace")
        try:
            if target.is_dir():
                raise IsADirectoryError("it is a folder")
            with partial.open("xb") as file:
                file.write(page)
            partial.replace(target)
        except OSError as error:
            raise DomainError(
                f"The report cannot be written to '{target}': {error.strerror or error}. Give the "
                f"path of a file in a folder that exists and that you may write to."
            ) from error
        finally:
            # After a success there is nothing left to remove.
            with suppress(OSError):
                partial.unlink()
        return target


def _inline(text: str) -> str:
    """Escape everything, then set backquotes as code and double stars as bold."""
    pieces = html.escape(text).split("`")
    if len(pieces) % 2 == 0:
        # An odd backquote is only a character.
        pieces[-2:] = [f"{pieces[-2]}`{pieces[-1]}"]
    for i, piece in enumerate(pieces):
        bold = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", piece)
        pieces[i] = f"<code>{piece}</code>" if i % 2 else bold
    return "".join(pieces)


def _is_numeric(cells: Sequence[Cell]) -> bool:
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(isinstance(cell, int | float) for cell in given)


def _champion(cells: Sequence[Cell], kind: str | None) -> float | None:
    numbers = [float(c) for c in cells if isinstance(c, int | float) and math.isfinite(c)]
    if kind is None or not numbers:
        return None
    return max(numbers) if kind == "max" else min(numbers)


def _cell(cell: Cell, numeric: bool, champion: float | None) -> str:
    classes = ["number"] if numeric else []
    if isinstance(cell, int | float) and champion is not None and float(cell) == champion:
        classes.append("best")
    return f"<td{_class(classes)}>{_written(cell)}</td>"


def _class(names: list[str]) -> str:
    return ' class="' + " ".join(names) + '"' if names else ""


def _written(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.4g}".replace("-", "−")
    return _inline(str(cell))
