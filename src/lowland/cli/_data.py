"""Data of a run: read the same way by every verb, so that held-out items stay held out."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowland._errors import DataError, DomainError
from lowland.cli._streaming import first_rows, open_stream
from lowland.data import Dataset, read
from lowland.pretext import Given, region

_TABLES = (".csv", ".tsv", ".parquet")


class Items(NamedTuple):
    """Some items, ready for an energy.

    Attributes:
        y: `(n, *event)`.
        x: what y is conditioned on, `(n, ...)`, or None.
        rows: the place of each item in its source, `(n,)` int64.
        data: the items as they were read, before any split into x and y.
        halves: how x and y make up a datum, or None.
    """

    y: Tensor
    x: Tensor | None
    rows: Tensor
    data: Dataset
    halves: Given | None

    def first(self, limit: int | None) -> "Items":
        """At most so many items."""
        if limit is not None and limit < 1:
            raise DomainError(f"'--limit' must be at least 1. Got {limit}.")
        part = slice(0, limit)
        x = None if self.x is None else self.x[part]
        return Items(self.y[part], x, self.rows[part], self.data[part], self.halves)

    def whole(self, y: Tensor) -> Tensor:
        """Answers `(n, ..., *event)` as whole data again, x put back where it belongs."""
        if self.halves is None or self.x is None:
            return y
        x = self.x.reshape(len(self.x), *[1] * (y.dim() - 2), -1)
        return self.halves.join(x.expand(*y.shape[:-1], x.shape[-1]), y)


def located(source: str) -> str:
    """A source that means the same from another folder."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def reader_options(
    *,
    columns: str | None,
    drop: str | None,
    label: str | None,
    key: str | None,
    condition: str | None,
    size: str | None,
    vocabulary: int | None = None,
    length: int | None = None,
    errors: str | None = None,
) -> dict[str, Any]:
    """What the command line says of a source, as `lowland.data.read` takes it.

    Raises:
        DomainError: the size is not HEIGHTxWIDTH.
    """
    options: dict[str, Any] = {"label": label, "key": key, "condition": condition}
    options |= {"vocabulary": vocabulary, "length": length, "errors": errors}
    for name, text in (("columns", columns), ("drop", drop)):
        options[name] = None if text is None else [part.strip() for part in text.split(",")]
    if size is not None:
        height, _, width = size.lower().partition("x")
        if not (height.isdigit() and width.isdigit()):
            raise DomainError(
                f"'--size' must be HEIGHTxWIDTH in pixels, such as 32x32. Got {size!r}."
            )
        options["size"] = [int(height), int(width)]
    return {name: value for name, value in options.items() if value is not None}


def read_source(source: str, options: dict[str, Any], seed: int) -> Dataset:
    """Read a source; a toy whose text names no seed takes the run's.

    Raises:
        DataError: it cannot be read.
        DomainError: an option does not suit it.
    """
    taken = dict(options)
    if "size" in taken:
        taken["size"] = tuple(taken["size"])
    if source.startswith("toy:") and "seed=" not in source:
        taken["seed"] = seed
    return read(source, **taken)


def held_out_rows(n: int, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
    """The rows to train on and those to keep; a fraction below 1, or a count.

    Raises:
        DomainError: one of the two would be empty, except that 0 holds nothing out.
    """
    rows = torch.arange(n)
    if held_out == 0:
        return rows, rows[:0]
    amount = int(held_out) if held_out >= 1 and held_out == int(held_out) else held_out
    train, test = Dataset(rows).split(amount, torch.Generator().manual_seed(seed))
    return train.y, test.y


def take(data: Dataset, rows: Tensor, given: str | None) -> Items:
    """The items at `rows`, split into (x, y) where a run is conditional.

    Raises:
        DomainError: the region means nothing for these data, or they have an x already.
    """
    chosen = data[rows]
    if given is None:
        return Items(chosen.y, chosen.x, rows, chosen, None)
    if data.x is not None:
        raise DomainError(
            "'--given' splits data without x, and these have one already. Leave it out."
        )
    halves = Given(region(given, data.event, columns=data.names))
    x, y = halves.split(chosen.y)
    return Items(y, x, rows, chosen, halves)


def fingerprint(data: Dataset) -> str:
    """A checksum of the items, to notice that a source is no longer what it was."""
    return hashlib.sha256(data.y.contiguous().cpu().numpy().tobytes()).hexdigest()


def items_for(run: dict[str, Any] | None, source: str | None, seed: int) -> Items:
    """The items that a question is asked about: the run's held-out ones, or those of a source.

    Of a run on a stream they are its first rows.

    Raises:
        DataError: the run's source has changed since, so that what is held out is not known.
        DomainError: there is no run to say where the data are.
    """
    if source is None:
        return _remembered(run)
    if run is None:
        return _all(read_source(source, {}, seed), None)
    data = read_source(source, _options_for(source, run["data"]), seed)
    return _all(data, run["data"]["given"])


def _all(data: Dataset, given: str | None) -> Items:
    return take(data, torch.arange(len(data)), given)


def _remembered(run: dict[str, Any] | None) -> Items:
    if run is None:
        raise DomainError(
            "This energy was saved without the run that trained it, so it is not known what to ask "
            "about. Say it with --data SOURCE."
        )
    about = run["data"]
    if about.get("stream"):
        data = first_rows(open_stream(about["source"], about["options"]))
    else:
        data = read_source(about["source"], about["options"], about["seed"])
    if fingerprint(data) != about["sha256"]:
        raise DataError(
            f"{about['source']} is not what this run was trained on: its content has changed, so "
            f"that it is not known which items were held out. Say what to ask about with --data."
        )
    if about["held_out"] == 0:
        return _all(data, about["given"])
    return take(data, held_out_rows(len(data), about["held_out"], about["seed"])[1], about["given"])


def _options_for(source: str, about: dict[str, Any]) -> dict[str, Any]:
    """How to read another source so that its items are like the run's."""
    path = Path(source).expanduser()
    if about["kind"] == "text":
        return {name: about["options"][name] for name in ("tokenizer",)} | {
            "length": about["event"][0]
        }
    if path.is_dir() and about["kind"] == "image":
        channels, height, width = about["event"]
        return {"size": [height, width], "grayscale": channels == 1}
    if path.suffix.lower() in _TABLES and about["kind"] == "table" and about["names"]:
        return {"columns": about["names"]}
    if path.suffix.lower() == ".npz":
        return {
            name: about["options"][name]
            for name in ("key", "condition")
            if name in about["options"]
        }
    return {}
