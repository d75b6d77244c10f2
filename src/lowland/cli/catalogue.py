"""`lowland list`: the energies and strategies there are, and which go together."""

from typing import TYPE_CHECKING

import typer

from lowland.cli._errors import Verb
from lowland.cli._options import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from lowland import Energy


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("list", cls=Verb, epilog=examples("lowland list"))(catalogue)


def catalogue() -> None:
    """Show the energies and the strategies, and which strategy can train which energy."""
    from rich.table import Table

    from lowland.capabilities import offered
    from lowland.cli._names import energy_classes, strategy_classes
    from lowland.cli._text import console
    from lowland.train import Strategy

    page = console()
    energies = {name: (cls, _tiny(cls)) for name, cls in energy_classes().items()}
    strategies = strategy_classes()

    table = Table(
        "energy", "what it is", "latent", "offers", title="Energies", title_justify="left"
    )
    for name, (kind, energy) in energies.items():
        latent = "–" if energy is None else type(energy.latent).__name__
        table.add_row(name, _first_line(kind), latent, ", ".join(offered(kind)) or "–")
    page.print(table)

    table = Table(
        "strategy", "what it does", "kind", "needs", title="Strategies", title_justify="left"
    )
    for name, cls in strategies.items():
        needs = ", ".join(need.__name__ for need in cls.needs) or "–"
        table.add_row(name, _first_line(cls), cls.kind, needs)
    page.print(table)

    table = Table(title="Which go together", title_justify="left")
    table.add_column("energy", no_wrap=True)
    table.add_column("strategies that can train it")
    made: dict[str, Strategy] = {name: cls() for name, cls in strategies.items()}
    for name, (_, energy) in energies.items():
        suits = [s for s, cls in made.items() if energy and cls.unsuited(energy) is None]
        table.add_row(name, ", ".join(suits) or "–")
    page.print(table)
    page.print(
        "An energy with a dash has nothing to train. `lowland fit` chooses a strategy that "
        "suits if none is named, and takes energies of yours as package.module:Class."
    )


def _tiny(cls: "type[Energy]") -> "Energy | None":
    """An instance to look at, or None of a class that data alone cannot build."""
    from lowland._errors import LowlandError
    from lowland.cli._names import build_energy

    for y, x in _samples():
        try:
            return build_energy(cls, y, x, 0, {})
        except LowlandError:
            continue
    return None


def _samples() -> "Iterator[tuple[Tensor, Tensor]]":
    """Data of every kind that an energy may ask for, the plainest first, `(y, x)`."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for columns in (2, 48):  # some energies live in the plane, and some codes want room
        y = torch.randn(64, columns, generator=generator)
        yield y, y[:, :1]
    images = torch.rand(64, 1, 16, 16, generator=generator)
    clips = torch.rand(64, 2, 1, 16, 16, generator=generator)
    yield images, clips
    yield images.round(), clips
    tokens = torch.randint(6, (64, 8), generator=generator)
    yield tokens, tokens


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]
