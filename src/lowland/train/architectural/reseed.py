"""Start codes that no item uses again, at the items of highest energy."""

from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland.capabilities import SolvesParameters, Swept
from lowland.energy import Energy
from lowland.latent import Latent, OneHot
from lowland.train.architectural.shards import Reduce, Sums, shard
from lowland.train.architectural.sweep import accumulate, energies


class Candidates(NamedTuple):
    """Items of high energy, the highest first.

    Attributes:
        y: the items, `(m, *event)`.
        x: their conditions, or None.
        z: their codes, `(m,)`.
        value: their energies, `(m,)`.
    """

    y: Tensor
    x: Tensor | None
    z: Tensor
    value: Tensor


def count_uses(latent: Latent, swept: Swept) -> Tensor | None:
    """How many items use each code, `(k,)`; None unless each code has parameters of its own.

    It has if every sum has a row for each code. Codes that share parameters, such as the angles of
    an ellipse, are no wells to start again.
    """
    if not isinstance(latent, OneHot) or swept.codes is None:
        return None
    if any(value.shape[:1] != (latent.k,) for value in swept.statistics.values()):
        return None
    if swept.uses is not None:
        return swept.uses
    return torch.bincount(swept.codes, minlength=latent.k).double()


def worst(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    z: Tensor,
    m: int,
    others: Candidates | None = None,
) -> Candidates:
    """The m items of highest energy among these and others found before."""
    top = energies(energy, y, x, z).topk(min(m, len(y)))
    at = top.indices
    found = Candidates(y[at], None if x is None else x[at], z[at], top.values)
    if others is None:
        return found
    both_x = None if found.x is None or others.x is None else torch.cat([others.x, found.x])
    value = torch.cat([others.value, found.value])
    kept = value.topk(min(m, len(value))).indices
    return Candidates(
        torch.cat([others.y, found.y])[kept],
        None if both_x is None else both_x[kept],
        torch.cat([others.z, found.z])[kept],
        value[kept],
    )


def reseed(
    energy: Energy, statistics: Sums, empty: Tensor, found: Candidates, reduce: Reduce
) -> int:
    """Give each empty code one of the items of highest energy; return how many were given.

    Moving an item is subtracting its part from the sums under the old code and adding it under the
    new one, so this works for any energy whose statistics are sums. Of items in several processes,
    every process ranks the same list, and the owner of an item moves it.

    Args:
        energy: the energy, whose latent is `OneHot`.
        statistics: sums over all processes, changed in place.
        empty: the codes without items, the same in every process.
        found: this process's items of highest energy.
        reduce: adds up sums over the processes.
    """
    if not isinstance(energy, SolvesParameters):
        raise CapabilityError(f"{type(energy).__name__} does not solve for its parameters.")
    rank, world = shard()
    m = len(empty)
    offered = torch.zeros(world, m, dtype=torch.float64, device=empty.device)
    offered[rank, : len(found.value)] = found.value[:m].double()
    ranked = reduce({"offered": offered})["offered"].flatten().topk(m)
    # An item already at zero energy cannot serve a second well.
    chosen = ranked.indices[ranked.values > 0]
    mine = torch.nonzero(chosen // m == rank).flatten()
    at, codes = chosen[mine] % m, empty[mine]
    y, x = found.y[at], None if found.x is None else found.x[at]
    change: Sums = {}
    accumulate(change, energy.statistics(y, found.z[at], x=x), sign=-1)
    accumulate(change, energy.statistics(y, codes, x=x))
    if len(chosen):
        accumulate(statistics, reduce(change))
    return len(chosen)
