"""Clips of moving digits whose every possible future is known, so that coverage can be counted."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland._random import integers, uniform
from lowland.data.dataset import Dataset

# Directions after a bounce, about the line straight away from the wall, and how often each.
_BOUNCES, _BOUNCE_WEIGHTS = (0.0, 50.0, -50.0), (0.4, 0.3, 0.3)


class Futures(NamedTuple):
    """Clips, and all that could have come next.

    Attributes:
        x: the past, `(n, past, channels, size, size)`.
        y: the frame that came next, `(n, channels, size, size)`.
        mode: which of the futures it is, `(n,)` int64.
        futures: every frame that may come next, `(n, modes, channels, size, size)`.
        weights: how likely each is, `(n, modes)`; 0 for one that this past rules out.
    """

    x: Tensor
    y: Tensor
    mode: Tensor
    futures: Tensor
    weights: Tensor

    def dataset(self) -> Dataset:
        """X and y for training, the mode as the label."""
        return Dataset(
            self.y, x=self.x, labels=self.mode, kind="image", description="moving shapes"
        )

    def mean(self) -> Tensor:
        """The mean of the futures, `(n, channels, size, size)`: least squares' best answer."""
        return torch.einsum("nm,nmchw->nchw", self.weights, self.futures)


def turning_digits(
    images: Tensor,
    n: int,
    *,
    size: int = 32,
    past: int = 3,
    speed: float = 4.0,
    turns: Sequence[float] = (0.0, 60.0, -60.0),
    weights: Sequence[float] = (0.4, 0.3, 0.3),
    generator: torch.Generator | None = None,
) -> Futures:
    r"""A digit moves straight on, and in the next frame goes on or turns.

    $$c_t = c_0 + t v, \qquad c_{p + 1} = c_p + R_j v \text{ with probability } w_j$$

    The past does not tell which turn R_j is taken. Each clip has an image, a place and a heading of
    its own, such that all its futures lie within the frame.

    Args:
        images: what moves, `(m, channels, height, width)`, drawn from at random.
        n: how many clips.
        size: height and width of a frame, in pixels.
        past: how many frames are shown.
        speed: pixels a frame.
        turns: the angle of each future to the heading, in degrees.
        weights: the probability of each, in any unit.
        generator: the source of randomness; torch's global one if None.

    Raises:
        ShapeError: the images are not `(m, channels, height, width)`.
        DomainError: an option is out of range, or the path does not fit the frame.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> clips = turning_digits(torch.ones(1, 1, 4, 4), 5, size=16, speed=2.0, generator=g)
        >>> clips.x.shape, clips.futures.shape
        (torch.Size([5, 3, 1, 16, 16]), torch.Size([5, 3, 1, 16, 16]))
    """
    chosen, room = _begin(images, n, size, past, speed, generator)
    if len(turns) != len(weights) or not turns or min(weights) < 0 or not sum(weights) > 0:
        raise DomainError(
            f"turning_digits needs a weight of at least 0 for each of its turns, not all 0. Got "
            f"turns={tuple(turns)} and weights={tuple(weights)}."
        )
    like = images.new_zeros((), dtype=torch.float64)
    heading = 2 * math.pi * uniform((n,), generator, like=like)
    angles = torch.deg2rad(torch.as_tensor(turns, dtype=torch.float64, device=images.device))
    before = speed * _directions(heading).unsqueeze(1) * _times(past, like)
    after = speed * _directions(heading.unsqueeze(1) + angles)
    path = torch.cat([before, after], 1)
    low, high = path.amin(1), path.amax(1)
    free = room - (high - low)
    if bool((free < 0).any()):
        raise DomainError(
            f"Shapes of {tuple(images.shape[2:])} pixels that move {speed} a frame for {past + 1} "
            f"frames need a larger 'size' than {size}. Or give a smaller 'speed' or 'past'."
        )
    place = uniform((n, 2), generator, like=like) * free - low
    shares = torch.as_tensor(weights, dtype=torch.float64, device=images.device)
    shares = (shares / shares.sum()).expand(n, -1)
    return _film(images[chosen], path + place.unsqueeze(1), past, size, shares, generator)


def bouncing_digits(
    images: Tensor,
    n: int,
    *,
    size: int = 32,
    past: int = 3,
    speed: float = 4.0,
    generator: torch.Generator | None = None,
) -> Futures:
    """A digit moves straight on within walls, and bounces off them at random.

    Where the next step would cross a wall, the digit goes straight away from it with probability
    .4, or at 50° to either side with .3 each; elsewhere there is one future.

    Args:
        images: what moves, `(m, channels, height, width)`, drawn from at random.
        n: how many clips.
        size: height and width of a frame, in pixels.
        past: how many frames are shown.
        speed: pixels a frame.
        generator: the source of randomness; torch's global one if None.

    Raises:
        ShapeError: the images are not `(m, channels, height, width)`.
        DomainError: an option is out of range, or the path does not fit the frame.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> clips = bouncing_digits(torch.ones(1, 1, 4, 4), 5, size=16, speed=2.0, generator=g)
        >>> clips.weights[0]
        tensor([1., 0., 0.])
    """
    chosen, room = _begin(images, n, size, past, speed, generator)
    if bool((2 * speed * (past - 1) > room).any()):
        raise DomainError(
            f"Shapes of {tuple(images.shape[2:])} pixels that move {speed} a frame for {past} "
            f"frames and bounce need a larger 'size' than {size}."
        )
    like = images.new_zeros((), dtype=torch.float64)
    now = uniform((n, 2), generator, like=like) * room
    velocity = speed * _directions(2 * math.pi * uniform((n,), generator, like=like))
    start = now - (past - 1) * velocity
    velocity = torch.where((start < 0) | (start > room), -velocity, velocity)
    ahead = now + velocity
    inward = (ahead < 0).double() - (ahead > room).double()
    bounces = inward.any(1)
    angles = torch.deg2rad(torch.tensor(_BOUNCES, dtype=torch.float64, device=images.device))
    away = torch.atan2(inward[:, :1], inward[:, 1:])  # of (row, column)
    after = now.unsqueeze(1) + speed * _directions(away + angles)
    after = torch.where(bounces.reshape(-1, 1, 1), after, ahead.unsqueeze(1))
    after = after.clamp(min=torch.zeros_like(room), max=room)
    before = now.unsqueeze(1) + velocity.unsqueeze(1) * _times(past, like)
    several = torch.tensor(_BOUNCE_WEIGHTS, dtype=torch.float64, device=images.device)
    one = torch.zeros_like(several)
    one[0] = 1
    shares = torch.where(bounces.unsqueeze(1), several, one)
    return _film(images[chosen], torch.cat([before, after], 1), past, size, shares, generator)


def _begin(
    images: Tensor, n: int, size: int, past: int, speed: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Which image each clip shows, `(n,)`, and how far its corner may go, `(2,)`."""
    if images.dim() != 4 or not images.is_floating_point() or len(images) == 0:
        raise ShapeError(
            f"'images' must be floating point of shape (m, channels, height, width). Got "
            f"{images.dtype} of shape {tuple(images.shape)}."
        )
    if min(n, size, past) < 1 or not (math.isfinite(speed) and speed > 0):
        raise DomainError(
            f"Moving digits need n, size and past of at least 1 and a positive speed. Got n={n}, "
            f"size={size}, past={past}, speed={speed}."
        )
    height, width = images.shape[2:]
    room = torch.tensor([size - height, size - width], dtype=torch.float64, device=images.device)
    if bool((room < 0).any()):
        raise DomainError(f"Images of {height}×{width} pixels do not fit frames of 'size' {size}.")
    return integers(len(images), (n,), generator, like=images), room


def _directions(angles: Tensor) -> Tensor:
    """Unit vectors (row, column), `(..., 2)`."""
    return torch.stack([angles.sin(), angles.cos()], -1)


def _times(past: int, like: Tensor) -> Tensor:
    """-(past - 1), …, 0, so that the last frame shown is at the origin, `(past, 1)`."""
    return torch.arange(1 - past, 1, dtype=like.dtype, device=like.device).unsqueeze(1)


def _film(
    shapes: Tensor,
    corners: Tensor,
    past: int,
    size: int,
    shares: Tensor,
    generator: torch.Generator | None,
) -> Futures:
    """Render shapes `(n, c, h, w)` at corners `(n, past + modes, 2)` and draw what comes next."""
    n, frames = corners.shape[:2]
    every = _render(
        shapes.repeat_interleave(frames, 0), corners.flatten(0, 1).to(shapes.dtype), size
    )
    every = every.reshape(n, frames, *every.shape[1:])
    futures = every[:, past:]
    drawn = uniform((n, 1), generator, like=shares)
    # Rounding may leave the sum of the shares just below a draw, and a share of 0 is never taken.
    last = (shares > 0).double().cumsum(1).argmax(1)
    mode = (shares.cumsum(1) <= drawn).sum(1).minimum(last)
    y = futures[torch.arange(n, device=mode.device), mode]
    return Futures(every[:, :past], y, mode, futures, shares.to(y.dtype))


def _render(shapes: Tensor, corners: Tensor, size: int) -> Tensor:
    """Shapes `(n, c, h, w)` with their upper left corners at the given pixels, interpolated."""
    height, width = shapes.shape[2:]
    pixels = torch.arange(size, dtype=shapes.dtype, device=shapes.device)
    # Where each pixel of the frame lies in the shape, in units of half its size about its middle.
    rows = (2 * (pixels - corners[:, :1]) + 1) / height - 1
    columns = (2 * (pixels - corners[:, 1:]) + 1) / width - 1
    n = len(shapes)
    grid = torch.stack(
        [
            columns.unsqueeze(1).expand(n, size, size),
            rows.unsqueeze(2).expand(n, size, size),
        ],
        -1,
    )
    return torch.nn.functional.grid_sample(shapes, grid, align_corners=False)
