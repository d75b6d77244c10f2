"""What a way of shaping the surface must say: which energies it suits, and what one step is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DivergedError
from lowland._modes import named_parameters
from lowland._offers import offers
from lowland._shapes import all_finite
from lowland.capabilities import Constrained, offered, refuse
from lowland.energy import Energy
from lowland.infer import eliminate
from lowland.train.take_step import take_step

# Gives at most so many random items (y, x) of the data, in the energy's own units.
Look = Callable[[int], tuple[Tensor, Tensor | None]]


class Outcome(NamedTuple):
    """What one step did.

    Attributes:
        loss: what was minimised, a scalar.
        data_energy: the mean energy of the data before the step, a scalar, or None if the step did
            not come across it.
        negatives: the points that were pushed up, `(m, *event)`; None if none were.
        converged: whether further steps would change nothing.
        reseeded: how many codes that no datum used were started again.
        negative_energy: the mean energy of the negatives before the step, a scalar, or None if the
            step did not come across it.
        negatives_x: the conditions of the negatives, `(m, ...)`, if not those of the data.
        acceptance: the share of proposals that the chains took, a scalar; None without chains.
        gradients: the gradient of the loss in each of `named_parameters`, by name, where it is
            known without `backward`; the loss then has no graph.
    """

    loss: Tensor
    data_energy: Tensor | None = None
    negatives: Tensor | None = None
    converged: bool = False
    reseeded: int = 0
    negative_energy: Tensor | None = None
    negatives_x: Tensor | None = None
    acceptance: Tensor | None = None
    gradients: dict[str, Tensor | None] | None = None


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to shape the surface; frozen, with whatever a run must remember in an explicit state.

    Attributes:
        kind: "contrastive" (pushes points up) or "architectural" (only pushes down).
        needs: the capabilities that an energy must offer.
        whole_data: whether a step takes all the data at once rather than a batch.
        uses_optimizer: whether a step is taken by a torch optimizer.
    """

    kind: ClassVar[str]
    needs: ClassVar[tuple[type, ...]] = ()
    whole_data: ClassVar[bool] = False
    uses_optimizer: ClassVar[bool] = True

    def unsuited(self, energy: Energy) -> str | None:
        """Why this strategy cannot train this energy, as a sentence; None if it can."""
        missing = [need.__name__ for need in self.needs if not isinstance(energy, need)]
        if missing:
            return (
                f"{type(self).__name__} needs {' and '.join(missing)}, and {type(energy).__name__} "
                f"offers {', '.join(offered(energy)) or 'none of the capabilities'}."
            )
        if not any(parameter.requires_grad for parameter in energy.parameters()):
            return f"{type(energy).__name__} has no parameters to train."
        return None

    def require(self, energy: Energy) -> None:
        """Raise `CapabilityError` if this strategy cannot train this energy."""
        for need in self.needs:
            if not isinstance(energy, need):
                raise refuse(
                    energy,
                    type(self).__name__,
                    f"an energy that is {need.__name__}",
                    "Choose another strategy; `lowland list` shows which go together.",
                )
        reason = self.unsuited(energy)
        if reason is not None:
            raise CapabilityError(reason)

    def caution(self, energy: Energy) -> str | None:
        """What to watch for in this energy after training, as a sentence; None if nothing."""
        return None

    def remarks(self, state: Any) -> str | None:
        """What the run itself gives cause to watch for, as a sentence; None if nothing."""
        return None

    def start(self, energy: Energy) -> Any:
        """The state before the first step; None for a strategy that remembers nothing."""
        return None

    def begin(self, energy: Energy, look: Look, generator: torch.Generator) -> Any:
        """The state before the first step, for a strategy that has to see data first.

        What `kept` makes of the state goes into checkpoints; a state of which nothing is kept is
        made anew when a run resumes. `Fit.state` gives back a state that is a dict of tensors.

        Args:
            energy: the energy.
            look: gives at most so many random items (y, x) of the data, in the energy's own units.
            generator: the source of randomness.
        """
        return self.start(energy)

    def kept(self, state: Any) -> dict[str, Tensor] | None:
        """What a checkpoint must hold of the state, as tensors by name; None if nothing."""
        return state if isinstance(state, dict) else None

    def restored(self, kept: dict[str, Tensor]) -> Any:
        """The state that `kept` was made of, so that a run goes on as if it had not stopped."""
        return kept

    def judge(self, energy: Energy, y: Tensor, x: Tensor | None) -> Tensor:
        """The energies by which a run is judged, `(n,)`: F(x, y) of items `(n, *event)`.

        A strategy that makes its own x makes it here from a fixed seed.
        """
        return eliminate(energy, y, x, beta=math.inf)

    @abstractmethod
    def step(
        self,
        energy: Energy,
        state: Any,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Any, Outcome]:
        """Change the energy's parameters once, for items `(n, *event)` in model units."""

    def descend(
        self, energy: Energy, outcome: Outcome, optimizer: torch.optim.Optimizer | None
    ) -> Outcome:
        """One step of the optimizer down `outcome.loss`; the outcome without its graph.

        Raises:
            DivergedError: the loss or its gradient is not finite; no parameter has been changed.
        """
        if optimizer is None:
            raise CapabilityError(f"{type(self).__name__} takes its steps by an optimizer.")
        step_down(energy, outcome.loss, optimizer, outcome.gradients)
        if offers(energy, Constrained):
            energy.project_parameters()
        return outcome._replace(loss=outcome.loss.detach(), gradients=None)


def step_down(
    energy: Energy,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    gradients: dict[str, Tensor | None] | None = None,
) -> None:
    """One step of the optimizer down the loss, which moves nothing that the loss does not feel.

    Its gradients, by the name of the parameter, where they are known without `backward`.

    Raises:
        DivergedError: the loss or its gradient is not finite; no parameter has been changed.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(f"the loss is {value}")
    moved: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in moved:
        parameter.grad = None
    if gradients is None:
        torch.autograd.backward(loss)
    else:
        for name, parameter in named_parameters(energy):
            if parameter.requires_grad:
                parameter.grad = gradients.get(name)
    if not all_finite(*(parameter.grad for parameter in moved if parameter.grad is not None)):
        _name_the_gradient(energy)
    take_step(optimizer)


def _name_the_gradient(energy: Energy) -> NoReturn:
    bad = [
        name
        for name, parameter in energy.named_parameters()
        if parameter.grad is not None and not all_finite(parameter.grad)
    ]
    raise DivergedError(f"the gradient of '{bad[0]}' is not finite")


@runtime_checkable
class StepsInParts(Protocol):
    """A strategy whose step over all the data can be made block by block, from a stream."""

    def partial_step(self, energy: Energy, state: Any, y: Tensor, x: Tensor | None) -> Any:
        """The state with one block `(m, *event)` taken into the step; None before the first."""
        ...

    def finish_step(self, energy: Energy, state: Any) -> tuple[Any, Outcome]:
        """Change the parameters after the last block; the state has then begun the next step."""
        ...


@dataclass(frozen=True)
class GradientStrategy(Strategy):
    """A strategy that is a loss: the step is the optimizer's."""

    @abstractmethod
    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """The loss on a batch, differentiable in the parameters."""

    def step(
        self,
        energy: Energy,
        state: Any,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Any, Outcome]:
        """One step of the optimizer down the loss.

        Raises:
            DivergedError: the loss or its gradient is not finite; no parameter has been changed.
        """
        outcome = self.loss(energy, y, x, generator)
        return state, self.descend(energy, outcome, optimizer)
