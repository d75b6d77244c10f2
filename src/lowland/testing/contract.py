"""What a law looks at, and how it says that it is broken."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.energy import Energy


class ContractError(AssertionError):
    """An energy breaks a law of the contract."""


class Case(NamedTuple):
    """What a law looks at.

    Attributes:
        energy: a float64 copy of the energy, in evaluation mode.
        y: `(n, *event)`.
        x: `(n, ...)`, or None.
        z: codes `(n,)` or `(n, m)`, or None.
        generator: all randomness.
    """

    energy: Energy
    y: Tensor
    x: Tensor | None
    z: Tensor | None
    generator: torch.Generator


Law = Callable[[Case], None]


def title(law: Law) -> str:
    """What the law says."""
    return (law.__doc__ or law.__name__).rstrip(".")


def require(holds: bool, case: Case, law: Law, detail: str) -> None:
    """Raise `ContractError` naming the law unless it holds."""
    if not holds:
        raise ContractError(f"{type(case.energy).__name__} breaks the law {title(law)!r}: {detail}")


def same(a: Tensor, b: Tensor, case: Case, law: Law, what: str, tolerance: float = 1e-8) -> None:
    """Equal up to rounding at the scale of the numbers at hand."""
    a, b = a.detach(), b.detach()
    require(a.shape == b.shape, case, law, f"{what}: shapes {tuple(a.shape)}, {tuple(b.shape)}")
    scale = 1 + float(b.abs().max()) if b.numel() else 1.0
    worst = float((a - b).abs().max()) if a.numel() else 0.0
    require(worst <= tolerance * scale, case, law, f"{what}: differ by {worst:.3g}")


def energy_of(case: Case) -> Tensor:
    """E(x, y, z) of the case."""
    return case.energy(case.y, x=case.x, z=case.z)
