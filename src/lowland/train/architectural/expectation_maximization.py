"""Expectation-maximisation: coordinate descent on the free energy, with responsibilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland.capabilities import SoftlySwept, SolvesSoftly, SweepsSoftly
from lowland.energy import Energy
from lowland.infer import table_of_codes
from lowland.latent import OneHot
from lowland.train.architectural.shards import Reduce, Sums, all_reduce, shard, share_start
from lowland.train.architectural.sweep import accumulate, blocks
from lowland.train.strategy import Outcome, Strategy

_SUM = "statistics."


class SoftSweep(NamedTuple):
    """What one sweep remembers for the next.

    Attributes:
        free_energy: the mean free energy of the data.
        y: the data the sweeper passes over.
        x: their conditions, or None.
        sweeper: makes a pass over them.
        reseeded: how many codes were started again after the sweep.
    """

    free_energy: float
    y: Tensor
    x: Tensor | None
    sweeper: Callable[[], SoftlySwept]
    reseeded: int


@dataclass(frozen=True)
class ExpectationMaximization(Strategy):
    r"""Alternate the responsibilities of the codes and the best parameters for them.

    $$r_{iz} \leftarrow \frac{e^{-E_W(x_i, y_i, z)}}{\sum_{z'} e^{-E_W(x_i, y_i, z')}}, \qquad
      W \leftarrow \arg\min_W \sum_i \sum_z r_{iz} E_W(x_i, y_i, z)$$

    Neither half can raise the mean of F_1, which for a mixture is −log density (measure "sum") and
    is the loss of the history; its data energy is F_inf as always. A code whose responsibilities
    sum to nothing within rounding starts again at the item of highest F_1, which may raise the
    mean, and is counted.

    Where torch.distributed is initialised, each process gives its own shard of the data: the sums
    are added up, and all processes take the same steps from process 0's start.

    Args:
        tolerance: converged when the mean of F_1 falls by no more than this, in nats an item; 0
            waits until it falls no more.
        reduce: adds up a dictionary of sums over the processes that hold the data.

    Raises:
        DomainError: the tolerance is negative.

    Reference:
        A View of the EM Algorithm that Justifies Incremental, Sparse, and other Variants (Neal and
        Hinton, 1998), https://www.cs.toronto.edu/~radford/ftp/emk.pdf

    Example:
        >>> y = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
        >>> energy = ll.energies.GaussianMixture.from_data(y, k=2, start="random")
        >>> result = ll.fit(energy, y, ExpectationMaximization(), steps=100)
        >>> result.converged, energy.means.detach().sort(0).values.flatten()
        (True, tensor([0.5000, 8.5000]))
    """

    tolerance: float = 1e-3
    reduce: Reduce = all_reduce

    kind: ClassVar[str] = "architectural"
    needs: ClassVar[tuple[type, ...]] = (SolvesSoftly,)
    whole_data: ClassVar[bool] = True
    uses_optimizer: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise DomainError(
                f"The 'tolerance' of ExpectationMaximization must be at least 0. Got "
                f"{self.tolerance!r}."
            )

    def unsuited(self, energy: Energy) -> str | None:
        """Why this strategy cannot train this energy, as a sentence; None if it can."""
        if not isinstance(energy.latent, OneHot):
            return (
                f"{type(self).__name__} shares items among the codes of a OneHot latent, and "
                f"{type(energy).__name__} has {energy.latent}."
            )
        return super().unsuited(energy)

    @torch.no_grad()
    def step(
        self,
        energy: Energy,
        state: SoftSweep | None,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[SoftSweep, Outcome]:
        """One sweep: responsibilities and sums in blocks, then the parameters."""
        if not isinstance(energy, SolvesSoftly):
            raise CapabilityError(f"{type(energy).__name__} does not solve for its parameters.")
        if state is None:
            share_start(energy, self.reduce)
        same = state is not None and state.y is y and state.x is x
        sweeper = state.sweeper if state is not None and same else soft_sweeper_of(energy, y, x)
        swept = sweeper()
        like = swept.free_energy
        sums = {_SUM + name: value for name, value in swept.statistics.items()}
        sums |= {"free": like, "least": swept.energy, "items": like.new_tensor(len(y))}
        sums = self.reduce(sums | {"uses": swept.counts})
        mean, least = sums["free"] / sums["items"], sums["least"] / sums["items"]
        settled = state is not None and state.reseeded == 0
        if state is not None and settled and state.free_energy - float(mean) <= self.tolerance:
            now = SoftSweep(float(mean), y, x, sweeper, 0)
            return now, Outcome(mean, data_energy=least, converged=True)
        statistics = {n.removeprefix(_SUM): s for n, s in sums.items() if n.startswith(_SUM)}
        empty = torch.nonzero(sums["uses"] <= sums["items"] * torch.finfo(like.dtype).eps).flatten()
        reseeded = 0
        if len(empty):
            reseeded = _reseed(energy, statistics, empty, y, x, self.reduce)
        energy.solve_parameters(statistics)
        now = SoftSweep(float(mean), y, x, sweeper, reseeded)
        return now, Outcome(mean, data_energy=least, reseeded=reseeded)


def soft_sweeper_of(
    energy: Energy, y: Tensor, x: Tensor | None, *, by_definition: bool = False
) -> Callable[[], SoftlySwept]:
    """A function that makes one pass over items `(n, *event)`, the energy's own if it has one.

    Args:
        energy: an energy that is `SolvesSoftly`, with a `OneHot` latent.
        y: the data, `(n, *event)`.
        x: what y is conditioned on, `(n, ...)`, or None.
        by_definition: tabulate the codes even if the energy is `SweepsSoftly`.

    Raises:
        CapabilityError: the energy does not solve for its parameters.
    """
    if isinstance(energy, SweepsSoftly) and not by_definition:
        return energy.soft_sweeper(y, x=x)
    if not isinstance(energy, SolvesSoftly):
        raise CapabilityError(f"{type(energy).__name__} does not solve for its parameters.")
    solver: SolvesSoftly = energy
    return lambda: _by_definition(energy, solver, y, x)


@torch.no_grad()
def _by_definition(
    energy: Energy, solver: SolvesSoftly, y: Tensor, x: Tensor | None
) -> SoftlySwept:
    free = torch.zeros((), dtype=torch.float64, device=y.device)
    least = torch.zeros_like(free)
    sums: Sums = {}
    for y_part, x_part in blocks(y, x):
        table = table_of_codes(energy, y_part, x_part)
        weights = table.neg().softmax(-1)
        free -= table.neg().logsumexp(-1).sum(dtype=torch.float64)
        least += table.amin(-1).sum(dtype=torch.float64)
        accumulate(
            sums,
            {_SUM + n: s for n, s in solver.soft_statistics(y_part, weights, x=x_part).items()},
        )
        accumulate(sums, {"counts": weights.sum(0, dtype=torch.float64)})
    counts = sums.pop("counts")
    return SoftlySwept(free, least, counts, {n.removeprefix(_SUM): s for n, s in sums.items()})


def _reseed(
    energy: SolvesSoftly,
    statistics: Sums,
    empty: Tensor,
    y: Tensor,
    x: Tensor | None,
    reduce: Reduce,
) -> int:
    """Give each empty code the whole of an item of highest F_1; return how many were given.

    Every process ranks the same list, and the owner of an item moves it.
    """
    if not isinstance(energy, Energy) or not isinstance(energy.latent, OneHot):
        raise CapabilityError(f"{type(energy).__name__} has no codes to start again.")
    values = torch.cat(
        [-table_of_codes(energy, *part).neg().logsumexp(-1) for part in blocks(y, x)]
    )
    m = len(empty)
    top = values.topk(min(m, len(y)))
    rank, world = shard()
    offered = torch.zeros(world, m, dtype=torch.float64, device=y.device)
    offered[rank] = -torch.inf
    offered[rank, : len(top.values)] = top.values.double()
    ranked = reduce({"offered": offered})["offered"].flatten().topk(m)
    chosen = ranked.indices[ranked.values > -torch.inf]
    mine = torch.nonzero(chosen // m == rank).flatten()
    at, codes = top.indices[chosen[mine] % m], empty[mine]
    points, given = y[at], None if x is None else x[at]
    table = table_of_codes(energy, points, given) if len(at) else y.new_zeros(0, energy.latent.k)
    change: Sums = {}
    accumulate(change, energy.soft_statistics(points, table.neg().softmax(-1), x=given), sign=-1)
    whole = energy.latent.vectors(codes, y.dtype)
    accumulate(change, energy.soft_statistics(points, whole, x=given))
    accumulate(statistics, reduce(change))
    return len(chosen)
