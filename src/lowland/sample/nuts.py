"""The No-U-Turn sampler, all chains in lock step: trajectories that stop when they turn back."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._random import uniform
from lowland.sample._adapt import DualAverage, Moments
from lowland.sample._half_trees import Course, End, Tree, turned
from lowland.sample._metropolis import dot, like
from lowland.sample._native_half_trees import halves
from lowland.sample.target import Target

_FIRST_STEP = 0.15


class NUTSState(NamedTuple):
    """Where the chains are, and what was learned of the surface.

    Attributes:
        y: `(chains, *event)`.
        energy: `(chains,)`.
        gradient: `(chains, *event)`.
        rejected: trajectories that ended where they began, `(chains,)` int64.
        nonfinite: those cut short by a value that was not finite, `(chains,)` int64.
        divergent: those cut short by an energy error beyond all bounds, `(chains,)` int64.
        momentum_energy: the kinetic energy with which each last trajectory began, `(chains,)`.
        leapfrogs: leapfrog steps so far, `(chains,)` int64.
        scale: the scale of each element, like one y; the inverse mass is its square.
        moments: what the next scale is measured from.
        step: how the step learns.
    """

    y: Tensor
    energy: Tensor
    gradient: Tensor
    rejected: Tensor
    nonfinite: Tensor
    divergent: Tensor
    momentum_energy: Tensor
    leapfrogs: Tensor
    scale: Tensor
    moments: Moments
    step: DualAverage

    @property
    def step_size(self) -> Tensor:
        """The leapfrog step that is used after the warm-up, a scalar."""
        return self.step.log_average.exp()


@dataclass(frozen=True)
class NUTS:
    r"""The No-U-Turn sampler with multinomial draws from the trajectory.

    A trajectory doubles, forward or backward in time, until its ends begin to approach one another:
    $p \cdot \sum p \le 0$ at either end, for the whole or for any of the halves it was built of.
    The next point is drawn from it with weights $e^{-\beta F - \|p\|^2 / 2}$, with a bias to the
    half that was added last.

    All chains build their trees together, one gradient call for all of them, and one that is done
    waits for the others. Step and scale learn as in `HMC`. Made for few chains; from 32 chains on,
    `HMC` gets more from a gradient.

    Args:
        step_size: the first leapfrog step, positive, in scaled units.
        acceptance: the mean acceptance statistic that the step is tuned to, between 0 and 1.
        depth: a trajectory has at most 2^depth − 1 leapfrog steps.

    Raises:
        DomainError: an argument is out of range.

    Reference:
        A Conceptual Introduction to Hamiltonian Monte Carlo (Betancourt, 2017),
        https://arxiv.org/abs/1701.02434

    Example:
        >>> from lowland.sample import run
        >>> g = torch.Generator().manual_seed(0)
        >>> well = ll.energies.DoubleWell((2,), height=0.5)
        >>> draws = run(NUTS(), well, torch.zeros(4, 2), steps=100, warmup=100, generator=g)
        >>> draws.y.shape
        torch.Size([4, 100, 2])
    """

    step_size: float = _FIRST_STEP
    acceptance: float = 0.8
    depth: int = 10

    graphless: ClassVar[bool] = True
    # How many steps the tuning takes, for who does not say.
    warmup: ClassVar[int] = 300

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise DomainError(f"The 'step_size' of NUTS must be positive. Got {self.step_size!r}.")
        if not 0 < self.acceptance < 1:
            raise DomainError(
                f"The 'acceptance' of NUTS must lie between 0 and 1. Got {self.acceptance!r}."
            )
        if self.depth < 1:
            raise DomainError(f"The 'depth' of NUTS must be at least 1. Got {self.depth!r}.")

    def init(self, target: Target, y: Tensor, like: NUTSState | None = None) -> NUTSState:
        """The state at the start points `(chains, *event)`."""
        energy, gradient = target.slope(y)
        none = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        if like is None:
            step = DualAverage.start(y.new_zeros(()) + math.log(self.step_size))
            scale, moments = torch.ones_like(y[0]), Moments.start(y)
        else:
            step, scale, moments = like.step, like.scale, like.moments
        return NUTSState(
            y=y,
            energy=energy,
            gradient=gradient,
            rejected=none,
            nonfinite=none,
            divergent=none,
            momentum_energy=torch.zeros_like(energy),
            leapfrogs=none,
            scale=scale,
            moments=moments,
            step=step,
        )

    def step(
        self,
        target: Target,
        state: NUTSState,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> NUTSState:
        """One trajectory of every chain."""
        epsilon = (state.step.log_step if adapt else state.step.log_average).exp()
        path = _Path(self, target, state, beta, epsilon, generator)
        path.grow(self.depth)
        after = path.settle()
        if not adapt:
            return after
        step = state.step.learn(path.acceptance(), self.acceptance)
        moments, scale = state.moments.add(after.y, after.gradient), state.scale
        if moments.full():
            scale = moments.scale(beta)
            moments = Moments.start(after.y, 2 * moments.due)
        return after._replace(step=step, moments=moments, scale=scale)

    def weigh(self, log_weight: Tensor, added: Tensor) -> Tensor:
        """The log probability that the half added last has the next point."""
        return added - log_weight


class _Path:
    """The trajectories of all chains, as they grow."""

    def __init__(
        self,
        sampler: NUTS,
        target: Target,
        state: NUTSState,
        beta: float,
        epsilon: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        self.sampler, self.state, self.generator = sampler, state, generator
        n = len(state.y)
        p = target.noise(state.y, generator).reshape(n, -1)
        y, gradient = state.y.reshape(n, -1), state.gradient.reshape(n, -1)
        self.kinetic = 0.5 * dot(p, p)
        self.left = self.right = End(y, p, gradient)
        self.tree = Tree(y, state.energy, gradient, torch.zeros_like(state.energy), p)
        at_start = beta * state.energy + self.kinetic
        drift = (epsilon * state.scale).reshape(1, -1)
        course = Course(target, state.y.shape, state.energy, at_start, drift, beta)
        self.halves = halves(course)
        self.growing = torch.ones(n, dtype=torch.bool, device=y.device)
        self.moved = torch.zeros_like(self.growing)

    def grow(self, depth: int) -> None:
        """Double until every trajectory has turned, ended, or reached the depth."""
        for level in range(depth):
            forward = uniform((len(self.kinetic),), self.generator, like=self.kinetic) < 0.5
            end = End(*_pick(forward, self.right, self.left))
            drawn = uniform((2**level, len(forward)), self.generator, like=self.kinetic).log_()
            end, added, ok = self.halves.extend(end, forward, self.growing, drawn)
            self.right = End(*_pick(self.growing & forward, end, self.right))
            self.left = End(*_pick(self.growing & ~forward, end, self.left))
            self._join(added, ok)
            middle = self.tree.momentum.sub(self.left.p, alpha=0.5).sub_(self.right.p, alpha=0.5)
            self.growing = ok & ~turned(self.left.p, self.right.p, middle)
            if not bool(self.growing.any()):
                break

    def settle(self) -> NUTSState:
        """The state with the points that were drawn from the trajectories."""
        state, shape = self.state, self.state.y.shape
        return state._replace(
            y=self.tree.y.reshape(shape),
            energy=self.tree.energy,
            gradient=self.tree.gradient.reshape(shape),
            rejected=state.rejected + ~self.moved,
            nonfinite=state.nonfinite + self.halves.nonfinite,
            divergent=state.divergent + self.halves.divergent,
            momentum_energy=self.kinetic,
            leapfrogs=state.leapfrogs + self.halves.leapfrogs(),
        )

    def acceptance(self) -> Tensor:
        """How likely a point of the trajectories would be taken by itself, on the mean."""
        return (self.halves.likely() / self.halves.leapfrogs()).mean()

    def _join(self, added: Tree, ok: Tensor) -> None:
        """Take the added half's point with its share of the weight, or rather more."""
        tree = self.tree
        drawn = uniform((len(ok),), self.generator, like=tree.log_weight).log_()
        taken = ok & (drawn < self.sampler.weigh(tree.log_weight, added.log_weight))
        self.moved = self.moved | taken
        y, energy, gradient = _pick(taken, added[:3], tree[:3])
        log_weight = torch.where(
            ok, torch.logaddexp(tree.log_weight, added.log_weight), tree.log_weight
        )
        momentum = tree.momentum + torch.where(like(ok, y), added.momentum, 0.0)
        self.tree = Tree(y, energy, gradient, log_weight, momentum)


def _pick(chosen: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """For each chain the new tensors where it was chosen, the old ones elsewhere."""
    return tuple(torch.where(like(chosen, a), a, b) for a, b in zip(new, old, strict=True))
