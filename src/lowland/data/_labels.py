"""Labels of any type as class indices."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lowland._errors import DataError


def encode_labels(values: Sequence[Any], source: str) -> tuple[Tensor, tuple[str, ...]]:
    """Class indices `(n,)` int64 in the sorted order of the values, and the classes' names.

    Args:
        values: one label for each item: numbers, strings, booleans, dates, of one type.
        source: what holds the labels, for the message.

    Raises:
        DataError: a label is missing, or the labels cannot be sorted.

    Example:
        >>> encode_labels(["dog", "cat", "dog"], "column 'animal'")
        (tensor([1, 0, 1]), ('cat', 'dog'))
    """
    for row, value in enumerate(values):
        # Only NaN differs from itself.
        if value is None or value != value:
            raise DataError(
                f"The label at row {row} of {source} is missing. Remove that row, or read the data "
                f"without labels."
            )
    try:
        classes = sorted(set(values))
    except TypeError as error:
        raise DataError(
            f"The labels of {source} cannot be sorted into classes ({error}). Make them all of one "
            f"type, for example strings."
        ) from error
    index = {value: i for i, value in enumerate(classes)}
    return torch.tensor([index[value] for value in values]), tuple(map(str, classes))
