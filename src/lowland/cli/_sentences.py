"""Sentences typed on the command line, and blanks in them filled in."""

import math
from pathlib import Path

import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

import lowland as ll
from lowland._errors import DomainError
from lowland.cli._data import Items
from lowland.data import Dataset, Tokenizer, sentences

TOKENIZER = "tokenizer.json"


def typed(folder: Path, texts: list[str], energy: ll.Energy) -> Items:
    """The texts as a run's energy takes them.

    Raises:
        DomainError: the run was not trained on text.
    """
    path = folder / TOKENIZER
    if not path.exists():
        raise DomainError(f"'--text' asks about text, and the run in {folder} has no {TOKENIZER}.")
    tokenizer = Tokenizer.load(path)
    y = sentences(texts, tokenizer, energy.event[0])
    data = Dataset(y, kind="text", description="typed text", tokenizer=tokenizer)
    return Items(y, None, torch.arange(len(y)), data, None)


def blanks(items: Items) -> Tensor:
    """True where a token is given, False at each [MASK], like y.

    Raises:
        DomainError: a text has no blank.
    """
    blank = None if items.data.tokenizer is None else items.data.tokenizer.blank
    observed = items.y != (-1 if blank is None else blank)
    if bool(observed.all(1).any()):
        raise DomainError(
            "complete fills in blanks: write [MASK] for each, such as --text 'the [MASK] of the "
            "[MASK]'."
        )
    return observed


def filled(items: Items, found: ll.Completion) -> Table:
    """The answers as text, best first."""
    table = Table("row", "energy", "text", title="Answers", title_justify="left")
    for i, answers in enumerate(found.y):
        for y, energy in zip(answers, found.energy[i].tolist(), strict=True):
            if math.isfinite(energy) and items.data.tokenizer is not None:
                text = items.data.tokenizer.decode(y)
                table.add_row(str(int(items.rows[i])), f"{energy:.4g}", escape(text))
    return table
