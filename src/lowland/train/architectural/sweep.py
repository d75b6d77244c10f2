"""One pass over the data: the best codes, their energy and the sums for the parameters."""

from collections.abc import Callable

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland._shapes import chunks
from lowland.capabilities import SolvesParameters, Sweeps, Swept
from lowland.energy import Energy
from lowland.infer import find_codes
from lowland.latent import Sparse

# Sums are taken in the data's precision inside a block and in float64 across blocks, for a float32
# sum stops growing at 2^24 items.
_BLOCK_BYTES = 4 * 2**20
# An energy by itself makes several temporaries of the size of its items: these stay in cache.
_ENERGY_BYTES = 2**19


def sweeper_of(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    *,
    by_definition: bool = False,
    tolerance: float | None = None,
) -> Callable[[], Swept]:
    """A function that makes one pass over items `(n, *event)`, the energy's own if it has one.

    Args:
        energy: an energy that is `SolvesParameters`.
        y: the data, `(n, *event)`.
        x: what y is conditioned on, `(n, ...)`, or None.
        by_definition: infer the codes and evaluate `forward` even if the energy is `Sweeps`.
        tolerance: the certificate that a search for codes must reach; None as for their slopes.

    Raises:
        CapabilityError: the energy does not solve for its parameters.

    Example:
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0], [9.0]]))
        >>> swept = sweeper_of(energy, torch.tensor([[1.0], [2.0], [9.0]]), None)()
        >>> swept.codes.tolist(), float(swept.energy), swept.statistics["counts"].tolist()
        ([0, 0, 1], 5.0, [2.0, 1.0])
    """
    if isinstance(energy, Sweeps) and not by_definition:
        return energy.sweeper(y, x=x)
    if not isinstance(energy, SolvesParameters):
        raise CapabilityError(f"{type(energy).__name__} does not solve for its parameters.")
    return _Definition(energy, energy.statistics, y, x, tolerance)


class _Definition:
    def __init__(
        self,
        energy: Energy,
        statistics: Callable[..., dict[str, Tensor]],
        y: Tensor,
        x: Tensor | None,
        tolerance: float | None,
    ) -> None:
        self.energy, self.statistics, self.y, self.x = energy, statistics, y, x
        self.tolerance = tolerance
        self.codes: Tensor | None = None

    def __call__(self) -> Swept:
        codes: list[Tensor] = []
        # A sparse code has one minimum, which the last one is near; others search afresh.
        before = self.codes if isinstance(self.energy.latent, Sparse) else None
        first = 0
        statistics: dict[str, Tensor] = {}
        total = torch.zeros((), dtype=torch.float64, device=self.y.device)
        for y, x in blocks(self.y, self.x):
            start = None if before is None else before[first : first + len(y)]
            first += len(y)
            z = find_codes(self.energy, y, x, start=start, tolerance=self.tolerance)
            total += self.energy(y, x=x, z=z).double().sum()
            if z is not None:
                codes.append(z)
            accumulate(statistics, self.statistics(y, z, x=x))
        found = torch.cat(codes) if codes else None
        moved = count_moved(self.codes, found, len(self.y))
        self.codes = found
        return Swept(found, total, statistics, moved)


def energies(energy: Energy, y: Tensor, x: Tensor | None, z: Tensor | None) -> Tensor:
    """E of each item for the given codes, by definition and in bounded memory, `(n,)`."""
    values, start = [], 0
    for y_part, x_part in blocks(y, x, _ENERGY_BYTES):
        z_part = None if z is None else z[start : start + len(y_part)]
        values.append(energy(y_part, x=x_part, z=z_part))
        start += len(y_part)
    return torch.cat(values)


def blocks(
    y: Tensor, x: Tensor | None, most: int = _BLOCK_BYTES
) -> list[tuple[Tensor, Tensor | None]]:
    """The data in views of at most so many bytes, whose temporaries stay small."""
    size = y[:1].numel() * y.element_size()
    return [(y[part], None if x is None else x[part]) for part in chunks(len(y), size, most)]


def accumulate(total: dict[str, Tensor], part: dict[str, Tensor], sign: int = 1) -> None:
    """Add sums to those so far, in float64."""
    for name, value in part.items():
        total[name] = total[name] + sign * value if name in total else sign * value.double()


def count_moved(before: Tensor | None, now: Tensor | None, n: int) -> int:
    """How many of n items have another code than before."""
    if before is None or now is None or before.shape != now.shape:
        return n
    return int((before != now).reshape(n, -1).any(1).sum())
