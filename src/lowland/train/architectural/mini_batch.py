"""Coordinate descent on batches: the best codes of a batch, then parameters from running sums."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland.capabilities import RestartsUnused, SolvesParameters, SolvesSoftly, StatesPrior
from lowland.energy import Energy
from lowland.latent import Sparse
from lowland.train.architectural.reseed import count_uses, reseed, worst
from lowland.train.architectural.shards import Reduce, Sums, all_reduce, named, share_start
from lowland.train.architectural.sweep import sweeper_of
from lowland.train.strategy import Outcome, Strategy

# A code may be unused for want of luck until this many items for each code have been seen.
_PATIENCE = 10
# Sparse codes that were found with early atoms are poor: by default what was seen before a batch
# fades by this power of its share.
_RECENCY = 1.5
_SUM = "statistics."
_PRIOR = "prior."


class Running(NamedTuple):
    """What the batches so far leave behind.

    Attributes:
        statistics: running sums, float64.
        uses: how often each code was the best, `(k,)`; None for other latents.
        items: how many items were seen.
        prior: sums that stand for the parameters at the start, faded like the others.
    """

    statistics: Sums
    uses: Tensor | None
    items: int
    prior: Sums = {}  # noqa: RUF012  # never changed in place


@dataclass(frozen=True)
class MiniBatch(Strategy):
    r"""Coordinate descent in batches: solve for the parameters from sums over all batches so far.

    $$S \leftarrow (1 - \phi) S + \sum_{i \in \text{batch}} s(y_i, z_i^*), \qquad
      W \leftarrow W(S)$$

    For K-means each prototype is the running mean of the items it has won. One batch at a time is
    in memory, so the data may be an endless stream. A code that has never been used after ten items
    for each code starts again at the item of highest energy in the batch. Atoms of a dictionary
    start with the weight of one batch, so that a few items do not carry them off. Under
    torch.distributed the sums of all processes' batches are added up.

    Args:
        forgetting: φ in [0, 1), the part of the earlier sums that each step fades; 0 weighs all
            items alike, more follows data that drift. None weighs all items alike too, except for
            sparse codes, which early atoms make poor: there the m items of a batch fade what was
            seen before by 1 − (1 − m / n)^1.5, with n how many were seen in all.
        code_tolerance: the certificate that a search for codes must reach, where they are searched
            for; for sparse codes the relative duality gap. A coarse one does for sums over many
            items; None asks for codes as exact as elsewhere.
        reduce: adds up a dictionary of sums over the processes that hold the data.

    Raises:
        DomainError: the forgetting is not in [0, 1), or the tolerance is negative.

    Reference:
        Web-Scale K-Means Clustering (Sculley, 2010), https://doi.org/10.1145/1772690.1772862;
        Online Learning for Matrix Factorization and Sparse Coding (Mairal et al., 2010),
        https://www.jmlr.org/papers/v11/mairal10a.html

    Example:
        >>> from lowland.train.architectural.mini_batch import MiniBatch
        >>> y = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0], [9.0]]))
        >>> fit = ll.fit(energy, y, MiniBatch(), epochs=1, batch_size=2)
        >>> energy.prototypes.flatten().tolist()
        [0.5, 8.5]
    """

    forgetting: float | None = None
    code_tolerance: float | None = 0.1
    reduce: Reduce = all_reduce

    kind: ClassVar[str] = "architectural"
    needs: ClassVar[tuple[type, ...]] = (SolvesParameters,)
    uses_optimizer: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.forgetting is not None and not 0 <= self.forgetting < 1:
            raise DomainError(
                f"The 'forgetting' of MiniBatch must be in [0, 1) or None. Got {self.forgetting!r}."
            )
        if self.code_tolerance is not None and not self.code_tolerance >= 0:
            raise DomainError(
                f"The 'code_tolerance' of MiniBatch must be at least 0, or None. Got "
                f"{self.code_tolerance!r}."
            )

    def unsuited(self, energy: Energy) -> str | None:
        """Why not: sums taken under different parameters must mean the same."""
        if isinstance(energy, SolvesSoftly):
            return (
                f"MiniBatch adds up sums of many batches, and those of {type(energy).__name__} are "
                f"taken about its current means, which move. Use ExpectationMaximization."
            )
        return super().unsuited(energy)

    def kept(self, state: Running | None) -> Sums | None:
        """The running sums."""
        if state is None:
            return None
        kept = {_SUM + name: value for name, value in state.statistics.items()}
        kept |= {_PRIOR + name: value for name, value in state.prior.items()}
        kept["items"] = torch.tensor(state.items)
        return kept if state.uses is None else kept | {"uses": state.uses}

    def restored(self, kept: Sums) -> Running:
        """The running sums that were kept."""
        uses, items = kept.get("uses"), int(kept["items"])
        return Running(named(kept, _SUM), uses, items, named(kept, _PRIOR))

    @torch.no_grad()
    def step(
        self,
        energy: Energy,
        state: Running | None,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Running, Outcome]:
        """One batch `(m, *event)`: its codes, then the parameters from the running sums."""
        if not isinstance(energy, SolvesParameters):
            raise CapabilityError(f"{type(energy).__name__} does not solve for its parameters.")
        if state is None:
            share_start(energy, self.reduce)
        swept = sweeper_of(energy, y, x, tolerance=self.code_tolerance)()
        batch: Sums = {_SUM + name: value for name, value in swept.statistics.items()}
        batch |= {"energy": swept.energy, "items": swept.energy.new_tensor(len(y))}
        used = count_uses(energy.latent, swept)
        batch = self.reduce(batch if used is None else batch | {"uses": used})
        statistics = {name: value.double() for name, value in named(batch, _SUM).items()}
        uses, items = batch.get("uses"), int(batch["items"])
        if state is None:
            prior = energy.prior_statistics(statistics) if isinstance(energy, StatesPrior) else {}
        else:
            share = items / (items + state.items)
            kept = self._kept_share(energy, share)
            statistics = {n: value + kept * state.statistics[n] for n, value in statistics.items()}
            prior = {name: kept * value for name, value in state.prior.items()}
            items += state.items
            if uses is not None and state.uses is not None:
                uses = uses + state.uses
        reseeded = 0
        if uses is not None and swept.codes is not None and items >= _PATIENCE * len(uses):
            empty = torch.nonzero(uses == 0).flatten()
            if len(empty):
                found = worst(energy, y, x, swept.codes, len(empty))
                reseeded = reseed(energy, statistics, empty, found, self.reduce)
                uses[empty[:reseeded]] = 1
        energy.solve_parameters({n: v + prior.get(n, 0) for n, v in statistics.items()})
        if isinstance(energy, RestartsUnused):
            reseeded += energy.restart_unused(statistics)
        mean = batch["energy"] / batch["items"]
        outcome = Outcome(mean, data_energy=mean, reseeded=reseeded)
        return Running(statistics, uses, items, prior), outcome

    def _kept_share(self, energy: Energy, share: float) -> float:
        """What a batch that is this share of all items leaves of the sums before it."""
        if self.forgetting is not None:
            return 1 - self.forgetting
        return (1 - share) ** _RECENCY if isinstance(energy.latent, Sparse) else 1.0
