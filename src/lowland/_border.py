"""What a tensor must be to enter the library, checked once where users hand it in."""

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._shapes import batch_shape
from lowland.energy import Energy


def check_y(energy: Energy, y: Tensor, argument: str = "y") -> tuple[int, ...]:
    """Check `y` once at the public border and return its batch shape.

    Raises:
        ShapeError: `y` does not end in the energy's event.
        DomainError: `y` is empty, of the wrong dtype or device, or outside the domain.
    """
    batch = batch_shape(y, energy.event, argument)
    if y.numel() == 0:
        raise DomainError(f"'{argument}' is empty: its shape is {tuple(y.shape)}. Give some items.")
    energy.domain.check(y, argument)
    if y.is_floating_point() and energy.dtype not in (None, y.dtype):
        raise DomainError(
            f"'{argument}' is {y.dtype} but the energy's parameters are {energy.dtype}. Convert "
            f"one of them: {argument}.to({energy.dtype}) or energy.to({y.dtype})."
        )
    if energy.device not in (None, y.device):
        raise DomainError(
            f"'{argument}' is on {y.device} but the energy is on {energy.device}. Move one of "
            f"them: {argument}.to({str(energy.device)!r})."
        )
    return batch


def check_x(energy: Energy, x: Tensor) -> None:
    """Check a floating-point `x` once at the public border.

    Raises:
        DomainError: `x` is not finite, or of another type than the energy's parameters.
    """
    if not bool(torch.isfinite(x).all()):
        bad = torch.nonzero(~torch.isfinite(x))[0].tolist()
        raise DomainError(
            f"'x' must be finite. Got {x[tuple(bad)].item()} at index {tuple(bad)}. Remove or "
            f"complete it first."
        )
    if energy.dtype not in (None, x.dtype):
        raise DomainError(
            f"'x' is {x.dtype} but the energy's parameters are {energy.dtype}. Convert one of "
            f"them: x.to({energy.dtype}) or energy.to({x.dtype})."
        )
