"""The page of the seven strategies is the table of the code."""

from pathlib import Path

from lowland import energies
from lowland.train.strategies import SEVEN

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


def test_the_page_holds_the_table() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith(("| A", "| C"))]
    expected = [
        f"| {row.id} | {row.words} | {', '.join(f'`{cls.__name__}`' for cls in row.classes)} | "
        f"{', '.join(f'`{name}`' for name in row.energies)} | [paper]({row.paper}) |"
        for row in SEVEN
    ]
    assert rows == expected
    assert {name for row in SEVEN for name in row.energies} <= set(energies.__all__)
