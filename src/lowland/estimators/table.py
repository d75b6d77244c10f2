"""What a probe found: one row for each kind of features, each way to use them and each budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from lowland._errors import DomainError


class ProbeRow(NamedTuple):
    """How well a class can be told from one kind of features.

    Attributes:
        features: whose features.
        head: what learned from them: "linear", "k-NN", "from scratch" or "fine-tuned".
        labels: how many labelled items a class; None for all there are.
        size: how many features there are.
        rates: the share of the test items told right, for each draw of the labelled items,
            `(draws,)` float64.
        control: whether the row is there to compare with.
    """

    features: str
    head: str
    labels: int | None
    size: int
    rates: Tensor
    control: bool

    @property
    def mean(self) -> float:
        """The mean accuracy over the draws."""
        return float(self.rates.mean())

    @property
    def sd(self) -> float:
        """The standard deviation over the draws; 0 of a single one."""
        return float(self.rates.std()) if len(self.rates) > 1 else 0.0


@dataclass(frozen=True)
class ProbeTable:
    """The rows of a probe, which print as a table.

    Args:
        rows: what was measured.
        tested: how many test items there were.
        remarks: what the table lacks, and why, as sentences.
    """

    rows: tuple[ProbeRow, ...]
    tested: int
    remarks: tuple[str, ...] = ()

    @property
    def budgets(self) -> tuple[int | None, ...]:
        """The numbers of labelled items a class, in the order asked for."""
        return tuple(dict.fromkeys(row.labels for row in self.rows))

    def select(
        self,
        *,
        features: str | None = None,
        head: str | None = None,
        labels: int | None = None,
        control: bool | None = None,
    ) -> "ProbeTable":
        """The rows of those features, that head, that budget, or that are (not) controls.

        Raises:
            DomainError: there is none.
        """
        kept = tuple(
            row
            for row in self.rows
            if (features is None or row.features == features)
            and (head is None or row.head == head)
            and (labels is None or row.labels == labels)
            and (control is None or row.control == control)
        )
        if not kept:
            names = tuple(dict.fromkeys(row.features for row in self.rows))
            heads = tuple(dict.fromkeys(row.head for row in self.rows))
            raise DomainError(
                f"The table has no such row. Its features are {names}, its heads {heads}, its "
                f"labels a class {self.budgets}."
            )
        return ProbeTable(kept, self.tested, self.remarks)

    @property
    def best(self) -> ProbeRow:
        """The row of greatest mean accuracy, the first of equals."""
        return max(self.rows, key=lambda row: row.mean)

    def curves(self) -> dict[str, dict[int, Tensor]]:
        """Accuracies by number of labels, by features and head, for `plot.label_efficiency`."""
        drawn: dict[str, dict[int, Tensor]] = {}
        for row in self.rows:
            if row.labels is not None:
                drawn.setdefault(f"{row.features}, {row.head}", {})[row.labels] = row.rates
        return drawn

    def __str__(self) -> str:
        """The table as text: accuracy ± standard deviation over draws, a column a budget."""
        lines = dict.fromkeys((row.features, row.head, row.size) for row in self.rows)
        cells = {(row.features, row.head, row.labels): row for row in self.rows}
        heading = [_budget(labels) for labels in self.budgets]
        table: list[Sequence[str]] = [("features", "head", "size", *heading)]
        for features, head, size in lines:
            found = (cells.get((features, head, labels)) for labels in self.budgets)
            table.append(
                (
                    features,
                    head,
                    str(size),
                    *(f"{row.mean:.3f} ± {row.sd:.3f}" if row else "–" for row in found),
                )
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        text = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]
        draws = max(len(row.rates) for row in self.rows)
        note = (
            f"Accuracy on {self.tested:,} test items, mean ± standard deviation over {draws} "
            f"draw(s) of the labelled items."
        )
        return "\n".join([*text, note, *self.remarks])


def _budget(labels: int | None) -> str:
    if labels is None:
        return "all labels"
    return f"{labels} label{'s' if labels > 1 else ''} a class"
