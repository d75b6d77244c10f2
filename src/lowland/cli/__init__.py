"""The command line: one verb a file; `main` is what the `lowland` script calls.

| file | verb |
|---|---|
| `fit.py` | `lowland fit`: shape an energy on data and keep it as a run |
| `ask.py`, `_answers.py` | `lowland ask`: put a question to a run |
| `show.py` | `lowland show`: what a run is |
| `catalogue.py` | `lowland list`: the energies and strategies there are |
| `demo` | `lowland demo`: a report on real digits |

Nothing here imports torch before a verb runs, so that help is quick.
"""

from pathlib import Path
from typing import Annotated

import typer

from lowland.cli._errors import OneLineErrors, Verb
from lowland.cli._options import examples
from lowland.cli.ask import register as register_ask
from lowland.cli.catalogue import register as register_list
from lowland.cli.fit import register as register_fit
from lowland.cli.show import register as register_show

app = typer.Typer(
    name="lowland",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=examples(
        "lowland list",
        "lowland fit digits --energy kmeans --set k=64 --out runs/digits",
        "lowland ask runs/digits complete --observed left --picture answers.png",
        "lowland show runs/digits",
        "lowland demo --out demo",
    ),
)


def _version(wanted: bool) -> bool:
    if wanted:
        from lowland._version import __version__

        typer.echo(f"lowland {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def lowland(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Learn an energy whose lowlands are your data. Then ask it questions."""
    context.obj = debug


register_fit(app)
register_ask(app)
register_show(app)
register_list(app)


@app.command(
    "demo", cls=Verb, epilog=examples("lowland demo", "lowland demo --quick --out /tmp/demo")
)
def _demo(
    out: Annotated[Path, typer.Option("--out", help="The folder to write report.html in.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all randomness.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps, rougher answers.")] = False,
) -> None:
    """Train three energies on real digits, ask them everything, and write one HTML report."""
    from lowland.cli.demo import demo

    demo(out, seed, quick=quick)


def main() -> None:
    """Run the command line."""
    app()
