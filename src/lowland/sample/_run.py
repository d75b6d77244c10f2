"""The one sampling loop, and what it returns."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from lowland._errors import DivergedError, DomainError

Potential = Callable[[Tensor], Tensor]


@runtime_checkable
class State(Protocol):
    """What the loop reads of any sampler's state."""

    @property
    def y(self) -> Tensor:
        """Where the chains are, `(chains, *event)`."""
        ...

    @property
    def energy(self) -> Tensor:
        """Their energies, `(chains,)`."""
        ...

    @property
    def rejected(self) -> Tensor:
        """How many proposals each chain refused, `(chains,)` int64."""
        ...

    @property
    def nonfinite(self) -> Tensor:
        """How many of them because a value was not finite, `(chains,)` int64."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A Markov chain: where it starts, and one step of all chains at once."""

    def init(self, potential: Potential, y: Tensor) -> Any:
        """The state at the start points `(chains, *event)`."""
        ...

    def step(
        self, potential: Potential, state: Any, beta: float, generator: torch.Generator | None
    ) -> Any:
        """The state after one step towards exp(-beta potential)."""
        ...


class Diagnostics(NamedTuple):
    """How the chains behaved.

    Attributes:
        energy: the energy of each draw, `(chains, draws)`.
        acceptance: the share of proposals that each chain took, `(chains,)`.
        nonfinite: proposals refused because an energy or a slope was not finite, `(chains,)` int64.
        exact: whether the draws are independent and exact, so that nothing else needs watching.
    """

    energy: Tensor
    acceptance: Tensor
    nonfinite: Tensor
    exact: bool


class Draws(NamedTuple):
    """Draws and how they came about.

    Attributes:
        y: `(chains, draws, *event)`.
        diagnostics: how the chains behaved.
    """

    y: Tensor
    diagnostics: Diagnostics

    @property
    def last(self) -> Tensor:
        """The last draw of each chain, `(chains, *event)`."""
        return self.y[:, -1]


def run(
    sampler: Sampler,
    potential: Potential,
    start: Tensor,
    *,
    steps: int,
    warmup: int = 0,
    thin: int = 1,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Draws:
    """Run a sampler on any function.

    Args:
        sampler: how to move.
        potential: maps `(chains, *event)` to `(chains,)`; the chains aim at exp(-beta potential).
        start: `(chains, *event)`.
        steps: steps after the warm-up.
        warmup: steps made first and not kept.
        thin: keep every so many-th of the later steps.
        beta: inverse temperature.
        generator: all randomness; torch's default generator if None.

    Returns:
        Draws: `steps // thin` draws a chain.

    Raises:
        DomainError: steps, warmup or thin are out of range.
        DivergedError: a start has no finite energy, or no chain ever made a finite proposal.

    Example:
        >>> from lowland.sample import Langevin
        >>> g = torch.Generator().manual_seed(0)
        >>> draws = run(
        ...     Langevin(0.1),
        ...     lambda y: y.square().sum(-1) / 2,
        ...     torch.zeros(8, 2),
        ...     steps=50,
        ...     generator=g,
        ... )
        >>> draws.y.shape
        torch.Size([8, 50, 2])
    """
    if steps < 1 or warmup < 0 or not 1 <= thin <= steps:
        raise DomainError(
            f"A chain needs steps of at least 1, a warmup of at least 0 and a thin between 1 and "
            f"steps. Got steps={steps}, warmup={warmup}, thin={thin}."
        )
    state: State = sampler.init(potential, start)
    finite = torch.isfinite(state.energy)
    if not bool(finite.all()):
        bad = int(torch.nonzero(~finite)[0])
        raise DivergedError(
            f"Chain {bad} of {len(start)} starts where the energy is {state.energy[bad].item()}. "
            f"Start it where the energy is finite.",
            step=0,
        )
    kept, energies = [], []
    for i in range(1, warmup + steps + 1):
        state = sampler.step(potential, state, beta, generator)
        if i > warmup and (i - warmup) % thin == 0:
            kept.append(state.y)
            energies.append(state.energy)
    total = warmup + steps
    if bool((state.nonfinite == total).all()):
        raise DivergedError(
            f"No chain made a finite proposal in {total} steps: the step is too large for the "
            f"slopes of this energy, or the energy is not finite near the start. Reduce the step.",
            step=total,
        )
    acceptance = 1 - state.rejected.to(state.energy) / total
    return Draws(
        torch.stack(kept, 1),
        Diagnostics(torch.stack(energies, 1), acceptance, state.nonfinite, exact=False),
    )
