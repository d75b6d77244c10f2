"""Put what an agent does into the past that it predicts from."""

import torch
from torch import Tensor

from lowland._errors import ShapeError


def with_actions(frames: Tensor, actions: Tensor) -> Tensor:
    """Frames that carry the act on each of them, so that a model predicts the result of acts.

    An act becomes channels of one value each behind those of the frame that it acts on; the last
    frame carries the act whose result is to be predicted. Energies that take frames take it from
    there, and a batch stays one tensor.

    Args:
        frames: `(*batch, past, channels, height, width)`.
        actions: `(*batch, past, m)`.

    Returns:
        `(*batch, past, channels + m, height, width)`.

    Raises:
        ShapeError: there is not one act for each frame.

    Example:
        >>> with_actions(torch.zeros(5, 3, 1, 8, 8), torch.ones(5, 3, 2)).shape
        torch.Size([5, 3, 3, 8, 8])
    """
    if frames.dim() < 4 or actions.shape[:-1] != frames.shape[:-3]:
        raise ShapeError(
            f"'actions' must hold one act for each frame, (*batch, past, m), and 'frames' be "
            f"(*batch, past, channels, height, width). Got {tuple(actions.shape)} and "
            f"{tuple(frames.shape)}."
        )
    planes = actions.to(frames)[..., None, None].expand(*actions.shape, *frames.shape[-2:])
    return torch.cat([frames, planes], -3)
