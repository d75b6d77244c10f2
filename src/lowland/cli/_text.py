"""How runs look on a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_BARS = "▁▂▃▄▅▆▇█"


def console() -> Console:
    """Standard output as it is now."""
    return Console(highlight=False)


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what they are, two columns without lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, escape(value))
    return table


def plural(n: int, noun: str) -> str:
    """A number and its noun.

    Example:
        >>> plural(1, "item"), plural(1797, "item")
        ('1 item', '1,797 items')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def shape(event: Sequence[int]) -> str:
    """The shape of one item.

    Example:
        >>> shape((1, 8, 8)), shape(())
        ('1×8×8', 'one number')
    """
    return "×".join(map(str, event)) or "one number"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A course of numbers as one line of bars.

    Example:
        >>> sparkline([3.0, 2.0, 1.0])
        '█▅▁'
    """
    if not values:
        return ""
    count = min(width, len(values))
    picked = [values[round(i * (len(values) - 1) / max(1, count - 1))] for i in range(count)]
    low, high = min(picked), max(picked)
    span = high - low
    return "".join(
        _BARS[round((value - low) / span * (len(_BARS) - 1)) if span > 0 else 0] for value in picked
    )
