"""`lowland fit`: shape an energy on data and keep it, with all that is needed to ask it later."""

from pathlib import Path
from typing import Annotated

import typer

from lowland._errors import DomainError
from lowland.cli._errors import INTERRUPTED, Verb
from lowland.cli._options import ConfigOption, examples, settings

ENERGY, TRAINING, DATA = "Energy and strategy", "Training", "Data"
SCALINGS = ("auto", "none", "range", "standard")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        "fit",
        cls=Verb,
        epilog=examples(
            "lowland fit digits --energy kmeans --set k=64 --out runs/digits",
            "lowland fit toy:spiral --energy network --strategy denoising-score-matching "
            "--strategy-set noise=0.1 --steps 3000 --out runs/spiral",
            "lowland fit people.csv --drop id --label city --energy autoencoder "
            "--set code=2 --epochs 200 --out runs/people",
            "lowland fit digits --energy least-squares --given left --out runs/blurry",
            "lowland fit street.mp4 --energy next-frame --size 48x64 --out runs/street",
            "lowland fit corpus.txt --energy masked-tokens --out runs/text",
            "lowland fit data.npz --energy mymodule:MyEnergy --out runs/mine",
            "lowland fit rows.npy --stream --energy kmeans --set k=256 --out runs/wells",
            "lowland fit --config run.toml --seed 1",
        ),
    )(fit)


def fit(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="digits, toy:NAME (such as toy:spiral?n=2000), a .csv, .tsv, .parquet, .npz, "
            ".npy or .txt file, a video, or a folder of images."
        ),
    ],
    energy: Annotated[
        str,
        typer.Option(
            "--energy",
            metavar="NAME",
            help="A name of `lowland list`, or package.module:Class for one of yours.",
            rich_help_panel=ENERGY,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to keep the run.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An option of the energy, such as k=64; repeatable.",
            rich_help_panel=ENERGY,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="A name of `lowland list`, or package.module:Class; by default one that suits.",
            rich_help_panel=ENERGY,
        ),
    ] = None,
    strategy_set: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy-set",
            metavar="NAME=VALUE",
            help="An option of the strategy, such as noise=0.4; repeatable.",
            rich_help_panel=ENERGY,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="Steps at most: sweeps of coordinate descent (100 if not said) or batches (2000).",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="The same in passes over the data.", rich_help_panel=TRAINING
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, help="Items a step; 128 if not said.", rich_help_panel=TRAINING
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", help="Of Adam; 0.001 if not said.", rich_help_panel=TRAINING
        ),
    ] = None,
    scaling: Annotated[
        str,
        typer.Option(
            "--scaling",
            metavar="|".join(SCALINGS),
            help="The units of training, saved with the run; auto is range for images, standard "
            "for other numbers.",
            rich_help_panel=DATA,
        ),
    ] = "auto",
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            min=0,
            help="A fraction or a count of items to keep for questions.",
            rich_help_panel=DATA,
        ),
    ] = 0.1,
    given: Annotated[
        str | None,
        typer.Option(
            "--given",
            metavar="REGION",
            help="What is observed (left, right, top, bottom, or columns such as age,0-3), for "
            "energies that predict the rest from it.",
            rich_help_panel=DATA,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of all randomness.", rich_help_panel=TRAINING)
    ] = 0,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="A,B", help="The columns of a table to take.", rich_help_panel=DATA
        ),
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop", metavar="A,B", help="Columns of a table to leave out.", rich_help_panel=DATA
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="The column or array of labels, set apart.",
            rich_help_panel=DATA,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="NAME", help="The array of an .npz file.", rich_help_panel=DATA
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--condition",
            metavar="NAME",
            help="The array of an .npz file that is x.",
            rich_help_panel=DATA,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HxW", help="Resize images to this.", rich_help_panel=DATA),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read a .npy, .parquet or .txt file block by block, for more than memory holds. "
            "Units are measured on the first rows, and nothing is held out.",
            rich_help_panel=DATA,
        ),
    ] = False,
    vocabulary: Annotated[
        int | None,
        typer.Option(
            "--vocabulary", help="Tokens of a text's vocabulary (8192).", rich_help_panel=DATA
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option("--length", help="Tokens of a block of text (128).", rich_help_panel=DATA),
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option(
            "--errors",
            metavar="strict|replace",
            help="What becomes of bytes of a text that are not UTF-8 (strict).",
            rich_help_panel=DATA,
        ),
    ] = None,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            "--checkpoint-every", min=1, help="Steps between saves.", rich_help_panel=TRAINING
        ),
    ] = 500,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in --out, exactly.", rich_help_panel=TRAINING
        ),
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no bar.")] = False,
    config: ConfigOption = None,
) -> None:
    """Shape an energy on data, and keep it in a folder to be asked.

    Ctrl-C keeps what was learned until then.
    """
    if scaling not in SCALINGS:
        raise DomainError(f"'--scaling' must be one of {', '.join(SCALINGS)}. Got {scaling!r}.")
    if steps is not None and epochs is not None:
        steps, epochs = _louder(context, steps, epochs)
    if stream:
        held_out = _nothing_held_out(context, held_out, given)
    from lowland.cli._data import located, reader_options
    from lowland.cli._training import Order, train

    options = reader_options(
        columns=columns,
        drop=drop,
        label=label,
        key=key,
        condition=condition,
        size=size,
        vocabulary=vocabulary,
        length=length,
        errors=errors,
    )
    order = Order(
        source=located(source),
        reader=options,
        energy=energy,
        energy_options=settings(set_ or [], "--set"),
        strategy=strategy,
        strategy_options=settings(strategy_set or [], "--strategy-set"),
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        scaling=scaling,
        held_out=held_out,
        given=given,
        seed=seed,
        stream=stream,
    )
    stopped = train(
        order,
        out,
        checkpoint_every=checkpoint_every,
        resume=resume,
        progress=False if no_progress else None,
    )
    if stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _louder(context: typer.Context, steps: int, epochs: int) -> tuple[int | None, int | None]:
    """Of steps and epochs, the one that the command line gives, where a file gives the other."""
    said = [
        str(getattr(context.get_parameter_source(name), "name", "")) == "COMMANDLINE"
        for name in ("steps", "epochs")
    ]
    if said[0] == said[1]:
        raise DomainError(
            f"Say how long to train: give one of --steps and --epochs. Got {steps} and {epochs}."
        )
    return (steps, None) if said[0] else (None, epochs)


def _nothing_held_out(context: typer.Context, held_out: float, given: str | None) -> float:
    """0, unless something was asked for that a stream does not give."""
    said = getattr(context.get_parameter_source("held_out"), "name", "DEFAULT") != "DEFAULT"
    if said and held_out != 0:
        raise DomainError("'--stream' holds nothing out: leave '--held-out' out.")
    if given is not None:
        raise DomainError("'--given' needs all the data in memory: leave it or '--stream' out.")
    return 0.0
