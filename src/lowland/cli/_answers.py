"""What `lowland ask` does: each question as a table on the terminal, rows in a file, a picture."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor

import lowland as ll
from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland.cli._data import Items, items_for
from lowland.cli._files import save_arrays, save_film, save_picture, save_rows
from lowland.cli._names import find_energy
from lowland.cli._run import read_run
from lowland.cli._sentences import blanks, filled, typed
from lowland.cli._text import console, plural
from lowland.pretext import region

SHOWN = 10
LIMIT = 10
FILMS = (".gif", ".mp4")
# Pasts in a film, futures of each, and how many steps they go on.
FILMED, FUTURES, STEPS = 4, 3, 12
# The questions that are asked of all items unless a limit is said.
_OF_ALL = ("score", "encode", "sample", "likelihood")
_OF_ITEMS = ("data", "text", "limit", "seed", "count")


class Answer(NamedTuple):
    """An answer in every form in which it can be asked for.

    Attributes:
        summary: a sentence on all of it.
        table: a few rows for the terminal.
        arrays: everything, by name, for an .npz file.
        header: the names of the columns of `rows`.
        rows: everything, a row each, for a .csv file.
        draw: makes a picture.
        film: writes a film to a path, where the answer can be one.
    """

    summary: str
    table: Table
    arrays: dict[str, Tensor]
    header: list[str]
    rows: Tensor
    draw: Callable[[], Any]
    film: Callable[[Path], Any] | None = None


class Asked(NamedTuple):
    """A question with all that is needed to answer it."""

    energy: ll.Energy
    items: Items
    options: dict[str, Any]
    generator: torch.Generator


def answer(
    folder: Path,
    question: str,
    options: dict[str, Any],
    *,
    out: Path | None,
    picture: Path | None,
    energy_class: str | None,
) -> None:
    """Load a run, ask it, and show, write and draw the answer.

    Raises:
        LowlandError: the run, the data or an option are no good.
    """
    if energy_class is not None:
        find_energy(energy_class)
    run = read_run(folder)
    energy = ll.load(folder)
    seed = int(options.get("seed", 0))
    if "text" in options:
        items = typed(folder, options["text"], energy)
    else:
        items = items_for(run, options.get("data"), seed)
    if items.y.is_floating_point() and energy.dtype is not None:
        x = items.x
        x = x.to(energy.dtype) if x is not None and x.is_floating_point() else x
        items = items._replace(y=items.y.to(energy.dtype), x=x)
    quick = items.data.kind != "text" or question != "score"  # which hides each place in turn
    default = None if quick and question in _OF_ALL else LIMIT
    items = items.first(options.get("limit", default))
    taken = {k: v for k, v in options.items() if k not in _OF_ITEMS}
    generator = torch.Generator().manual_seed(seed)
    if question == "sample":
        result = _sample(Asked(energy, items, taken, generator), int(options.get("count", 16)))
    else:
        result = _QUESTIONS[question](Asked(energy, items, taken, generator))
    page = console()
    page.print(result.summary, markup=False)
    page.print(result.table)
    if out is not None:
        if out.suffix.lower() == ".csv":
            save_rows(out, result.header, result.rows)
        else:
            save_arrays(out, result.arrays)
        page.print(f"written to {out}", markup=False, soft_wrap=True)
    if picture is not None and picture.suffix.lower() in FILMS:
        if result.film is None:
            raise DomainError(
                f"'--picture {picture}' is a film, and the answer is none: only predict of a "
                f"run on videos is. Give .png, .svg or .pdf."
            )
        save_film(picture, result.film)
        page.print(f"filmed in {picture}", markup=False, soft_wrap=True)
    elif picture is not None:
        save_picture(picture, result.draw)
        page.print(f"drawn in {picture}", markup=False, soft_wrap=True)


def _score(asked: Asked) -> Answer:
    items = asked.items
    score = ll.score(asked.energy, items.y, x=items.x, **asked.options)
    order = score.argsort(descending=True, stable=True)
    worst = order[:5]
    labels = items.data.labels
    table = _table("row", "score", *(["label"] if labels is not None else []), title="Most unusual")
    for i in worst.tolist():
        label = [] if labels is None else [_class_name(items, int(labels[i]))]
        table.add_row(str(int(items.rows[i])), f"{float(score[i]):.4g}", *label)
    summary = (
        f"score of {plural(len(score), 'item')}: mean {float(score.double().mean()):.4g}, from "
        f"{float(score.min()):.4g} to {float(score.max()):.4g} (low is usual)"
    )

    def draw() -> Any:
        if items.data.kind == "image":
            shown = order[:25]
            titles = [f"{value:.3g}" for value in score[shown].tolist()]
            return ll.plot.images(items.data.y[shown], titles=titles)
        if asked.energy.event == (2,) and items.x is None:
            return ll.plot.surface(asked.energy, data=items.y)
        return ll.plot.histogram({"items": score})

    return Answer(
        summary,
        table,
        {"row": items.rows, "score": score},
        ["row", "score"],
        _columns(items.rows, score),
        draw,
    )


def _class_name(items: Items, label: int) -> str:
    return str(label) if items.data.classes is None else items.data.classes[label]


def _complete(asked: Asked) -> Answer:
    items = asked.items
    options = dict(asked.options)
    if "observed" not in options:
        found = ll.complete(
            asked.energy, items.y, observed=blanks(items), generator=asked.generator, **options
        )
        answer = _several(asked, found, lambda: ll.plot.histogram({"answers": found.energy}))
        return answer._replace(table=filled(items, found))
    names = items.data.names if items.halves is None else None
    observed = region(str(options.pop("observed")), asked.energy.event, columns=names)
    found = ll.complete(
        asked.energy, items.y, observed=observed, x=items.x, generator=asked.generator, **options
    )

    def draw() -> Any:
        if items.data.kind == "image" and items.halves is None:
            return ll.plot.completions(items.y, observed, found)
        return ll.plot.samples(_reached(items.whole(found.y), found.count))

    return _several(asked, found, draw)


def _predict(asked: Asked) -> Answer:
    items = asked.items
    if items.x is None:
        raise CapabilityError(
            "predict goes from x to y, and this run has no x: it models y alone. Ask complete "
            "--observed REGION, or train with `lowland fit … --given REGION`."
        )
    x = items.x
    found = ll.predict(asked.energy, x, generator=asked.generator, **asked.options)
    event = asked.energy.event
    frames = items.halves is None and x.dim() == 5 and tuple(x.shape[2:]) == event

    def draw() -> Any:
        if frames:
            return ll.plot.futures(x, found, y=items.y)
        whole = ll.Completion(items.whole(found.y), found.energy, found.count)
        if items.data.kind == "image" and items.halves is not None:
            return ll.plot.completions(items.data.y, items.halves.observed, whole)
        return ll.plot.samples(_reached(whole.y, found.count))

    def film(path: Path) -> None:
        pasts = x[:FILMED]
        rolled = ll.rollout(asked.energy, pasts, steps=STEPS, n=FUTURES, generator=asked.generator)
        seen = pasts.unsqueeze(1).expand(-1, FUTURES, *pasts.shape[1:])
        ll.plot.movie(torch.cat([seen, rolled.y], 2).flatten(0, 1), path, columns=FUTURES)

    return _several(asked, found, draw)._replace(film=film if frames else None)


def _reached(y: Tensor, count: Tensor) -> Tensor:
    """The answers that there are, of all items, `(m, *event)`."""
    ranks = torch.arange(y.shape[1])
    return y[ranks.unsqueeze(0) < count.unsqueeze(1)]


def _several(asked: Asked, found: ll.Completion, draw: Callable[[], Any]) -> Answer:
    """Several answers an item, best first."""
    items = asked.items
    m, n = found.energy.shape
    table = _table("row", *(f"answer {i + 1}" for i in range(min(n, 8))), title="Energies")
    for i in range(min(m, SHOWN)):
        cells = [f"{e:.4g}" if math.isfinite(e) else "–" for e in found.energy[i, :8].tolist()]
        table.add_row(str(int(items.rows[i])), *cells)
    whole = items.whole(found.y)
    there = torch.arange(n).unsqueeze(0) < found.count.unsqueeze(1)
    rank = torch.arange(1, n + 1).expand(m, n)
    rows = items.rows.unsqueeze(1).expand(m, n)
    distinct = found.count.double().mean().item()
    return Answer(
        f"{plural(m, 'item')}, {distinct:.3g} distinct answers each on average, best first",
        table,
        {"row": items.rows, "y": whole, "energy": found.energy, "count": found.count},
        ["row", "rank", "energy", *_names_of(items, whole[0, 0])],
        _columns(rows[there], rank[there], found.energy[there], whole[there].flatten(1)),
        draw,
    )


def _project(asked: Asked) -> Answer:
    items = asked.items
    nearest = ll.project(asked.energy, items.y, x=items.x, **asked.options)
    before = ll.score(asked.energy, items.y, x=items.x)
    after = ll.score(asked.energy, nearest, x=items.x)
    moved = (nearest - items.y).flatten(1).double().square().mean(1).sqrt()
    table = _table("row", "energy before", "energy after", "moved (rms)", title="Projections")
    for i in range(min(len(nearest), SHOWN)):
        cells = [f"{float(value[i]):.4g}" for value in (before, after, moved)]
        table.add_row(str(int(items.rows[i])), *cells)
    whole = items.whole(nearest)

    def draw() -> Any:
        return ll.plot.projections(items.data.y, whole)

    return Answer(
        f"{plural(len(nearest), 'item')} moved by {float(moved.mean()):.4g} on average (root mean "
        f"square of the elements)",
        table,
        {"row": items.rows, "y": whole, "energy": after, "energy_before": before},
        ["row", "energy_before", "energy", *_names_of(items, whole[0])],
        _columns(items.rows, before, after, whole.flatten(1)),
        draw,
    )


def _sample(asked: Asked, count: int) -> Answer:
    items = asked.items
    x = items.x
    if x is not None:
        if count > len(x):
            raise ShapeError(
                f"'--count' must be at most {len(x)}, for each new item needs an x of the data. "
                f"Got {count}. Give more data with --data."
            )
        items = items.first(count)
        x = items.x
    draws = ll.sample(asked.energy, count, x=x, generator=asked.generator, **asked.options)
    y, value = draws.last, draws.diagnostics.energy[:, -1]
    whole = items.whole(y) if x is not None else y
    how = "independent exact draws" if draws.diagnostics.exact else "the last of each chain"
    table = _table("", "energy", title="New items")
    for name, number in (("mean", value.mean()), ("lowest", value.min()), ("highest", value.max())):
        table.add_row(name, f"{float(number):.4g}")
    refused = int(draws.diagnostics.nonfinite.sum())
    if refused:
        table.add_row("not finite", f"{refused:,} proposals refused")

    def draw() -> Any:
        if asked.energy.event == (2,) and x is None:
            return ll.plot.surface(asked.energy, data=y)
        return ll.plot.samples(whole)

    numbers = torch.arange(count)
    return Answer(
        f"{plural(count, 'new item')}: {how}",
        table,
        {"y": whole, "energy": value},
        ["draw", "energy", *_names_of(items, whole[0])],
        _columns(numbers, value, whole.flatten(1)),
        draw,
    )


def _encode(asked: Asked) -> Answer:
    items = asked.items
    features = ll.encode(asked.energy, items.y, x=items.x)
    n, size = features.shape
    table = _table("row", *(f"feature {j}" for j in range(min(size, 6))), title="Features")
    for i in range(min(n, 5)):
        table.add_row(str(int(items.rows[i])), *(f"{v:.4g}" for v in features[i, :6].tolist()))

    def draw() -> Any:
        return ll.plot.images(features.unsqueeze(0).unsqueeze(0))

    return Answer(
        f"{plural(size, 'feature')} of each of {plural(n, 'item')}",
        table,
        {"row": items.rows, "features": features},
        ["row", *(f"feature_{j}" for j in range(size))],
        _columns(items.rows, features),
        draw,
    )


def _likelihood(asked: Asked) -> Answer:
    items = asked.items
    found = ll.likelihood(
        asked.energy, items.y, x=items.x, generator=asked.generator, **asked.options
    )
    density, error = found.log_density, found.standard_error
    worst = density.argsort(stable=True)[:5]
    table = _table("row", "log density", "± error", title="Least likely")
    for i in worst.tolist():
        table.add_row(str(int(items.rows[i])), f"{float(density[i]):.5g}", f"{float(error[i]):.2g}")
    low, high = (float(end.mean()) for end in found.bracket)
    sure = "" if low == high else f", between {low:.5g} and {high:.5g}"

    def draw() -> Any:
        return ll.plot.histogram({"items": -density}, label="−log density (nats)")

    return Answer(
        f"log density of {plural(len(density), 'item')}: mean {float(density.mean()):.5g} nats, "
        f"log Z {float(found.log_z.mean()):.5g}{sure} by {found.method}",
        table,
        {
            "row": items.rows,
            "log_density": density,
            "standard_error": error,
            "log_z": found.log_z.reshape(-1),
            "bracket": torch.stack([end.reshape(-1) for end in found.bracket]),
        },
        ["row", "log_density", "standard_error"],
        _columns(items.rows, density, error),
        draw,
    )


_QUESTIONS: dict[str, Callable[[Asked], Answer]] = {
    "score": _score,
    "complete": _complete,
    "project": _project,
    "encode": _encode,
    "predict": _predict,
    "likelihood": _likelihood,
}


def _table(*columns: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _names_of(items: Items, one: Tensor) -> list[str]:
    """The names of the elements of one datum."""
    names = items.data.names
    if names is not None and len(names) == one.numel():
        return list(names)
    return [f"y{j}" for j in range(one.numel())]


def _columns(*parts: Tensor) -> Tensor:
    """Columns side by side in float64, which holds every row number exactly."""
    return torch.cat([p.double().reshape(len(p), -1) for p in parts], dim=1)
