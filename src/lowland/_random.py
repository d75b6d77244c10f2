"""Random numbers from an explicit generator, moved to wherever they are needed."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lowland._native.twister import Kind, filled

# Below so many numbers the call takes longer than the drawing.
_SMALL = 4096
# So many numbers are drawn at once, at the most, for steps to come.
_NEAR = 1 << 15


def normal_like(tensor: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of `tensor`.

    They are drawn on the generator's device, so that one seed gives one result on every machine.
    """
    return normal(tuple(tensor.shape), generator, like=tensor)


def normal(shape: tuple[int, ...], generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """Standard normal numbers of the given shape, with the dtype and device of `like`."""
    drawn = torch.empty(shape, dtype=like.dtype, device=_where(generator, like))
    return fill_normal(drawn, generator).to(like.device)


def fill_normal(tensor: Tensor, generator: torch.Generator | None) -> Tensor:
    """The tensor, written over with standard normal numbers."""
    if filled(tensor, Kind.NORMAL, generator):
        return tensor
    return tensor.normal_(generator=generator)


def integers(
    high: int, shape: tuple[int, ...], generator: torch.Generator | None, *, like: Tensor
) -> Tensor:
    """Uniform int64 numbers in [0, high) on the device of `like`."""
    drawn = torch.randint(high, shape, generator=generator, device=_where(generator, like))
    return drawn.to(like.device)


def permutation(n: int, generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """A random order of range(n) on the device of `like`."""
    return torch.randperm(n, generator=generator, device=_where(generator, like)).to(like.device)


def uniform(shape: Sequence[int], generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) with the dtype and device of `like` (float32 for integers)."""
    dtype = like.dtype if like.is_floating_point() else torch.float32
    drawn = torch.empty(shape, dtype=dtype, device=_where(generator, like))
    if not filled(drawn, Kind.UNIFORM, generator):
        drawn.uniform_(generator=generator)
    return drawn.to(like.device)


def shorts(shape: Sequence[int], generator: torch.Generator | None, *, like: Tensor) -> Tensor:
    """Uniform int16 numbers, from -32768 to 32767, on the device of `like`.

    Four are drawn at once, so that one costs a quarter of a uniform number.
    """
    count = math.prod(shape)
    drawn = _bits(-(-count // 4), generator, _where(generator, like)).view(torch.int16)
    return drawn[:count].reshape(shape).to(like.device)


def coins(chances: Tensor, generator: torch.Generator | None) -> Tensor:
    """Independent coins of 0 and 1, each 1 with the chance at its place, which is overwritten.

    Of float32 numbers a chance is met to 2^-23: a CPU compares it with that many bits of a whole
    number, which takes half the time to draw that a uniform number does.
    """
    shape, count, device = chances.shape, chances.numel(), _where(generator, chances)
    if chances.dtype != torch.float32 or device.type != "cpu":
        return uniform(shape, generator, like=chances).lt_(chances)
    chances.add_(1.0)
    fallen = torch.empty_like(chances)
    if filled(fallen, Kind.COIN, generator, chances):
        return fallen
    drawn = _bits(-(-count // 2), generator, device).view(torch.int32)[:count]
    # With the sign and exponent of 1 they are the numbers from 1 to 2.
    drawn = drawn.bitwise_and_(0x7FFFFF).bitwise_or_(0x3F800000).view(torch.float32)
    return drawn.reshape(shape).to(chances.device).lt_(chances)


def source(generator: torch.Generator | None, *, like: Tensor) -> torch.Generator:
    """The generator that the functions above draw from."""
    if generator is not None:
        return generator
    if like.device.type == "cuda":
        return torch.cuda.default_generators[like.device.index or 0]
    return torch.default_generator


def singly(like: Tensor) -> bool:
    """Whether numbers like these are so many that `normals` draws them once in a block."""
    return like.numel() > _SMALL


def normals(
    count: int, generator: torch.Generator, *, like: Tensor, least: int = 1
) -> Iterator[Tensor]:
    """So many times what `normal_like` draws, in blocks `(some, *like.shape)`.

    Each is to be used before the next is asked for. The generator must be on the device of `like`.

    Args:
        count: how many times.
        generator: all randomness.
        like: a tensor of the shape, dtype and device wanted.
        least: how many, at the least, are in each block but the last, whose number is a multiple.
    """
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    size = like.numel()
    # A CPU draws in groups of 16: whole groups are the same numbers whether drawn apart or at once.
    # To tell a GPU to draw takes longer than the drawing.
    whole = size % 16 == 0 and not singly(like)
    together = whole if like.device.type == "cpu" else True
    # No more than stay near the core until they are used.
    at_once = max(1, _NEAR // max(1, size) // least) * least if together else least
    noise = torch.empty(min(at_once, count), *like.shape, **options)
    for first in range(0, count, at_once):
        block = noise[: count - first]
        for part in (block,) if together else block:
            fill_normal(part, generator)
        yield block


def _bits(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """So many int64 numbers of 64 coins each."""
    drawn = torch.empty(count, dtype=torch.int64, device=device)
    if filled(drawn.view(torch.int32), Kind.WHOLE, generator):
        return drawn
    return drawn.random_(-(2**63), None, generator=generator)


def _where(generator: torch.Generator | None, like: Tensor) -> torch.device:
    return like.device if generator is None else generator.device
