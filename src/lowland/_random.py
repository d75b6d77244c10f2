"""Random numbers from an explicit generator, moved to wherever they are needed."""

import torch
from torch import Tensor


def normal_like(tensor: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of `tensor`.

    They are drawn on the generator's device, so that one seed gives one result on every machine.
    """
    return normal(tuple(tensor.shape), generator, like=tensor)


def normal(shape: tuple[int, ...], generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """Standard normal numbers of the given shape, with the dtype and device of `like`."""
    drawn = torch.randn(
        shape, generator=generator, dtype=like.dtype, device=_where(generator, like)
    )
    return drawn.to(like.device)


def integers(
    high: int, shape: tuple[int, ...], generator: torch.Generator | None, *, like: Tensor
) -> Tensor:
    """Uniform int64 numbers in [0, high) on the device of `like`."""
    drawn = torch.randint(high, shape, generator=generator, device=_where(generator, like))
    return drawn.to(like.device)


def permutation(n: int, generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """A random order of range(n) on the device of `like`."""
    return torch.randperm(n, generator=generator, device=_where(generator, like)).to(like.device)


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) with the dtype and device of `like`."""
    drawn = torch.rand(shape, generator=generator, dtype=like.dtype, device=_where(generator, like))
    return drawn.to(like.device)


def _where(generator: torch.Generator | None, like: Tensor) -> torch.device:
    return like.device if generator is None else generator.device
