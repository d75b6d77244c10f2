"""Contrastive divergence: the negatives are where short chains go, from the data or from before."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._offers import offers
from lowland._random import integers, normal, permutation, uniform
from lowland.capabilities import Recentres
from lowland.domain import Real
from lowland.energy import Energy
from lowland.sample import MALA, Sampler
from lowland.train.contrastive.chains import (
    Contrast,
    Memory,
    Moved,
    check_count,
    check_options,
    contrast,
    default_sampler,
    floats,
    kicked,
    measured,
    move,
    remarks,
    runaway_limit,
    watch,
)
from lowland.train.contrastive.halves import Half, difference, half, separable
from lowland.train.strategy import Look, Outcome, Strategy

_SEEN = 4096


@dataclass(frozen=True)
class ChainStrategy(Strategy):
    """What contrastive divergence and its persistent form share: the options of chains and loss."""

    k: int = 10
    sampler: Sampler | None = None
    data_noise: float = 0.0
    clip: float | None = None
    alpha: float = 0.0
    runaway: float | None = None

    kind: ClassVar[str] = "contrastive"

    def __post_init__(self) -> None:
        check_count(self, "k", 1)
        check_options(self, above=("clip", "runaway"), at_least=("data_noise", "alpha"))

    def remarks(self, state: Any) -> str | None:
        """That the chains stood still."""
        return remarks(state, type(self).__name__) if isinstance(state, dict) else None

    def _learn(
        self,
        energy: Energy,
        state: Memory,
        data: tuple[Tensor, Tensor | None],
        moved: Moved,
        moved_x: Tensor | None,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
        down: Half | None = None,
    ) -> tuple[Memory, Outcome]:
        """Down on the data, up on the negatives; what was watched, and the outcome.

        The half of the loss that is of the data may be at hand.
        """
        y = data[0]
        if down is None:
            found = self._contrast(energy, data, moved, moved_x, generator)
        else:
            up = half(energy, moved.y, moved_x)
            gap = down.energy - up.energy
            found = Contrast(gap, gap, down.energy, up.energy, difference(down, up, len(y)))
        limit = runaway_limit(self.runaway, y)
        watched = watch(state, moved.acceptance, found.gap, limit, type(self).__name__)
        outcome = Outcome(
            found.loss,
            data_energy=found.data_energy,
            negatives=moved.y,
            negative_energy=found.negative_energy,
            negatives_x=moved_x,
            acceptance=moved.acceptance,
            gradients=found.gradients,
        )
        return watched, self.descend(energy, outcome, optimizer)

    def _contrast(
        self,
        energy: Energy,
        data: tuple[Tensor, Tensor | None],
        moved: Moved,
        moved_x: Tensor | None,
        generator: torch.Generator,
    ) -> Contrast:
        y, x = data
        noisy = kicked(energy.domain, y, self.data_noise, generator)
        clean = noisy is y
        if not clean and offers(energy, Recentres):
            energy.recentre(y, x=x)
        return contrast(
            energy,
            noisy,
            x,
            moved.y,
            moved_x,
            alpha=self.alpha,
            recentred=clean,
            conditionals=moved.conditionals,
        )


@dataclass(frozen=True)
class ContrastiveDivergence(ChainStrategy):
    r"""Push up where k steps of a chain lead from each datum.

    $$L = \frac1n \sum_i F(y_i) - \frac1n \sum_i F(\bar y_i), \qquad
      \bar y_i = \text{k steps of the sampler from } y_i$$

    F is the free energy at beta = 1 and the negatives are held fixed. The chains start at the data,
    so that even a short one shows where the surface is too low near them; the loss itself is the
    gap, which is near 0 at the end and is not the likelihood. What the chains never reach from the
    data, wells far away and the weights of modes, is not learned.

    Each record of the history tells the gap and the acceptance. Chains that stand still are said in
    `Fit.caution`; a gap that runs away ends training with `DivergedError`.

    The gradient is noisy, and a small rate is slow to make sharp wells. A rate of some 3e-3 with
    the weights averaged, `fit(..., average=0.999)`, does better than 1e-3 without.

    Args:
        k: steps of each chain.
        sampler: how the chains move; None is `MALA()`, whose step goes on tuning itself as the
            surface changes, up to the data's own width; where y is of symbols, or the energy knows
            its conditionals, a Gibbs sampler.
        kick: how far a datum is pushed before its chain begins: the standard deviation of normal
            noise in the energy's own (scaled) units, or the chance that a symbol is changed.
        data_noise: the same, for the points that are pushed down: it keeps the surface smooth where
            the data are sharp.
        clip: the largest norm of the slope that a chain follows; None does not clip.
        alpha: weight of the squares of the energies in the loss, which hold their magnitude; the
            minimum is then no longer that of the likelihood.
        runaway: the gap, smoothed over some 20 steps, at which training ends; None is 50, or 5 for
            each element of y if that is more.

    Raises:
        DomainError: an option is out of range.

    Reference:
        Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002),
        https://www.cs.toronto.edu/~hinton/absps/tr00-004.pdf; alpha and clipping as in Implicit
        Generation and Modeling with Energy-Based Models (Du and Mordatch, 2019),
        https://arxiv.org/abs/1903.08689

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = ll.data.moons(500, generator=g).y
        >>> energy = ll.energies.Network.from_data(y, hidden=(8,), generator=g)
        >>> fit = ll.fit(energy, y, ContrastiveDivergence(k=5), steps=20, generator=g)
        >>> abs(fit.history.gap[-1]) < 1
        True
    """

    kick: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self, above=(), at_least=("kick",))

    def begin(self, energy: Energy, look: Look, generator: torch.Generator) -> Memory:
        """Measure the data's width."""
        y, _ = look(_SEEN)
        return measured(energy, y)

    def step(
        self,
        energy: Energy,
        state: Memory,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Memory, Outcome]:
        """Chains from the data, then one step of the optimizer.

        Raises:
            DivergedError: the loss or its gradient is not finite, or the gap runs away; no
                parameter has been changed.
        """
        start = kicked(energy.domain, y, self.kick, generator)
        sampler = self.sampler or default_sampler(energy, state, y)
        # Chains that begin with what the loss needs of the data too.
        plain = start is y and not (self.data_noise or self.alpha or self.clip)
        shares = plain and type(sampler) is MALA and separable(energy)
        down = half(energy, y, x, begins=True) if shares else None
        moved = move(
            energy,
            sampler,
            start,
            x,
            self.k,
            clip=self.clip,
            memory=state,
            begun=None if down is None else down.begun,
            generator=generator,
        )
        watched, outcome = self._learn(energy, state, (y, x), moved, x, optimizer, generator, down)
        return {**state, **moved.memory, **watched}, outcome


@dataclass(frozen=True)
class PersistentContrastiveDivergence(ChainStrategy):
    r"""Push up where chains are that go on from step to step, kept in a replay buffer.

    $$L = \frac1n \sum_i F(y_i) - \frac1m \sum_{j \in S} F(\bar y_j), \qquad
      \bar y_j \leftarrow \text{k steps of the sampler from } \bar y_j$$

    Each step takes a random set S of slots, as many as the batch has items, moves their chains and
    writes them back to the same slots, so that a chain ends only when it is started anew. While the
    surface changes slowly the chains stay close to its Gibbs distribution, and reach what chains
    from the data do not.

    The buffer lives on the device of the data and is kept in checkpoints; `Fit.state` gives it back
    as `"buffer"`, in the energy's own (scaled) units, with how many times each chain has been moved
    since it began, `"age"`. With an x each slot keeps the x that it was started for.

    Args:
        k: steps of each chain at a step of training.
        sampler: how the chains move; None chooses as for `ContrastiveDivergence`.
        buffer: how many chains there are.
        reinit: the chance that a chain is started anew before it moves.
        fresh: where chains start: "noise" (independent elements with the data's means and standard
            deviations; uniform symbols), or "data".
        data_noise: the standard deviation of normal noise on the points that are pushed down, in
            the energy's own (scaled) units, or the chance that a symbol is changed.
        clip: the largest norm of the slope that a chain follows; None does not clip.
        alpha: weight of the squares of the energies in the loss, which hold their magnitude.
        runaway: the gap, smoothed over some 20 steps, at which training ends; None is 50, or 5 for
            each element of y if that is more.

    Raises:
        DomainError: an option is out of range.

    Reference:
        Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient
        (Tieleman, 2008), https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf; the buffer with new starts
        as in Implicit Generation and Modeling with Energy-Based Models (Du and Mordatch, 2019),
        https://arxiv.org/abs/1903.08689

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = ll.data.moons(500, generator=g).y
        >>> energy = ll.energies.Network.from_data(y, hidden=(8,), generator=g)
        >>> persistent = PersistentContrastiveDivergence(buffer=200)
        >>> fit = ll.fit(energy, y, persistent, steps=20, generator=g)
        >>> fit.state["buffer"].shape, fit.state["age"].shape
        (torch.Size([200, 2]), torch.Size([200]))
    """

    buffer: int = 1024
    reinit: float = 0.05
    fresh: str = "noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self, "buffer", 1)
        check_options(self, above=(), at_least=("reinit",))
        if self.reinit > 1:
            raise DomainError(f"'reinit' is a chance and cannot exceed 1. Got {self.reinit!r}.")
        if self.fresh not in ("noise", "data"):
            raise DomainError(f"'fresh' must be 'noise' or 'data'. Got {self.fresh!r}.")

    def begin(self, energy: Energy, look: Look, generator: torch.Generator) -> Memory:
        """Start all chains."""
        real = isinstance(energy.domain, Real)
        y, x = look(max(_SEEN, self.buffer) if real else self.buffer)
        state: Memory = {
            **measured(energy, y),
            "age": torch.zeros(self.buffer, dtype=torch.int64, device=y.device),
        }
        if real:
            state |= {"mean": y.mean(0), "spread": y.std(0, correction=0)}
        rows = torch.arange(self.buffer, device=y.device) % len(y)
        if x is not None:
            state["buffer_x"] = x[rows]
        state["buffer"] = self._fresh(energy, state, y, y[rows], generator)
        return state

    def step(
        self,
        energy: Energy,
        state: Memory,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Memory, Outcome]:
        """Move some of the chains, then one step of the optimizer.

        Raises:
            DivergedError: the loss or its gradient is not finite, or the gap runs away; no
                parameter has been changed.
        """
        buffer, ages, conditions = state["buffer"], state["age"], state.get("buffer_x")
        slots = None
        if len(y) < len(buffer):
            slots = permutation(len(buffer), generator, like=y)[: len(y)]
        start, age = _chosen(buffer, slots), _chosen(ages, slots)
        if self.reinit > 0:
            anew = uniform((len(start),), generator, like=floats(y)) < self.reinit
            begun = anew.nonzero().flatten()
            if len(begun):
                start, age = start.clone(), age.clone()
                data = y[integers(len(y), (len(begun),), generator, like=y)]
                start[begun] = self._fresh(energy, state, y, data, generator)
                age[begun] = 0
        given = None if conditions is None else _chosen(conditions, slots)
        moved = move(
            energy,
            self.sampler or default_sampler(energy, state, y),
            start,
            given,
            self.k,
            clip=self.clip,
            memory=state,
            generator=generator,
        )
        watched, outcome = self._learn(energy, state, (y, x), moved, given, optimizer, generator)
        # Last, so that a step that fails leaves the chains as they were.
        if slots is None:
            now = {"buffer": moved.y, "age": age + 1}
        else:  # in place: the buffer may be the largest thing in memory
            buffer.index_copy_(0, slots, moved.y)
            ages.index_copy_(0, slots, age + 1)
            now = {}
        return {**state, **moved.memory, **watched, **now}, outcome

    def _fresh(
        self, energy: Energy, state: Memory, y: Tensor, data: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Starts for as many chains as there are `data`."""
        if self.fresh == "data":
            return data
        if isinstance(energy.domain, Real):
            unit = normal(tuple(data.shape), generator, like=y)
            return state["mean"] + state["spread"] * unit
        return energy.domain.noise(tuple(data.shape), generator=generator, like=floats(y))


def _chosen(kept: Tensor, slots: Tensor | None) -> Tensor:
    """What is in these slots; all there is, and no copy, without them."""
    return kept if slots is None else kept.index_select(0, slots)
