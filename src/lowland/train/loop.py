"""The state of one run: batches, steps, records, the last good parameters."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DivergedError
from lowland._modes import evaluating, seeded
from lowland._random import permutation
from lowland._shapes import all_finite
from lowland.energy import Energy
from lowland.infer import eliminate
from lowland.scaling import Scaled
from lowland.train.average import Average
from lowland.train.history import History, Record
from lowland.train.interrupt import deferred_interrupt
from lowland.train.resume import Position
from lowland.train.rollback import Places, Rollback
from lowland.train.strategy import Look, Outcome, Strategy

Callback = Callable[[Record], bool | None]

# Separates the seeds of one run's steps from those of another run whose seed is near.
_STRIDE = 1_000_003


class Loop:
    """One call of `lowland.fit`.

    Args:
        energy: the energy, perhaps `Scaled`.
        strategy: what a step is.
        optimizer: what takes the steps of gradient strategies.
        position: where the run is.
        size: items a step.
        record_every: steps between records.
        checkpoint_every: steps between writes.
        callbacks: called with each record.
        folder: where the run is written, or None.
        average: the average of the weights, or None.
        rollbacks: how often to go back to a good place instead of ending in divergence.
    """

    def __init__(
        self,
        energy: Energy,
        strategy: Strategy,
        optimizer: torch.optim.Optimizer | None,
        position: Position,
        size: int,
        *,
        record_every: int,
        checkpoint_every: int,
        callbacks: Sequence[Callback],
        folder: Path | None,
        average: Average | None = None,
        rollbacks: int = 0,
    ) -> None:
        self.energy = energy
        self.inner = energy.energy if isinstance(energy, Scaled) else energy
        self.strategy = strategy
        self.optimizer = optimizer
        self.position = position
        self.size = size
        self.record_every = 1 if strategy.whole_data else record_every
        self.checkpoint_every = checkpoint_every
        self.callbacks = callbacks
        self.folder = folder
        self.records: list[Record] = []
        self.reseeded = 0
        self.state: Any = None
        self.average = average
        self.rollbacks = rollbacks
        self._places = Places(self.inner, optimizer, average) if rollbacks else None
        self._good = (position.step, _snapshot(self.inner))

    def run(
        self,
        y: Tensor,
        x: Tensor | None,
        total: int,
        show: Callable[[int, Record | None], None],
    ) -> str:
        """Make steps until something ends training, and say what did."""
        self._began = time.monotonic()
        if self.strategy.whole_data:
            y, x = self._scaled(y, x)
        try:
            with deferred_interrupt() as interruption:
                stopped = self._steps(y, x, total, show, lambda: interruption.asked)
        except KeyboardInterrupt:
            stopped = "interrupted"
        return stopped

    def write(self) -> None:
        """Write the run to its folder, if it has one."""
        if self.folder is not None:
            kept = self.strategy.kept(self.state)
            self.position.write(
                self.folder, self.energy, self.strategy, self.optimizer, kept, self.average
            )

    def _steps(
        self,
        y: Tensor,
        x: Tensor | None,
        total: int,
        show: Callable[[int, Record | None], None],
        interrupted: Callable[[], bool],
    ) -> str:
        self._begin(self._look(y, x))
        order = self._order(y, resumed=self.position.ordered)
        while self.position.step < total:
            if self.position.used >= len(y):
                order = self._order(y, resumed=False)
            batch_y, batch_x = self._batch(y, x, order)
            try:
                outcome = self._step(partial(self._make, batch_y, batch_x), self.size)
                final = self.position.step == total
                stopped = self._conclude(outcome, batch_y, batch_x, final, show, interrupted)
                self._keep_place(batch_y, batch_x)
            except DivergedError as error:
                if not self._rolled_back(error):
                    raise
                stopped = None
            if stopped is not None:
                return stopped
        return "steps"

    def _keep_place(self, y: Tensor, x: Tensor | None) -> None:
        """Remember where the run is now and then, for going back to."""
        if self._places is not None and self.position.step % self.checkpoint_every == 0:
            self._verify_tensors()
            self._verify_energy(y, x)
            self._places.keep(self.position.step, self.state)

    def _rolled_back(self, error: DivergedError) -> bool:
        """Go back to a good place, if that is still allowed."""
        if self._places is None or len(self.position.rollbacks) >= self.rollbacks:
            return False
        step, self.state = self._places.go_back()
        self.position.step = step
        failed = step if error.step is None else error.step
        self.position.rollbacks.append(Rollback(failed, step, str(error.__cause__ or error)))
        self.records = [record for record in self.records if record.step <= step]
        self._good = (step, _snapshot(self.inner))
        return True

    def _begin(self, look: Look) -> None:
        """The state of the strategy before the first step of this call."""
        if self.position.state is None:
            self.state = self.strategy.begin(self.inner, look, self.position.generator)
        else:
            self.state = self.strategy.restored(self.position.state)
        if self._places is not None:
            self._places.keep(self.position.step, self.state)

    def _conclude(
        self,
        outcome: Outcome,
        y: Tensor,
        x: Tensor | None,
        final: bool,
        show: Callable[[int, Record | None], None],
        interrupted: Callable[[], bool],
    ) -> str | None:
        """Verify, record and write after a step on (y, x); say what ends training, if anything."""
        due = (self.position.step - 1) % self.record_every == 0
        last = final or outcome.converged or interrupted()
        written = self.folder is not None and self.position.step % self.checkpoint_every == 0
        if due or last or written:
            self._verify_tensors()
        if last or written:
            self._verify_energy(y, x)
        record = self._record(outcome, y, x) if due or last else None
        show(self.position.step, record)
        if outcome.converged:
            return "converged"
        if record is not None and any([back(record) is True for back in self.callbacks]):
            return "callback"
        if interrupted():
            return "interrupted"
        if written and not last:
            self.write()
        return None

    def _order(self, y: Tensor, *, resumed: bool) -> Tensor | None:
        if self.strategy.whole_data:
            self.position.used = 0
            return None
        generator = self.position.generator
        if resumed:
            now = generator.get_state()
            generator.set_state(self.position.epoch_state)
            order = permutation(len(y), generator, like=y)
            generator.set_state(now)
            return order
        self.position.epoch_state = generator.get_state()
        self.position.used, self.position.ordered = 0, True
        return permutation(len(y), generator, like=y)

    def _batch(
        self, y: Tensor, x: Tensor | None, order: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if order is None:
            return y, x
        chosen = order[self.position.used : self.position.used + self.size]
        # As fast as a copy, which y[chosen] is not.
        rows = y.index_select(0, chosen)
        return self._scaled(rows, None if x is None else x.index_select(0, chosen))

    def _look(self, y: Tensor, x: Tensor | None) -> Look:
        def look(n: int) -> tuple[Tensor, Tensor | None]:
            chosen = permutation(len(y), self.position.generator, like=y)[:n]
            seen, condition = y[chosen], None if x is None else x[chosen]
            return (seen, condition) if self.strategy.whole_data else self._scaled(seen, condition)

        return look

    def _scaled(self, y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.energy, Scaled):
            return self.energy.scaling(y), self.energy.condition_units(x)
        return y, x

    def _make(self, y: Tensor, x: Tensor | None) -> tuple[Any, Outcome]:
        """One step of the strategy, in the energy's own units."""
        return self.strategy.step(
            self.inner,
            self.state,
            y,
            x,
            optimizer=self.optimizer,
            generator=self.position.generator,
        )

    def _step(self, make: Callable[[], tuple[Any, Outcome]], rows: int) -> Outcome:
        """Make a step of this many rows, or put everything back to where it was good."""
        candidate = None
        if self.position.step % self.record_every == 0:
            candidate = _snapshot(self.inner)
        before = self.position.generator.get_state()
        try:
            with self._layer_noise():
                state, outcome = make()
            if not math.isfinite(outcome.loss.item()):
                raise DivergedError(f"the loss is {outcome.loss.item()}")
        except DivergedError as error:
            raise self._diverged(error, self.position.step + 1) from error
        except KeyboardInterrupt:
            self.position.generator.set_state(before)
            raise
        if candidate is not None:  # its loss was finite, so these parameters are good
            self._good = (self.position.step, candidate)
        self.position.step += 1
        self.position.used += rows
        self.reseeded += outcome.reseeded
        self.state = state
        if self.average is not None:
            self.average.update(self.inner)
        return outcome

    def _layer_noise(self) -> Any:
        generator = self.position.generator
        if generator is torch.default_generator:  # dropout draws from it already
            return nullcontext()
        seed = (generator.initial_seed() * _STRIDE + self.position.step) % 2**63
        return seeded(seed, self.inner)

    def _verify_tensors(self) -> None:
        """Raise unless the parameters and the optimizer's state are finite."""
        tensors = {f"'{name}'": value for name, value in self.inner.state_dict().items()}
        if self.optimizer is not None:
            for i, state in enumerate(self.optimizer.state.values()):
                kept = {f"the optimizer's '{name}' {i}": value for name, value in state.items()}
                tensors |= {name: v for name, v in kept.items() if isinstance(v, Tensor)}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not all_finite(tensor):
                error = DivergedError(f"{name} is not finite")
                raise self._diverged(error, self.position.step)

    @torch.no_grad()
    def _verify_energy(self, y: Tensor, x: Tensor | None) -> None:
        """Raise unless the energy of this batch is finite; then the parameters are good."""
        if not self.strategy.whole_data:  # whose loss was the energy of all the data
            with evaluating(self.inner):
                value = self.strategy.judge(self.inner, y, x)
            if not all_finite(value):
                error = DivergedError("the energy of the data is not finite")
                raise self._diverged(error, self.position.step)
        self._good = (self.position.step, _snapshot(self.inner))

    def _diverged(self, error: DivergedError, step: int) -> DivergedError:
        good, parameters = self._good
        self.inner.load_state_dict(parameters)
        kept = f", and {self.folder} keeps its last good checkpoint" if self.folder else ""
        return DivergedError(
            f"Training diverged at step {step}: {error}. The energy holds its parameters after "
            f"step {good} again{kept}. Try a smaller learning rate, scale the data, or clip.",
            step=step,
            restored_step=good,
            history=History.of(self.records),
        )

    @torch.no_grad()
    def _record(self, outcome: Outcome, y: Tensor, x: Tensor | None) -> Record:
        data_energy, negative = outcome.data_energy, outcome.negative_energy
        with evaluating(self.inner):
            if data_energy is None:
                data_energy = self.strategy.judge(self.inner, y, x).mean()
            if negative is None and outcome.negatives is not None:
                given = x if outcome.negatives_x is None else outcome.negatives_x
                pushed = eliminate(self.inner, outcome.negatives, given, beta=math.inf)
                negative = pushed.mean()
        record = Record(
            self.position.step,
            time.monotonic() - self._began,
            float(outcome.loss),
            float(data_energy),
            None if negative is None else float(negative),
            None if outcome.acceptance is None else float(outcome.acceptance),
        )
        if not all(math.isfinite(value) for value in record if value is not None):
            error = DivergedError(f"a recorded value is not finite: {record}")
            raise self._diverged(error, self.position.step)
        self.records.append(record)
        return record


def _snapshot(energy: Energy) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in energy.state_dict().items()}


def check_optimizer(made: object) -> torch.optim.Optimizer:
    """Raise `CapabilityError` unless `made` is an optimizer that takes plain steps."""
    if isinstance(made, torch.optim.LBFGS):
        raise CapabilityError(
            "torch.optim.LBFGS evaluates the loss several times a step through a closure, which "
            "noisy losses do not allow. Choose another optimizer, such as torch.optim.Adam."
        )
    if not isinstance(made, torch.optim.Optimizer):
        raise CapabilityError(
            f"'optimizer' must be a function from parameters to a torch optimizer, such as "
            f"functools.partial(torch.optim.Adam, lr=1e-3). It returned {type(made).__name__}."
        )
    return made
