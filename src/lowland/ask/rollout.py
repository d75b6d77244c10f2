"""What happens next, and after that? Several futures, each built on its own past."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland._random import normal, uniform
from lowland._shapes import require_finite
from lowland.ask._border import asked, repeat
from lowland.ask._codes import charges
from lowland.capabilities import Decodes, refuse
from lowland.energy import Energy
from lowland.latent import Normal, OneHot


class Rollout(NamedTuple):
    """Several futures of each past.

    Attributes:
        y: `(items, n, steps, *event)`.
        energy: E(x, y, z) of each step as it was taken, `(items, n, steps)`: how much the code
            that was taken is charged.
    """

    y: Tensor
    energy: Tensor


def rollout(
    energy: Energy,
    x: Tensor,
    *,
    steps: int,
    n: int = 3,
    best: bool = False,
    actions: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Rollout:
    r"""Predict, take the prediction for the past, and predict again.

    $$z_t \sim e^{-E(x_t, \mathrm{Dec}(x_t, z), z)}, \qquad y_t = \mathrm{Dec}(x_t, z_t), \qquad
      x_{t + 1} = (x_t, y_t) \text{ without its oldest frame}$$

    What is drawn is the code alone, so that a frame is one that the decoder stands for, never the
    mean of several, and no noise is added to it.

    Args:
        energy: a conditional energy that decodes, with a `OneHot` or a `Normal` latent, such as
            `NextFrame`. Its x holds frames in order, each shaped like y, or y like several.
        x: the past, `(items, past, *frame)`.
        steps: how often to predict.
        n: how many futures of each item.
        best: take the code that is charged least at each step instead of drawing one; then all n
            are the same.
        actions: what is done at each step, `(items, steps, m)`, for an energy whose frames carry
            acts in their last m channels: the act of step t stands on the newest frame then. The
            first replaces what x carries there.
        generator: the draws; torch's default generator if None.

    Returns:
        Rollout: y `(items, n, steps, *event)` and the energy of each step.

    Raises:
        CapabilityError: the energy does not decode, or its codes cannot be drawn.
        ShapeError: the frames of x do not fit those of y, or the actions not x.
        DomainError: an option is out of range.

    Example:
        >>> energy = ll.energies.NextFrame((1, 8, 8), past=2, k=3, widths=(4, 8))
        >>> g = torch.Generator().manual_seed(0)
        >>> rollout(energy, torch.zeros(5, 2, 1, 8, 8), steps=4, n=2, generator=g).y.shape
        torch.Size([5, 2, 4, 1, 8, 8])
    """
    if not isinstance(x, Tensor) or x.dim() < 2 or len(x) == 0 or min(steps, n) < 1:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise DomainError(
            f"rollout needs steps and n of at least 1, and x of shape (items, past, *frame). Got "
            f"steps={steps!r}, n={n!r} and x {got}."
        )
    latent = energy.latent
    if not isinstance(energy, Decodes) or not isinstance(latent, OneHot | Normal):
        raise refuse(
            energy,
            "rollout",
            "an energy that is Decodes, with a OneHot or a Normal latent",
            "Train a NextFrame, or write decode(z, *, x) on yours.",
        )
    # What was predicted becomes the past in the data's units, whatever those of x and y are inside.
    with asked(energy, x.new_zeros(len(x), *energy.event), x):
        past = repeat(x, n)
        acts = None if actions is None else repeat(_acts(actions, past, len(x), steps), n)
        frames, charged = [], []
        for t in range(steps):
            if acts is not None:
                past = _act(past, acts[:, t])
            z = _codes(energy, latent, past, best, generator)
            frames.append(energy.decode(z, x=past))
            charged.append(energy(frames[-1], x=past, z=z))
            past = _advance(past, frames[-1], acts)
        y, charge = torch.stack(frames, 1), torch.stack(charged, 1)
    require_finite(y, "A frame of the roll-out")
    return Rollout(y.reshape(len(x), n, steps, *energy.event), charge.reshape(len(x), n, steps))


def _codes(
    energy: Energy,
    latent: OneHot | Normal,
    x: Tensor,
    best: bool,
    generator: torch.Generator | None,
) -> Tensor:
    """A code for each item, by its charge where it decodes to."""
    if isinstance(latent, Normal):
        like = x.new_zeros(())
        if best:
            return like.new_zeros(len(x), latent.m)
        return normal((len(x), latent.m), generator, like=like)
    charge = charges(energy, latent, x)
    if best:
        return charge.argmin(1)
    shares = (-charge).softmax(1).cumsum(1)
    drawn = uniform((len(x), 1), generator, like=shares)
    return (shares <= drawn).sum(1).clamp(max=latent.k - 1)


def _acts(actions: Tensor, past: Tensor, items: int, steps: int) -> Tensor:
    if actions.dim() != 3 or tuple(actions.shape[:2]) != (items, steps):
        raise ShapeError(
            f"'actions' must have shape (items, steps, m), here ({items}, {steps}, m). Got "
            f"{tuple(actions.shape)}."
        )
    if past.dim() < 3 or actions.shape[2] >= past.shape[2]:
        raise ShapeError(
            f"'actions' of {actions.shape[2]} elements do not fit frames of x, "
            f"{tuple(past.shape[2:])}, whose last channels hold them."
        )
    return actions


def _act(past: Tensor, act: Tensor) -> Tensor:
    """The past with this act on its newest frame."""
    past = past.clone()
    planes = act.reshape(*act.shape, *[1] * (past.dim() - 3))
    past[:, -1, -act.shape[1] :] = planes.to(past)
    return past


def _advance(past: Tensor, y: Tensor, acts: Tensor | None) -> Tensor:
    """The past without its oldest frames and with the new ones, as many as there are."""
    frame = tuple(past.shape[2:])
    if acts is not None:
        frame = (frame[0] - acts.shape[2], *frame[1:])
    if y.shape[1:].numel() % math.prod(frame) or tuple(y.shape[-len(frame) :]) != frame:
        raise ShapeError(
            f"A roll-out takes what was predicted for the past, and one y is {tuple(y.shape[1:])}, "
            f"not frames of {frame}. Where frames of x carry acts, give 'actions'."
        )
    new = y.reshape(len(y), -1, *frame)
    if acts is not None:
        blank = new.new_zeros(*new.shape[:2], acts.shape[2], *frame[1:])
        new = torch.cat([new, blank], 2)
    return torch.cat([past, new], 1)[:, -past.shape[1] :]
