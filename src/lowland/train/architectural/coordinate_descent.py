"""Alternate exact minimisation: the best codes, then the best parameters for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland.capabilities import RestartsUnused, SolvesParameters, Swept
from lowland.energy import Energy
from lowland.latent import NoLatent
from lowland.train.architectural.reseed import Candidates, count_uses, reseed, worst
from lowland.train.architectural.shards import Reduce, Sums, all_reduce, named, share_start
from lowland.train.architectural.sweep import accumulate, count_moved, sweeper_of
from lowland.train.strategy import Outcome, Strategy

_SUM = "statistics."
_BEFORE = "before."


class Sweep(NamedTuple):
    """What one sweep remembers for the next.

    Attributes:
        energy: the mean energy of the data.
        codes: the codes of all items, or None for an energy without a latent.
        sweeper: makes a pass over the data; None in a run that has just been resumed.
        y: the data it passes over.
        x: their conditions, or None.
    """

    energy: float
    codes: Tensor | None
    sweeper: Callable[[], Swept] | None = None
    y: Tensor | None = None
    x: Tensor | None = None


class Stream(NamedTuple):
    """What has been gathered of a sweep over blocks, and what the sweep before found.

    Attributes:
        sums: sums over the blocks so far.
        before: the sums of the sweep before; None in the first.
        unused: how many codes had no item in the sweep before.
        found: the items of highest energy so far, for those codes.
    """

    sums: Sums = {}  # noqa: RUF012  # never changed in place
    before: Sums | None = None
    unused: int = 0
    found: Candidates | None = None


@dataclass(frozen=True)
class CoordinateDescent(Strategy):
    r"""Alternate the best codes and the best parameters; for K-means, Lloyd's algorithm.

    $$z_i \leftarrow \arg\min_z E(x_i, y_i, z), \qquad
      W \leftarrow \arg\min_W \sum_i E_W(x_i, y_i, z_i)$$

    Neither half can raise the mean energy. A code that no item uses starts again at the item of
    highest energy. Training has converged when no code changes, so that W is the best for them.

    Where torch.distributed is initialised, each process gives its own shard of the data, of any
    size: the sums are added up, and all processes take the same steps from process 0's start.

    Args:
        tolerance: also converged when the mean energy falls by less than this fraction of itself;
            0 waits until the codes stand still.
        reduce: adds up a dictionary of sums over the processes that hold the data.

    Raises:
        DomainError: the tolerance is negative.

    Reference:
        Least Squares Quantization in PCM (Lloyd, 1982), https://doi.org/10.1109/TIT.1982.1056489

    Example:
        >>> y = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
        >>> energy = ll.energies.KMeans(y[:2])
        >>> ll.fit(energy, y, ll.CoordinateDescent(), steps=10).history.data_energy
        (28.25, 3.5, 0.25)
    """

    tolerance: float = 0.0
    reduce: Reduce = all_reduce

    kind: ClassVar[str] = "architectural"
    needs: ClassVar[tuple[type, ...]] = (SolvesParameters,)
    whole_data: ClassVar[bool] = True
    uses_optimizer: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise DomainError(
                f"The 'tolerance' of CoordinateDescent must be at least 0. Got {self.tolerance!r}."
            )

    def kept(self, state: Sweep | Stream | None) -> Sums | None:
        """The energy and the codes, or the sums of the last pass over a stream."""
        if isinstance(state, Sweep):
            kept = {"energy": torch.tensor(state.energy, dtype=torch.float64)}
            # Codes that are vectors may outweigh the data; their run needs one sweep more.
            small = state.codes is not None and state.codes.dim() == 1
            return kept | {"codes": state.codes} if small and state.codes is not None else kept
        if state is None or state.before is None:
            return None
        before = {_BEFORE + name: value for name, value in state.before.items()}
        return before | {"unused": torch.tensor(state.unused)}

    def restored(self, kept: Sums) -> Sweep | Stream:
        """The state after a whole sweep; sums are taken afresh from the codes in the next."""
        if "unused" in kept:
            return Stream(before=named(kept, _BEFORE), unused=int(kept["unused"]))
        return Sweep(float(kept["energy"]), kept.get("codes"))

    @torch.no_grad()
    def step(
        self,
        energy: Energy,
        state: Sweep | None,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Sweep, Outcome]:
        """One sweep: codes and sums in blocks, then the parameters."""
        if state is None:
            share_start(energy, self.reduce)
        known = state.sweeper if state is not None and state.y is y and state.x is x else None
        sweeper = sweeper_of(energy, y, x) if known is None else known
        swept = sweeper()
        moved = swept.moved
        if state is not None and known is None:
            moved = count_moved(state.codes, swept.codes, len(y))
        sums = self.reduce(_sums(energy, swept, len(y), moved))
        mean = sums["energy"] / sums["items"]
        now = Sweep(float(mean), swept.codes, sweeper, y, x)
        stands = state is not None and float(sums["moved"]) == 0
        if stands or (state is not None and self._slow(state.energy, now.energy)):
            return now, Outcome(mean, data_energy=mean, converged=True)
        empty = _empty(sums)
        found = None
        if len(empty) and swept.codes is not None:
            found = worst(energy, y, x, swept.codes, len(empty))
        reseeded = self._solve(energy, sums, empty, found)
        done = swept.codes is None  # without codes to revise, the first solution is the last
        return now, Outcome(mean, data_energy=mean, converged=done, reseeded=reseeded)

    @torch.no_grad()
    def partial_step(
        self, energy: Energy, state: Stream | None, y: Tensor, x: Tensor | None
    ) -> Stream:
        """Take one block of data into the sweep, for data that do not fit in memory.

        Args:
            energy: the energy; its parameters stay until `finish_step`.
            state: what has been gathered so far; None before the first block of all.
            y: the block, `(m, *event)`.
            x: its conditions, or None.
        """
        if state is None:
            share_start(energy, self.reduce)
            state = Stream()
        swept = sweeper_of(energy, y, x)()
        sums = dict(state.sums)
        accumulate(sums, _sums(energy, swept, len(y), 0))
        found = state.found
        if state.unused and swept.codes is not None:
            found = worst(energy, y, x, swept.codes, state.unused, found)
        return state._replace(sums=sums, found=found)

    @torch.no_grad()
    def finish_step(self, energy: Energy, state: Stream) -> tuple[Stream, Outcome]:
        """Solve for the parameters after the last block of a sweep.

        A code without items starts again one sweep after it was seen, when its new place is known.
        Training has converged when a sweep gives the same sums as the one before.
        """
        sums = self.reduce(state.sums)
        mean = sums["energy"] / sums["items"]
        empty = _empty(sums)
        before = state.before
        fresh = Stream(before=sums, unused=len(empty))
        if before is not None:
            old, new = (named(each, _SUM) for each in (before, sums))
            stands = all(torch.equal(old[name], new[name]) for name in new)
            slow = self._slow(float(before["energy"] / before["items"]), float(mean))
            if (stands and (state.unused == 0 or state.found is None)) or slow:
                return fresh, Outcome(mean, data_energy=mean, converged=True)
        reseeded = self._solve(energy, sums, empty[: state.unused], state.found)
        done = isinstance(energy.latent, NoLatent)
        return fresh, Outcome(mean, data_energy=mean, converged=done, reseeded=reseeded)

    def _solve(self, energy: Energy, sums: Sums, empty: Tensor, found: Candidates | None) -> int:
        if not isinstance(energy, SolvesParameters):
            raise CapabilityError(f"{type(energy).__name__} does not solve for its parameters.")
        statistics = named(sums, _SUM)
        reseeded = 0
        if len(empty) and found is not None:
            reseeded = reseed(energy, statistics, empty, found, self.reduce)
        energy.solve_parameters(statistics)
        if isinstance(energy, RestartsUnused):
            reseeded += energy.restart_unused(statistics)
        return reseeded

    def _slow(self, before: float, now: float) -> bool:
        return self.tolerance > 0 and before - now < self.tolerance * abs(now)


def _sums(energy: Energy, swept: Swept, items: int, moved: int) -> Sums:
    """All that processes must add up after a pass, by name."""
    like = swept.energy
    sums = {_SUM + name: value for name, value in swept.statistics.items()}
    sums |= {"energy": like, "items": like.new_tensor(items), "moved": like.new_tensor(moved)}
    uses = count_uses(energy.latent, swept)
    return sums if uses is None else sums | {"uses": uses}


def _empty(sums: Sums) -> Tensor:
    """The codes that no item of any process uses."""
    if "uses" not in sums:
        return torch.zeros(0, dtype=torch.int64)
    return torch.nonzero(sums["uses"] == 0).flatten()
