"""Unadjusted Langevin dynamics: downhill, with as much noise as the temperature says."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._random import fill_normal, normals, singly, source
from lowland.sample.target import Target


class LangevinState(NamedTuple):
    """Where the chains are.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        rejected: refused proposals so far, `(chains,)` int64.
        nonfinite: those refused for a value that was not finite, `(chains,)` int64.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    rejected: Tensor
    nonfinite: Tensor


_State = TypeVar("_State", bound=Any)


@dataclass(frozen=True)
class Langevin:
    r"""Unadjusted Langevin dynamics.

    $$y \leftarrow y - \eta \nabla F(y) + \sqrt{2 \eta / \beta} \, \epsilon$$

    Its stationary law is exp(-beta F) up to an error of the order of η, for no proposal is refused;
    except that a chain does not move to where the energy or its slope is not finite. Such
    proposals are counted for each chain. At bounds it is reflected.

    Args:
        step_size: η, positive, in the energy's own (scaled) units.
        noise: the standard deviation of the noise in place of √(2η/β), as many image models have
            it; the chains then aim at the temperature noise² / (2η), which the draws report.

    Raises:
        DomainError: the step size or the noise is not positive.

    Reference:
        Exponential Convergence of Langevin Distributions and Their Discrete Approximations (Roberts
        and Tweedie, 1996), https://doi.org/10.2307/3318418

    Example:
        >>> Langevin(step_size=0.01)
        Langevin(step_size=0.01, noise=None)
        >>> Langevin(step_size=0.01, noise=0.005).effective_temperature(None, beta=1.0)
        0.00125
    """

    step_size: float = 0.01
    noise: float | None = None

    graphless: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in (("step_size", self.step_size), ("noise", self.noise)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise DomainError(f"The '{name}' of Langevin must be positive. Got {value!r}.")

    def effective_temperature(self, state: Any, beta: float) -> float:
        """The temperature that step and noise stand for together."""
        return 1 / beta if self.noise is None else self.noise**2 / (2 * self.step_size)

    def init(self, target: Target, y: Tensor, like: Any = None) -> LangevinState:
        """The state at the start points `(chains, *event)`."""
        energy, gradient = target.slope(y)
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        return LangevinState(y, energy, gradient, none, none)

    def step(
        self,
        target: Target,
        state: LangevinState,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> LangevinState:
        """One step of every chain; one gradient."""
        moved = torch.add(state.y, state.gradient, alpha=-self.step_size)
        noise = target.noise(state.y, generator)
        proposal = target.reflect(moved.add_(noise, alpha=self._spread(beta)))
        energy, gradient = target.slope(proposal)
        return settle(state, proposal, energy, gradient)

    def stride(
        self,
        target: Target,
        state: LangevinState,
        steps: int,
        beta: float,
        generator: torch.Generator | None,
        trail: list[LangevinState] | None = None,
    ) -> LangevinState:
        """So many steps, with a look at what is finite after the last one.

        Where a gradient is not finite the position after it is not either, nor any further one, so
        that nothing is overlooked. The steps are then made again, one by one, with the same noise.
        """
        drawn = source(generator, like=state.y)
        # Where chains met a wall they will meet it again, and all would be done twice.
        if (
            drawn.device == state.y.device
            and target.oversees(state.y)
            and not bool(state.nonfinite.any())
        ):
            before = drawn.get_state()
            walk = self._unseen if trail is None else self._seen
            passed = walk(target, state, steps, self._spread(beta), drawn)
            if passed:
                if trail is not None:
                    trail += passed
                return passed[-1]
            drawn.set_state(before)
        for _ in range(steps):
            state = self.step(target, state, beta, generator)
            if trail is not None:
                trail.append(state)
        return state

    def _unseen(
        self,
        target: Target,
        state: LangevinState,
        count: int,
        spread: float,
        generator: torch.Generator,
    ) -> list[LangevinState]:
        """The last of so many states; none if it is not finite."""
        y = state.y.clone()
        (noise,) = normals(1, generator, like=y)
        y.add_(state.gradient, alpha=-self.step_size).add_(noise[0], alpha=spread)
        if singly(y) and target.lends(y):
            downhill = target.downhill(y, count - 1)
            for _ in range(count - 1):
                slope = downhill(y)
                y.add_(slope, alpha=-self.step_size)
                # That memory is near the core, and noise anywhere else would drive it out.
                y.add_(fill_normal(slope, generator), alpha=spread)
        else:
            walk = target.walk(y, count - 1)
            for noises in normals(count - 1, generator, like=y, least=target.block):
                walk(y, noises, -self.step_size, spread)
        energy, gradient = target.slope(y)
        finite = math.isfinite(float(energy.sum() + gradient.sum() + y.sum()))
        return [state._replace(y=y, energy=energy, gradient=gradient)] if finite else []

    def _seen(
        self,
        target: Target,
        state: LangevinState,
        count: int,
        spread: float,
        generator: torch.Generator,
    ) -> list[LangevinState]:
        """All of so many states; none if one is not finite."""
        y, gradient = state.y, state.gradient
        tour = target.tour(y, count)
        passed = []
        for noises in normals(count, generator, like=y, least=target.block):
            steps = tour(y, gradient, noises, -self.step_size, spread)
            passed += [state._replace(y=y, energy=e, gradient=g) for y, e, g in steps]
            y, _, gradient = steps[-1]
        energies = torch.stack([each.energy for each in passed])
        finite = math.isfinite(float(energies.sum() + gradient.sum() + y.sum()))
        return passed if finite else []

    def _spread(self, beta: float) -> float:
        return math.sqrt(2 * self.step_size / beta) if self.noise is None else self.noise


def settle(state: _State, proposal: Tensor, energy: Tensor, gradient: Tensor) -> _State:
    """The state at the proposal, or where it was for chains whose proposal is not finite."""
    if math.isfinite(float(energy.sum() + gradient.sum())):  # a sum is finite only if all is
        moved: _State = state._replace(y=proposal, energy=energy, gradient=gradient)
        return moved
    finite = torch.isfinite(energy) & torch.isfinite(gradient).flatten(1).all(1)
    keep = finite.reshape(-1, *[1] * (proposal.dim() - 1))
    refused = (~finite).to(torch.int64)
    settled: _State = state._replace(
        y=torch.where(keep, proposal, state.y),
        energy=torch.where(finite, energy, state.energy),
        gradient=torch.where(keep, gradient, state.gradient),
        rejected=state.rejected + refused,
        nonfinite=state.nonfinite + refused,
    )
    return settled
