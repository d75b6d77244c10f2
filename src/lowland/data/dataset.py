"""What every source of data becomes: y, and what is known besides, checked once."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland.data.tokenizer import Tokenizer

KINDS = ("points", "table", "image", "array", "text")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Items y, with the condition x and the labels that belong to them, if any.

    Args:
        y: what is modelled, `(n, *event)`, finite floating point, or int64 for class indices.
        x: what y is conditioned on, `(n, ...)`, finite floating point or int64, or None.
        labels: the class of each item, `(n,)` int64, for evaluation only, or None.
        names: one name for each column of a `(n, columns)` y, or None.
        kind: how to show an item: "points", "table", "image" (channels, height, width),
            "text" (tokens) or "array".
        description: one sentence on what the items are.
        classes: the name of each class in `labels`, by index, or None.
        tokenizer: how tokens y become text again, or None.

    Raises:
        ShapeError: y has no items' axis, or x, labels or names do not fit it.
        DomainError: y is empty, a value is NaN or infinite, or a dtype or the kind is not allowed.

    Example:
        >>> data = Dataset(torch.zeros(4, 2), names=("age", "height"), kind="table")
        >>> data
        Dataset(4 × (2,) torch.float32, kind='table')
        >>> data[:3].event, len(data[:3])
        ((2,), 3)
    """

    y: Tensor
    x: Tensor | None = None
    labels: Tensor | None = None
    names: tuple[str, ...] | None = None
    kind: str = "array"
    description: str = ""
    classes: tuple[str, ...] | None = None
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DomainError(f"The 'kind' of Dataset must be one of {KINDS}. Got {self.kind!r}.")
        if self.y.dim() < 1:
            raise ShapeError(
                "The 'y' of Dataset must have shape (n, *event). Got a single number of shape (). "
                "Give it an axis of items first: y[None]."
            )
        if self.y.numel() == 0:
            raise DomainError(
                f"The 'y' of Dataset is empty: its shape is {tuple(self.y.shape)}. Give it at "
                f"least one item."
            )
        if self.names is not None and (self.y.dim() != 2 or len(self.names) != self.y.shape[1]):
            raise ShapeError(
                f"The 'names' of Dataset must hold one name for each column of y, whose shape is "
                f"{tuple(self.y.shape)}. Got {len(self.names)} name(s)."
            )
        _check_values("y", self.y, self.names)
        if self.x is not None:
            self._check_length("x", self.x)
            _check_values("x", self.x, None)
        if self.labels is not None:
            self._check_labels(self.labels)

    def _check_length(self, argument: str, tensor: Tensor) -> None:
        if tensor.dim() < 1 or tensor.shape[0] != len(self):
            raise ShapeError(
                f"The '{argument}' of Dataset must have one entry for each of the {len(self)} "
                f"items of y. Got shape {tuple(tensor.shape)}."
            )

    def _check_labels(self, labels: Tensor) -> None:
        self._check_length("labels", labels)
        if labels.dim() != 1:
            raise ShapeError(
                f"The 'labels' of Dataset must have shape ({len(self)},), one class index for "
                f"each item. Got {tuple(labels.shape)}. For one-hot rows take labels.argmax(1)."
            )
        if labels.dtype != torch.int64:
            raise DomainError(
                f"The 'labels' of Dataset are class indices, torch.int64. Got {labels.dtype}. "
                f"Convert them with labels.long()."
            )
        largest = int(labels.max())
        if self.classes is not None and not 0 <= int(labels.min()) <= largest < len(self.classes):
            raise DomainError(
                f"The 'labels' of Dataset must lie in [0, {len(self.classes)}), for there are "
                f"{len(self.classes)} classes. Got {int(labels.min())} to {largest}."
            )

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one y."""
        return tuple(self.y.shape[1:])

    def __len__(self) -> int:
        return self.y.shape[0]

    def __repr__(self) -> str:
        parts = [f"{len(self)} × {self.event} {self.y.dtype}", f"kind={self.kind!r}"]
        if self.x is not None:
            parts.append(f"x: {tuple(self.x.shape[1:])} {self.x.dtype}")
        if self.labels is not None:
            parts.append(f"{len(set(self.labels.tolist()))} labels")
        return f"Dataset({', '.join(parts)})"

    def __getitem__(self, index: slice | Tensor) -> "Dataset":
        return self.select(index)

    def select(self, index: slice | Tensor) -> "Dataset":
        """The items at `index`, with their x and labels.

        Args:
            index: a slice, an int64 tensor of positions, or a bool tensor `(n,)`.

        Raises:
            DomainError: the index is of another type, out of range, or selects nothing.

        Example:
            >>> Dataset(torch.arange(6.0)).select(torch.tensor([5, 0])).y
            tensor([5., 0.])
        """
        if isinstance(index, Tensor):
            index = self._positions(index)
        elif not isinstance(index, slice):
            raise DomainError(
                f"A Dataset is indexed by a slice or a tensor of positions. Got {index!r}. For "
                f"one item take a slice of length one, or read .y[i]."
            )
        y = self.y[index]
        if len(y) == 0:
            raise DomainError(f"That index selects none of the {len(self)} items.")
        return replace(
            self,
            y=y,
            x=None if self.x is None else self.x[index],
            labels=None if self.labels is None else self.labels[index],
        )

    def _positions(self, index: Tensor) -> Tensor:
        n = len(self)
        if index.dim() != 1 or index.dtype not in (torch.int64, torch.bool):
            raise DomainError(
                f"A Dataset's index tensor must be 1-D, of int64 positions or of bool. Got "
                f"{index.dtype} of shape {tuple(index.shape)}."
            )
        if index.dtype == torch.bool:
            if len(index) != n:
                raise DomainError(
                    f"A Dataset's bool index must have one entry for each of its {n} items. Got "
                    f"{len(index)}."
                )
        elif len(index) and not (-n <= int(index.min()) and int(index.max()) < n):
            raise DomainError(
                f"A Dataset's positions must lie in [{-n}, {n}). Got {int(index.min())} to "
                f"{int(index.max())}."
            )
        return index

    def split(
        self, held_out: float | int, generator: torch.Generator | None = None
    ) -> tuple["Dataset", "Dataset"]:
        """Shuffle the items and hold some out.

        Args:
            held_out: a fraction in (0, 1), or how many items.
            generator: the source of randomness; torch's global one if None.

        Returns:
            (train, held_out), which share no item.

        Raises:
            DomainError: one of the two parts would be empty.

        Example:
            >>> g = torch.Generator().manual_seed(0)
            >>> train, test = Dataset(torch.zeros(10, 2)).split(0.2, g)
            >>> len(train), len(test)
            (8, 2)
        """
        n = len(self)
        count = held_out if isinstance(held_out, int) else _fraction(held_out, n)
        if isinstance(held_out, bool) or not 1 <= count < n:
            raise DomainError(
                f"'held_out' must be a fraction in (0, 1) or a count from 1 to {n - 1}, so that "
                f"both parts of the {n} item(s) have some. Got {held_out!r}."
            )
        device = "cpu" if generator is None else generator.device
        order = torch.randperm(n, generator=generator, device=device).to(self.y.device)
        return self.select(order[count:]), self.select(order[:count])

    def to(self, dtype: torch.dtype) -> "Dataset":
        """The same items with floating-point y and x in `dtype`; int64 stays int64.

        Raises:
            DomainError: `dtype` is not floating point, or a value is too large for it.

        Example:
            >>> Dataset(torch.zeros(3, 2)).to(torch.float64).y.dtype
            torch.float64
        """
        if not dtype.is_floating_point:
            raise DomainError(f"'dtype' must be floating point. Got {dtype}.")

        def convert(tensor: Tensor) -> Tensor:
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        return replace(self, y=convert(self.y), x=None if self.x is None else convert(self.x))


def _fraction(held_out: float, n: int) -> int:
    """How many of n items a fraction is: at least one, if it is a fraction at all."""
    return max(1, round(held_out * n)) if 0 < held_out < 1 else 0


def _check_values(argument: str, tensor: Tensor, names: tuple[str, ...] | None) -> None:
    if tensor.dtype == torch.int64:
        return
    if not tensor.is_floating_point():
        raise DomainError(
            f"The '{argument}' of Dataset must be floating point, or int64 for class indices. Got "
            f"{tensor.dtype}. Convert it with {argument}.float()."
        )
    # A sum is finite only if its terms are, and costs a small part of looking at each.
    if bool(torch.isfinite(tensor.detach().sum())):
        return
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        bad = torch.nonzero(~finite)
        first = tuple(bad[0].tolist())
        raise DomainError(
            f"The '{argument}' of Dataset must be finite. Got {tensor[first].item()} at "
            f"{position(first, names)} ({len(bad)} such value(s)). Remove or complete those rows "
            f"first."
        )


def position(index: tuple[int, ...], names: tuple[str, ...] | None = None) -> str:
    """Words for the place of one element, rows counted from 0.

    Example:
        >>> position((17, 1), ("height", "age"))
        "row 17, column 'age'"
        >>> position((3, 0, 2, 5))
        'row 3, element (0, 2, 5)'
    """
    if len(index) == 1:
        return f"row {index[0]}"
    if len(index) == 2:
        column = names[index[1]] if names else index[1]
        return f"row {index[0]}, column {column!r}"
    return f"row {index[0]}, element {index[1:]}"
