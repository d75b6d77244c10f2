"""Numbers of a generator of a CPU, many at once: the bits that torch would draw, in less time.

torch draws them one by one from a Mersenne Twister. The kernel makes the next 624 words of its
state together and turns them into numbers by torch's own formulas. That it does so to the last bit
is tried once, before the first draw; where it does not, as with another release of torch or on a
processor for which torch takes other formulas, torch draws.
"""

import ctypes
from enum import IntEnum
from functools import cache
from threading import Lock

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from lowland._native import kernels

# Below so many numbers the call takes longer than the drawing.
_FEW = 4096
_FEW_WHOLE = 8192
# What the trial is seeded with, and how many it draws: whole groups of 16 and a rest.
_SEED, _TRIED = 20_261_128, 16 * 511 + 7
_MOVING_ON = Lock()


class Kind(IntEnum):
    """What is drawn."""

    WHOLE = 0
    UNIFORM = 1
    NORMAL = 2
    COIN = 3


def filled(
    out: Tensor, kind: Kind, generator: torch.Generator | None, chances: Tensor | None = None
) -> bool:
    """Fill `out` with numbers of a kind, or leave the generator alone and return False.

    Args:
        out: contiguous, of 32 bits an element.
        kind: what is drawn. Whole numbers come as pairs, so that there must be an even number.
        generator: all randomness; None for torch's default one.
        chances: of coins, plus 1, laid out like out.
    """
    size, whole = out.numel(), kind is Kind.WHOLE or kind is Kind.COIN
    if size < _FEW or (whole and size < _FEW_WHOLE):
        return False
    generator = torch.default_generator if generator is None else generator
    if (
        out.device.type != "cpu"
        or generator.device.type != "cpu"
        or type(out) is not Tensor
        or not out.is_contiguous()
        or out.element_size() != 4
        or (kind is not Kind.WHOLE and out.dtype != torch.float32)
        or (chances is not None and not chances.is_contiguous())
        or _watched()
    ):
        return False
    library = _library(Kind.WHOLE if whole else kind)
    if library is None:
        return False
    return _draw(library, library.lowland_widest(), out, kind, generator, chances)


def _draw(
    library: ctypes.CDLL,
    width: int,
    out: Tensor,
    kind: Kind,
    generator: torch.Generator,
    chances: Tensor | None = None,
) -> bool:
    before, after = generator.get_state(), generator.get_state()
    odds = None if chances is None else chances.data_ptr()
    states = before.data_ptr(), after.data_ptr()
    if library.lowland_mersenne(width, kind, *states, odds, out.data_ptr(), out.numel()):
        return False
    with _MOVING_ON:
        # Another thread may have drawn from it meanwhile, and the same numbers would come twice.
        # What is left open is the moment from here to there.
        now = generator.get_state()
        if not library.lowland_same(now.data_ptr(), states[0]):
            return False
        generator.set_state(after)
    return True


def _watched() -> bool:
    """Whether something notes the operations of torch, which cannot see what a kernel does."""
    return (
        _get_current_dispatch_mode() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or torch.compiler.is_compiling()
    )


@cache
def _library(kind: Kind) -> ctypes.CDLL | None:
    """The kernels, if the widest draws what torch draws."""
    found = kernels()
    return found if found is not None and agrees(found, found.lowland_widest(), kind) else None


def agrees(library: ctypes.CDLL, width: int, kind: Kind) -> bool:
    """Whether a kernel draws what torch draws, and leaves the generator where torch does."""
    ours, theirs = (torch.Generator("cpu").manual_seed(_SEED) for _ in range(2))
    if ours.get_state().numel() != library.lowland_state():
        return False
    # The second time from the midst of a state.
    for _ in range(2):
        # Whatever the defaults are, a kernel writes so many numbers of 32 bits.
        size = _TRIED + _TRIED % 2 * (kind is Kind.WHOLE)
        out = torch.empty(size, dtype=torch.float32, device="cpu")
        if not _draw(library, width, out, kind, ours):
            return False
        if not torch.equal(out.view(torch.int32), _torch(out, kind, theirs).view(torch.int32)):
            return False
    return torch.equal(ours.get_state(), theirs.get_state())


def _torch(like: Tensor, kind: Kind, generator: torch.Generator) -> Tensor:
    if kind is Kind.NORMAL:
        return torch.empty_like(like).normal_(generator=generator)
    if kind is Kind.UNIFORM:
        return torch.empty_like(like).uniform_(generator=generator)
    pairs = torch.empty(like.numel() // 2, dtype=torch.int64, device="cpu")
    return pairs.random_(-(2**63), None, generator=generator)
