"""What `lowland fit` does: read, build, train, save, and say what came of it."""

import math
import shlex
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape

import lowland as ll
from lowland._errors import CheckpointError, DivergedError, DomainError
from lowland.cli._data import (
    Items,
    fingerprint,
    held_out_rows,
    located,
    read_source,
    take,
)
from lowland.cli._names import (
    build_energy,
    build_strategy,
    energy_options,
    find_energy,
    find_strategy,
    kebab,
    strategy_options,
)
from lowland.cli._run import read_run, write_run
from lowland.cli._sentences import TOKENIZER
from lowland.cli._streaming import first_rows, open_stream
from lowland.cli._text import console, facts, plural, shape
from lowland.data import Dataset
from lowland.train import History, Strategy, default_strategy

SWEEPS, BATCHES = 100, 2000
REASONS = {
    "converged": "converged: further steps would change nothing",
    "steps": "all steps made",
    "interrupted": "interrupted; what was learned is kept",
    "callback": "ended by a callback",
    "diverged": "diverged; the last good checkpoint is kept",
}


@dataclass(frozen=True)
class Order:
    """What the user asked to have trained; resuming needs the same order, but for its length."""

    source: str
    reader: dict[str, Any]
    energy: str
    energy_options: dict[str, Any]
    strategy: str | None
    strategy_options: dict[str, Any]
    steps: int | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    scaling: str
    held_out: float
    given: str | None
    seed: int
    stream: bool = False


def train(
    order: Order, out: Path, *, checkpoint_every: int, resume: bool, progress: bool | None
) -> str:
    """Train and save; return why training stopped.

    Raises:
        DivergedError: a number became NaN or infinite; the last good checkpoint is kept.
        CheckpointError: `out` cannot be written, or holds another run than the one to resume.
        LowlandError: the data, the energy or an option are no good.
    """
    cls = find_energy(order.energy)
    if resume and (out / TOKENIZER).exists():
        path = str(out.resolve() / TOKENIZER)
        order = replace(order, reader={**order.reader, "tokenizer": path})
    blocks = open_stream(order.source, order.reader) if order.stream else None
    if blocks is None:
        data = read_source(order.source, order.reader, order.seed)
    else:
        data = first_rows(blocks)
    rows, kept = held_out_rows(len(data), order.held_out, order.seed)
    items = take(data, rows, order.given)
    energy, method = _build(cls, items, order)
    inner = energy.energy if isinstance(energy, ll.Scaled) else energy
    chosen = default_strategy(inner) if order.strategy is None else find_strategy(order.strategy)
    strategy = build_strategy(chosen, order.strategy_options)
    strategy.require(inner)
    steps = order.steps
    if steps is None and order.epochs is None:
        steps = SWEEPS if strategy.whole_data else BATCHES
    batch_size = _for_batches(order.batch_size, strategy)
    optimizer = _optimizer(order.learning_rate, strategy)
    run = _describe(order, data, cls, strategy, method, len(rows))
    earlier = _earlier(out, run) if resume else None
    if not resume:
        write_run(out, run)  # an unwritable folder is better known now
        if data.tokenizer is not None:
            data.tokenizer.save(out / TOKENIZER)
        else:  # one of an earlier run would be taken for this one's
            (out / TOKENIZER).unlink(missing_ok=True)
    began = time.monotonic()
    try:
        result = ll.fit(
            energy,
            Dataset(items.y, x=items.x) if blocks is None else blocks,
            strategy,
            steps=steps,
            epochs=order.epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            generator=torch.Generator().manual_seed(order.seed),
            checkpoint=out,
            checkpoint_every=checkpoint_every,
            resume=resume,
            progress=progress,
        )
    except DivergedError as error:
        if isinstance(error.history, History):
            run["history"] = _joined(earlier, error.history)
        write_run(out, {**run, "result": {"stopped": "diverged", "steps": error.restored_step}})
        raise
    seconds = time.monotonic() - began
    held = take(data, kept, order.given) if len(kept) else None
    run["history"] = _joined(earlier, result.history)
    run["result"] = {
        "stopped": result.stopped,
        "steps": result.steps,
        "reseeded": result.reseeded,
        "seconds": seconds,
        "energy": {
            "training": _mean(energy, items, strategy),
            "held-out": held and _mean(energy, held, strategy),
        },
    }
    if blocks is not None:
        run["result"]["rows"] = blocks.length
    write_run(out, run)
    _report(run, energy, out)
    return result.stopped


def _build(cls: type[ll.Energy], items: Items, order: Order) -> tuple[ll.Energy, str]:
    """The energy in the data's own units, and the method by which they were measured."""
    method, options = order.scaling, order.energy_options
    if items.data.tokenizer is not None:
        known = energy_options(cls)
        told = items.data.tokenizer.options()
        options = {name: value for name, value in told.items() if name in known} | options
    if method == "auto":
        method = "range" if items.data.kind == "image" else "standard"
        y = items.y
        if not y.is_floating_point() or bool(((y == 0) | (y == 1)).all()):
            # Only the energy can say whether its zeros and ones are numbers or symbols.
            plain = build_energy(cls, y, items.x, order.seed, options)
            if not y.is_floating_point() or not isinstance(plain.domain, ll.Real):
                return plain, "none"
    if method == "none":
        return build_energy(cls, items.y, items.x, order.seed, options), method
    scaling, condition = _scalings(items, method)
    x = items.x if items.x is None or condition is None else condition(items.x)
    inner = build_energy(cls, scaling(items.y), x, order.seed, options)
    if not isinstance(inner.domain, ll.Real):
        raise DomainError(
            f"{cls.__name__} lives on {inner.domain}, which has no units to scale: use "
            f"'--scaling none'."
        )
    return ll.Scaled(inner, scaling, condition), method


def _scalings(items: Items, method: str) -> tuple[ll.Scaling, ll.Scaling | None]:
    whole = ll.Scaling.from_data(items.data.y, method, names=items.data.names)
    if items.halves is not None:
        seen = items.halves.observed
        parts = [_part(whole, seen), _part(whole, ~seen)]
        return parts[1], parts[0]
    x = items.x
    if x is None or not x.is_floating_point():
        return whole, None
    return whole, ll.Scaling.from_data(x, method)


def _part(scaling: ll.Scaling, mask: torch.Tensor) -> ll.Scaling:
    """The scaling of some elements of a datum, where each has its own."""
    if scaling.shift.dim() == 0:
        return ll.Scaling(scaling.shift.clone(), scaling.scale.clone())
    return ll.Scaling(scaling.shift[mask], scaling.scale[mask])


def _for_batches(batch_size: int | None, strategy: Strategy) -> int | None:
    if batch_size is not None and strategy.whole_data:
        raise DomainError(
            f"{type(strategy).__name__} takes all the data at each step: leave --batch-size out."
        )
    return batch_size


def _optimizer(learning_rate: float | None, strategy: Strategy) -> Any:
    if learning_rate is None:
        return None
    if not strategy.uses_optimizer:
        raise DomainError(
            f"{type(strategy).__name__} solves for its parameters: leave --learning-rate out."
        )
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise DomainError(f"'--learning-rate' must be positive. Got {learning_rate}.")
    return partial(torch.optim.Adam, lr=learning_rate)


def _describe(
    order: Order,
    data: Dataset,
    cls: type[ll.Energy],
    strategy: Strategy,
    method: str,
    trained_on: int,
) -> dict[str, Any]:
    """What run.json says before any step is made."""
    run: dict[str, Any] = {
        "versions": {"lowland": ll.__version__, "torch": str(torch.__version__)},
        "data": {
            "source": located(order.source),
            "options": order.reader,
            "description": data.description,
            "kind": data.kind,
            "event": list(data.event),
            "names": None if data.names is None else list(data.names),
            "n": len(data),
            "sha256": fingerprint(data),
            "seed": order.seed,
            "held_out": order.held_out,
            "trained_on": trained_on,
            "given": order.given,
            "conditional": order.given is not None or data.x is not None,
        },
        "energy": {
            "name": order.energy,
            "class": cls.__name__,
            "options": order.energy_options,
            "scaling": method,
        },
        "training": {
            "strategy": order.strategy or kebab(type(strategy).__name__),
            "class": type(strategy).__name__,
            "options": {n: getattr(strategy, n) for n in strategy_options(type(strategy))},
            "steps": order.steps,
            "epochs": order.epochs,
            "batch_size": order.batch_size,
            "learning_rate": order.learning_rate,
        },
    }
    if order.stream:
        run["data"]["stream"] = True
    return run


def _earlier(out: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The run to go on with.

    Raises:
        CheckpointError: there is none, or it was asked for in other words.
    """
    before = read_run(out)
    if before is None:
        raise CheckpointError(f"{out} holds no run to resume. Leave --resume out.")
    now: dict[str, Any] = _plain(run)
    for part in ("data", "energy", "training"):
        for name, value in now[part].items():
            if name not in ("steps", "epochs") and before[part].get(name) != value:
                raise CheckpointError(
                    f"The run in {out} was trained with {part} {name} {before[part].get(name)!r}, "
                    f"and is to be resumed with {value!r}. Give what it was trained with, or "
                    f"leave --resume out."
                )
    return before


def _plain(value: Any) -> Any:
    """A value as it reads back from JSON."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _joined(earlier: dict[str, Any] | None, history: History) -> dict[str, list[Any]]:
    """The history of all parts of a run."""
    now = {name: list(column) for name, column in asdict(history).items()}
    before = (earlier or {}).get("history")
    if not before or not now["step"]:
        return now if before is None else before
    part = sum(step < now["step"][0] for step in before["step"])
    spent = before["seconds"][part - 1] if part else 0.0
    now["seconds"] = [spent + seconds for seconds in now["seconds"]]
    return {name: before[name][:part] + column for name, column in now.items()}


def _mean(energy: ll.Energy, items: Items, strategy: Strategy) -> float:
    if isinstance(strategy, ll.Masking) and items.data.kind == "text":
        # Masks of a fixed seed, for without one every place would be hidden in turn.
        with torch.no_grad():
            parts = [strategy.judge(energy, part, None) for part in items.y.split(256)]
        return float(torch.cat(parts).double().mean())
    return float(ll.score(energy, items.y, x=items.x).double().mean())


def _report(run: dict[str, Any], energy: ll.Energy, out: Path) -> None:
    about, result = run["data"], run["result"]
    kept = about["n"] - about["trained_on"]
    energies = result["energy"]
    held = energies["held-out"]
    strategy = run["training"]
    told = ", ".join(f"{name}={value}" for name, value in strategy["options"].items())
    rows = [
        (
            "energy",
            f"{run['energy']['class']}, event {shape(energy.event)}, "
            f"{plural(sum(p.numel() for p in energy.parameters()), 'parameter')}, scaling "
            f"{run['energy']['scaling']}",
        ),
        ("data", f"{about['description']}: {amount(run, 'to train on')}"),
        ("strategy", f"{strategy['class']}({told})"),
        ("steps", f"{result['steps']:,}, {REASONS[result['stopped']]}"),
        ("mean energy", f"{energies['training']:.4g} on {trained_on(run)}"),
        ("", f"{held:.4g} on held-out data" if kept else "nothing was held out"),
        ("time", f"{result['seconds']:.1f} s"),
        ("saved in", str(out)),
    ]
    if result["reseeded"]:
        rows.insert(4, ("reseeded", f"{plural(result['reseeded'], 'code')} that no item used"))
    page = console()
    page.print(facts(rows))
    page.print("\n[bold]Next[/bold]")
    third = f" --energy {run['energy']['name']}" if ":" in run["energy"]["name"] else ""
    for question in _suggestions(run):
        page.print(
            f"  [cyan]{escape(f'lowland ask {out} {question}{third}')}[/cyan]", soft_wrap=True
        )
    page.print(f"  [cyan]{escape(f'lowland show {out}{third}')}[/cyan]", soft_wrap=True)


def amount(run: dict[str, Any], used: str) -> str:
    """Words for how much data a run has seen and kept."""
    about = run["data"]
    if about.get("stream"):
        rows = run.get("result", {}).get("rows")
        return "a stream" if rows is None else f"a stream of {rows:,} rows, nothing held out"
    kept = about["n"] - about["trained_on"]
    return f"{about['trained_on']:,} {used}, {kept:,} held out"


def trained_on(run: dict[str, Any]) -> str:
    """Words for the items of which the mean energy is told."""
    about = run["data"]
    return f"the first {about['n']:,} rows" if about.get("stream") else "training data"


def _suggestions(run: dict[str, Any]) -> list[str]:
    about = run["data"]
    if about["kind"] == "text":
        blank = shlex.quote("the [MASK] of the [MASK]")
        return [f"complete --text {blank}", "score --limit 5", "encode"]
    if about["conditional"]:
        return ["score", "predict"]
    if math.prod(about["event"]) == 1:
        return ["score", "sample --count 16"]
    seen = "left" if about["kind"] == "image" else (about["names"] or ["0"])[0]
    return ["score", f"complete --observed {shlex.quote(seen)}", "sample --count 16"]
