"""The one training loop. It knows no strategy by name."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lowland._border import check_y
from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland.data import Dataset, Stream, read
from lowland.domain import Categorical
from lowland.energy import Energy
from lowland.scaling import Scaled
from lowland.train.average import Average
from lowland.train.history import History
from lowland.train.loop import Callback, Loop, check_optimizer
from lowland.train.progress import Display, progress_bar
from lowland.train.resume import Position
from lowland.train.rollback import Rollback
from lowland.train.strategy import StepsInParts, Strategy
from lowland.train.streamed import StreamLoop

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

AnyLoop = TypeVar("AnyLoop", bound=Loop)

BATCH_SIZE = 128


class Fit(NamedTuple):
    """What training did.

    Attributes:
        energy: the energy, trained in place.
        steps: how many steps it has behind it.
        converged: whether further steps would have changed nothing.
        stopped: why it stopped: "converged", "steps", "interrupted" or "callback".
        history: loss and energies over the steps.
        reseeded: how many codes that no datum used were started again.
        state: what the strategy remembers, as tensors by name, such as the log partition function
            of `NoiseContrastive`; None if it remembers nothing of that kind.
        caution: what to watch for in this energy after this strategy and this run, or None.
        weights: which weights the energy holds: "last", or "average" if training averaged them.
        rollbacks: the times that training diverged and went back to a good place.
    """

    energy: Energy
    steps: int
    converged: bool
    stopped: str
    history: History
    reseeded: int
    state: dict[str, Tensor] | None = None
    caution: str | None = None
    weights: str = "last"
    rollbacks: tuple[Rollback, ...] = ()


def fit(
    energy: Energy,
    data: Any,
    strategy: Strategy,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: MakeOptimizer | None = None,
    generator: torch.Generator | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    record_every: int = 10,
    progress: bool | None = None,
    average: float | None = None,
    rollbacks: int = 0,
) -> Fit:
    """Shape an energy on data, in place.

    A `Scaled` energy is shaped in its own units: its data are scaled batch by batch, and a
    strategy's noise is measured in scaled units.

    A `lowland.data.Stream` is read pass by pass and never held as a whole. Strategies that take all
    the data at a step make one step of a pass; those that take batches split its blocks, in the
    stream's order. Start an energy from its first rows: `KMeans.from_data(stream.first(n), k=k)`.

    Args:
        energy: the energy; its parameters change.
        data: anything that `lowland.data.read` takes: a tensor `(n, *event)`, a pair (x, y), a
            `Dataset`, an array, a frame, or a path; or a `lowland.data.Stream` of y.
        strategy: how to shape.
        steps: how many steps of the strategy's own kind to make at most: a sweep over all the data
            for coordinate descent, a batch for gradient strategies.
        epochs: the same, in passes over the data; give one of the two.
        batch_size: items a step, 128 if None; only for strategies that take batches. Of a stream,
            a strategy without an optimizer takes whole blocks if None.
        optimizer: makes the optimizer from the parameters, such as
            `functools.partial(torch.optim.Adam, lr=1e-3)`, which is the default.
        generator: the order of the data and all noise; torch's default generator if None.
        callbacks: called with each `Record`; one that returns True ends training.
        checkpoint: a folder to keep the energy and the run in, written as training goes.
        checkpoint_every: steps between writes; the end of training always writes.
        resume: go on from the run in `checkpoint`, exactly, as if it had not been interrupted.
        record_every: steps between records; every step for strategies that take all the data.
        progress: show a bar; None shows one on a terminal.
        average: d, near 1, such as .999: the energy ends with the average of its weights over the
            last 1 / (1 − d) steps or so, which is what the checkpoint's energy holds too; training
            goes on from its own weights.
        rollbacks: how often training that diverges goes back to the last good place, kept every
            `checkpoint_every` steps, and on with half the learning rate; the second time without
            progress to the place before. `Fit.rollbacks` tells each. Not for a stream.

    Returns:
        Fit: the energy and what happened. Ctrl-C ends training early and keeps what was learned.

    Raises:
        DivergedError: a value became NaN or infinite; the energy (and the checkpoint) hold the last
            good parameters.
        CapabilityError: the strategy does not suit the energy.
        DomainError: the data or an option are not allowed. If a row of a stream is not, the energy
            and the checkpoint hold what was learned before it.
        CheckpointError: the checkpoint cannot be written, or there is none to resume.

    Example:
        >>> y = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0], [1.0]]))
        >>> result = fit(energy, y, ll.CoordinateDescent(), steps=10)
        >>> result.stopped, energy.prototypes.flatten().tolist()
        ('converged', [0.5, 10.5])
    """
    inner = energy.energy if isinstance(energy, Scaled) else energy
    if not isinstance(strategy, Strategy):
        raise CapabilityError(
            f"'strategy' must be a strategy, such as lowland.CoordinateDescent(). Got {strategy!r}."
        )
    strategy.require(inner)
    _check_counts(
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        record_every=record_every,
        checkpoint_every=checkpoint_every,
    )
    maker = _optimizer(strategy, inner, optimizer)
    position = Position(torch.default_generator if generator is None else generator)
    folder = None if checkpoint is None else Path(checkpoint)
    if isinstance(rollbacks, bool) or not isinstance(rollbacks, int) or rollbacks < 0:
        raise DomainError(f"'rollbacks' must be a whole number of at least 0. Got {rollbacks!r}.")
    mean = None if average is None else Average(average, inner)

    def loop_of(kind: type[AnyLoop], size: int) -> AnyLoop:
        return kind(
            energy,
            strategy,
            maker,
            position,
            size,
            record_every=record_every,
            checkpoint_every=checkpoint_every,
            callbacks=callbacks,
            folder=folder,
            average=mean,
            rollbacks=rollbacks,
        )

    loop: Loop
    run: Callable[[Display], str]
    total: int | None
    if isinstance(data, Stream):
        if rollbacks:
            raise DomainError(
                "A stream cannot be read again from the middle: leave 'rollbacks' out."
            )
        total, size = _stream_length(energy, data, strategy, steps, epochs, batch_size)
        loop = streamed = loop_of(StreamLoop, size)
        run = partial(streamed.run_stream, data, total, epochs)
    else:
        y, x = _data(energy, data)
        total, size = _length(strategy, len(y), steps, epochs, batch_size)
        loop = loop_of(Loop, size)
        run = partial(loop.run, y, x, total)
    if resume:
        if folder is None:
            raise DomainError("'resume' needs 'checkpoint', the folder of the run to go on with.")
        position.read(folder, energy, strategy, maker, mean)
    else:
        loop.write()  # an unwritable folder is better known now
    inner.train()
    title = f"{type(inner).__name__} by {type(strategy).__name__}"
    try:
        with progress_bar(title, total, position.step, progress) as show:
            stopped = run(show)
    finally:
        inner.eval()
    loop.write()
    if mean is not None:
        inner.load_state_dict(mean.values)
    return Fit(
        energy,
        position.step,
        stopped == "converged",
        stopped,
        History.of(loop.records),
        loop.reseeded,
        loop.state if isinstance(loop.state, dict) else None,
        _cautions(strategy.caution(inner), strategy.remarks(loop.state)),
        "last" if mean is None else "average",
        tuple(position.rollbacks),
    )


def _cautions(*sentences: str | None) -> str | None:
    return " ".join(sentence for sentence in sentences if sentence) or None


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DomainError(f"'{name}' must be a whole number of at least 1. Got {value!r}.")


def _data(energy: Energy, data: Any) -> tuple[Tensor, Tensor | None]:
    like = energy.dtype
    if isinstance(data, Tensor) and data.is_floating_point():
        # Nothing is to be read, and what is allowed is checked once: a pass over many numbers.
        return _items(energy, data.detach()), None
    # Classes are numbers to count by, which the energy's floating-point type must not touch.
    classes = isinstance(energy.domain, Categorical)
    plain = classes or isinstance(data, Tensor | Dataset | Path | str)
    dataset = read(data) if plain or like is None else read(data, dtype=like)
    y, x = dataset.y, dataset.x
    if not isinstance(data, Tensor) and y.is_floating_point():
        y = y.to(dtype=like, device=energy.device)
        x = None if x is None else x.to(device=energy.device)
    if x is not None and x.is_floating_point() and like is not None:
        x = x.to(like)
    return _items(energy, y), x


def _items(energy: Energy, y: Tensor) -> Tensor:
    if len(check_y(energy, y)) != 1:
        raise ShapeError(
            f"Data must have shape (n, *event) with event {energy.event}. Got {tuple(y.shape)}."
        )
    return y


def _length(
    strategy: Strategy, n: int, steps: int | None, epochs: int | None, batch_size: int | None
) -> tuple[int, int]:
    """How many steps to make, and of how many items."""
    _check_length(strategy, steps, epochs, batch_size)
    size = n if strategy.whole_data else min(n, batch_size or BATCH_SIZE)
    if steps is not None:
        return steps, size
    return (epochs or 0) * math.ceil(n / size), size


def _stream_length(
    energy: Energy,
    stream: Stream,
    strategy: Strategy,
    steps: int | None,
    epochs: int | None,
    batch_size: int | None,
) -> tuple[int | None, int]:
    """How many steps to make, if that is known before the stream has ended, and of how many."""
    _check_length(strategy, steps, epochs, batch_size)
    if strategy.whole_data and not isinstance(strategy, StepsInParts):
        raise CapabilityError(
            f"{type(strategy).__name__} needs all the data in memory at a step. For a stream use "
            f"one that adds up sums, such as lowland.CoordinateDescent, or one that takes batches."
        )
    if stream.event != tuple(energy.event):
        raise ShapeError(
            f"Rows of the stream must have the energy's event {tuple(energy.event)}. Got "
            f"{stream.event}. Reshape them, or build the energy with another event."
        )
    if strategy.whole_data:
        return steps or epochs, stream.rows
    usual = BATCH_SIZE if strategy.uses_optimizer else stream.rows
    return steps, min(stream.rows, batch_size or usual)


def _check_length(
    strategy: Strategy, steps: int | None, epochs: int | None, batch_size: int | None
) -> None:
    if (steps is None) == (epochs is None):
        raise DomainError(
            f"Say how long to train: give one of 'steps' and 'epochs'. Got steps={steps!r} and "
            f"epochs={epochs!r}."
        )
    if strategy.whole_data and batch_size is not None:
        raise DomainError(
            f"{type(strategy).__name__} takes all the data at a step: leave out 'batch_size'."
        )


def _optimizer(
    strategy: Strategy, energy: Energy, make: MakeOptimizer | None
) -> torch.optim.Optimizer | None:
    if not strategy.uses_optimizer:
        if make is not None:
            raise DomainError(
                f"{type(strategy).__name__} solves for its parameters: leave 'optimizer' out."
            )
        return None
    parameters = [parameter for parameter in energy.parameters() if parameter.requires_grad]
    if make is None:
        # One operation for all parameters, in place of a dozen for each.
        return torch.optim.Adam(parameters, lr=1e-3, fused=True)
    return check_optimizer(make(parameters))
