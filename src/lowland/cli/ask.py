"""`lowland ask`: put a question to a run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lowland._errors import DomainError
from lowland.cli._errors import Verb
from lowland.cli._options import ConfigOption, examples

# What each question takes besides the data: the table that decides what is refused.
TAKES: dict[str, tuple[str, ...]] = {
    "score": ("data", "text", "limit", "beta"),
    "complete": ("data", "text", "limit", "observed", "n", "steps", "seed"),
    "project": ("data", "limit", "beta", "steps"),
    "sample": ("data", "count", "beta", "steps", "seed"),
    "encode": ("data", "text", "limit"),
    "predict": ("data", "limit", "n", "steps", "seed"),
    "likelihood": ("data", "limit", "beta", "seed"),
}
OUTPUTS = (".npz", ".csv")
PICTURES = (".png", ".svg", ".pdf", ".gif", ".mp4")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        "ask",
        cls=Verb,
        epilog=examples(
            "lowland ask runs/digits score",
            "lowland ask runs/digits score --data new-digits.npz --out scores.csv",
            "lowland ask runs/digits complete --observed left --n 3 --picture answers.png",
            "lowland ask runs/people complete --observed age,city --out answers.csv",
            "lowland ask runs/digits sample --count 25 --beta 4 --picture new.png",
            "lowland ask runs/text complete --text 'the [[MASK] of the [[MASK]'",
            "lowland ask runs/mine project --energy mymodule:MyEnergy",
        ),
    )(ask)


def ask(
    run: Annotated[Path, typer.Argument(help="The folder that `lowland fit` wrote.")],
    question: Annotated[str, typer.Argument(help=f"One of {', '.join(TAKES)}.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="What to ask about; the run's held-out data if not said.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="TEXT",
            help="A sentence to ask about, of a run on text; complete fills in each [MASK]; "
            "repeatable.",
        ),
    ] = None,
    observed: Annotated[
        str | None,
        typer.Option(
            "--observed",
            metavar="REGION",
            help="complete: what is given: left, right, top, bottom, or columns such as age,0-3.",
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="complete, predict: answers an item (5).")
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            "--beta",
            min=0,
            help="score, project (inf), sample, likelihood (1): inverse temperature.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="complete, project, predict, sample: the most steps of a search or chain.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="sample: how many to draw (16).")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, help="complete, predict, sample, likelihood: of randomness (0)."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="The most items to ask about (10; for score, encode and likelihood, all).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write every answer to a .npz or .csv file."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Draw the answers: .png, .svg or .pdf; predict of videos goes on as a .gif or "
            ".mp4.",
        ),
    ] = None,
    energy: Annotated[
        str | None,
        typer.Option(
            "--energy",
            metavar="MODULE:CLASS",
            help="The class of the run's energy if it is not lowland's: it is imported first, for "
            "loading never imports code by itself.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Ask a trained energy about data.

    [bold]score[/bold] how unusual each item is · [bold]complete[/bold] the hidden part, several
    answers · [bold]project[/bold] the nearest plausible point · [bold]sample[/bold] new items ·
    [bold]encode[/bold] features · [bold]predict[/bold] from x to several y ·
    [bold]likelihood[/bold] the log density of each item, with its error
    """
    if question not in TAKES:
        raise DomainError(f"'{question}' is not a question. Ask one of {', '.join(TAKES)}.")
    given: dict[str, Any] = {
        "data": data,
        "text": text or None,
        "observed": observed,
        "n": n,
        "beta": beta,
        "steps": steps,
        "count": count,
        "seed": seed,
        "limit": limit,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in TAKES[question]:
            takers = [other for other, names in TAKES.items() if name in names]
            raise DomainError(
                f"{question} does not take --{name}; {', '.join(takers)} does. {question} takes "
                f"{', '.join(f'--{other}' for other in TAKES[question])}."
            )
    if data is not None and text:
        raise DomainError("Say what to ask about with one of --data and --text.")
    if question == "complete" and observed is None and not text:
        raise DomainError(
            "complete needs --observed, what is given of each item: left, right, top, bottom, or "
            "columns; or --text with [MASK] in it."
        )
    _check_suffix(out, "--out", OUTPUTS)
    _check_suffix(picture, "--picture", PICTURES)
    from lowland.cli._answers import answer

    answer(run, question, given, out=out, picture=picture, energy_class=energy)


def _check_suffix(path: Path | None, flag: str, known: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in known:
        raise DomainError(f"'{flag}' must end in one of {', '.join(known)}. Got {path}.")
