"""What training recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One line of the history.

    Attributes:
        step: how many steps had been made, this one included.
        seconds: time since training began.
        loss: the loss of this step's batch, before the step.
        data_energy: the mean energy of this step's data: before the step where the loss is that
            energy, else after it, in evaluation mode.
        negative_energy: the mean energy of the points pushed up, after the step, in evaluation
            mode; None if there were none.
    """

    step: int
    seconds: float
    loss: float
    data_energy: float
    negative_energy: float | None


@dataclass(frozen=True)
class History:
    """The records of a run as parallel columns.

    Example:
        >>> history = History.of([Record(1, 0.1, 2.0, 2.0, None)])
        >>> history.loss
        (2.0,)
    """

    step: tuple[int, ...]
    seconds: tuple[float, ...]
    loss: tuple[float, ...]
    data_energy: tuple[float, ...]
    negative_energy: tuple[float | None, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> "History":
        """Turn records into columns."""
        return cls(
            tuple(record.step for record in records),
            tuple(record.seconds for record in records),
            tuple(record.loss for record in records),
            tuple(record.data_energy for record in records),
            tuple(record.negative_energy for record in records),
        )

    def __len__(self) -> int:
        return len(self.step)
