"""What every question does at its border."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._modes import evaluating
from lowland._shapes import flatten_batch
from lowland.energy import Energy
from lowland.infer import flatten_condition
from lowland.scaling import Scaling, model_units


class Asked(NamedTuple):
    """A question's input in the energy's own units.

    Attributes:
        energy: the inner energy.
        y: `(n, *event)`.
        x: `(n, ...)`, or None.
        batch: the batch shape of the caller's y.
        scaling: the way back to the caller's units.
    """

    energy: Energy
    y: Tensor
    x: Tensor | None
    batch: tuple[int, ...]
    scaling: Scaling

    def answer(self, y: Tensor) -> Tensor:
        """`(n, *event)` in the caller's units and batch shape."""
        back: Tensor = self.scaling.inverse(y) if y.is_floating_point() else y
        return back.reshape(*self.batch, *y.shape[1:])


@contextmanager
def asked(energy: Energy, y: Tensor, x: Tensor | None) -> Iterator[Asked]:
    """Check y and x, go to the energy's units and to evaluation mode, without gradients.

    Raises:
        ShapeError: y or x has the wrong shape.
        DomainError: y lies outside the energy's domain.
    """
    batch = check_y(energy, y)
    flat_y, flat_x = flatten_batch(y, batch), flatten_condition(energy, x, batch)
    inner, scaling, condition = model_units(energy)
    if flat_y.is_floating_point():
        flat_y = scaling(flat_y)
    if flat_x is not None and condition is not None:
        flat_x = condition(flat_x)
    with evaluating(energy), torch.no_grad():
        yield Asked(inner, flat_y, flat_x, batch, scaling)


def repeat(tensor: Tensor, times: int) -> Tensor:
    """`(n, ...)` to `(n * times, ...)`, each item `times` in a row."""
    return tensor.repeat_interleave(times, dim=0)
