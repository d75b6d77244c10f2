"""The plainest pretext task: some elements of a datum are given, the others are to be found."""

from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland._shapes import batch_shape


class Pair(NamedTuple):
    """A datum split in two.

    Attributes:
        x: what is observed, `(*batch, observed)`.
        y: what is hidden, `(*batch, hidden)`.
    """

    x: Tensor
    y: Tensor


class Given:
    r"""Split data by one mask, and put the parts together again.

    $$x = y_{\text{observed}}, \qquad y = y_{\text{hidden}}$$

    Args:
        observed: bool, shaped like one datum; True where it is observed.

    Raises:
        DomainError: the mask is not boolean, or observes everything or nothing.

    Example:
        >>> halves = Given(torch.tensor([True, False]))
        >>> pair = halves.split(torch.tensor([[1.0, 2.0]]))
        >>> pair.x, pair.y
        (tensor([[1.]]), tensor([[2.]]))
        >>> halves.join(*pair)
        tensor([[1., 2.]])
    """

    def __init__(self, observed: Tensor) -> None:
        if observed.dtype != torch.bool:
            raise DomainError(f"'observed' must be a boolean mask. Got {observed.dtype}.")
        if bool(observed.all()) or not bool(observed.any()):
            raise DomainError(
                "'observed' must hide some elements and show some. Got all of one kind."
            )
        self.observed = observed
        self.event = tuple(observed.shape)

    def split(self, data: Tensor) -> Pair:
        """Split data `(*batch, *event)` into what is observed and what is hidden."""
        batch_shape(data, self.event, "data")
        return Pair(data[..., self.observed], data[..., ~self.observed])

    def join(self, x: Tensor, y: Tensor) -> Tensor:
        """Put the parts together again, `(*batch, *event)`.

        Raises:
            ShapeError: the parts do not fit the mask.
        """
        sizes = int(self.observed.sum()), int((~self.observed).sum())
        if (x.shape[-1], y.shape[-1]) != sizes or x.shape[:-1] != y.shape[:-1]:
            raise ShapeError(
                f"Parts must have shapes (*batch, {sizes[0]}) and (*batch, {sizes[1]}). Got "
                f"{tuple(x.shape)} and {tuple(y.shape)}."
            )
        whole = y.new_empty(*x.shape[:-1], *self.event)
        whole[..., self.observed] = x
        whole[..., ~self.observed] = y
        return whole
