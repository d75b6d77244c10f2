"""`lowland show`: what a run is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowland._errors import DomainError
from lowland.cli._errors import Verb
from lowland.cli._options import ConfigOption, examples

if TYPE_CHECKING:
    from lowland import Energy

VIEWS = ("prototypes", "surface", "training")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        "show",
        cls=Verb,
        epilog=examples(
            "lowland show runs/digits",
            "lowland show runs/digits --picture prototypes.png",
            "lowland show runs/spiral --picture surface.png --view surface",
            "lowland show runs/mine --energy mymodule:MyEnergy",
        ),
    )(show)


def show(
    run: Annotated[Path, typer.Argument(help="The folder that `lowland fit` wrote.")],
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            "--view",
            metavar="|".join(VIEWS),
            help="What to draw; by default the first that suits the energy.",
        ),
    ] = None,
    energy: Annotated[
        str | None,
        typer.Option(
            "--energy",
            metavar="MODULE:CLASS",
            help="The class of the run's energy if it is not lowland's.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Show what a run is: its energy, data, training and versions."""
    if view is not None and view not in VIEWS:
        raise DomainError(f"'--view' must be one of {', '.join(VIEWS)}. Got {view!r}.")
    if view is not None and picture is None:
        raise DomainError("'--view' says what --picture draws: give --picture FILE too.")
    from lowland.cli._names import find_energy
    from lowland.cli._run import read_run
    from lowland.cli._text import console, facts
    from lowland.cli.ask import PICTURES, _check_suffix

    _check_suffix(picture, "--picture", PICTURES)
    if energy is not None:
        find_energy(energy)
    from lowland import load

    known = read_run(run)
    loaded = load(run)
    page = console()
    page.print(facts([*_of_energy(loaded), *([] if known is None else _of_run(known))]))
    if picture is not None:
        from lowland.cli._files import save_picture

        save_picture(picture, lambda: _figure(loaded, known, view))
        page.print(f"drawn in {picture}", markup=False, soft_wrap=True)


def _of_energy(energy: "Energy") -> list[tuple[str, str]]:
    from lowland import Scaled
    from lowland.capabilities import offered
    from lowland.cli._text import plural, shape

    inner = energy.energy if isinstance(energy, Scaled) else energy
    settings = [f"{name}={_brief(value)}" for name, value in inner.configuration().items()]
    count = sum(parameter.numel() for parameter in energy.parameters())
    rows = [
        ("energy", f"{type(inner).__name__}({', '.join(settings)})"),
        ("event", f"{shape(energy.event)} on {energy.domain}, latent {energy.latent}"),
        ("offers", ", ".join(offered(inner)) or "its definition alone"),
        ("parameters", f"{plural(count, 'number')} of {energy.dtype}"),
    ]
    if isinstance(energy, Scaled):
        scaling = energy.scaling
        rows.append(("scaling", f"(y - {_brief(scaling.shift)}) / {_brief(scaling.scale)}"))
    return rows


def _brief(value: object) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() <= 4:
            written = ", ".join(f"{number:.4g}" for number in value.detach().flatten().tolist())
            return f"[{written}]" if value.dim() else written
        return f"tensor {tuple(value.shape)}"
    if isinstance(value, torch.nn.Module):
        size = sum(parameter.numel() for parameter in value.parameters())
        return f"{type(value).__name__} of {size:,} parameters"
    return repr(value)


def _of_run(run: dict[str, Any]) -> list[tuple[str, str]]:
    from lowland.cli._text import sparkline
    from lowland.cli._training import REASONS, amount, trained_on

    about, training = run["data"], run["training"]
    given = "" if about["given"] is None else f", {about['given']} given"
    told = ", ".join(f"{name}={value}" for name, value in training["options"].items())
    rows = [
        ("data", f"{about['description']} ({about['source']}{given})"),
        ("", f"{amount(run, 'trained on')}, seed {about['seed']}"),
        ("strategy", f"{training['class']}({told})"),
    ]
    result = run.get("result")
    if result is None:
        rows.append(("training", "begun, and not ended in order; resume it with --resume"))
    else:
        rows.append(("steps", f"{result['steps']:,}, {REASONS[result['stopped']]}"))
    if result is not None and "energy" in result:
        energies = result["energy"]
        held = energies["held-out"]
        kept = "" if held is None else f", {held:.4g} on held-out data"
        rows.append(("mean energy", f"{energies['training']:.4g} on {trained_on(run)}{kept}"))
        rows.append(("time", f"{result['seconds']:.1f} s"))
    history = run.get("history", {"step": []})
    for name, column in (
        ("loss", "loss"),
        ("on data", "data_energy"),
        ("negatives", "negative_energy"),
    ):
        values = [value for value in history.get(column, []) if value is not None]
        if values:
            rows.append((name, f"{sparkline(values)}  {values[0]:.4g} → {values[-1]:.4g}"))
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    rows.append(("versions", versions))
    return rows


def _figure(energy: "Energy", run: dict[str, Any] | None, view: str | None) -> Any:
    from lowland import OneHot, plot
    from lowland.capabilities import Decodes
    from lowland.train import History

    about = None if run is None else run["data"]
    image = about is not None and about["kind"] == "image" and not about["conditional"]
    history = (run or {}).get("history")
    if view is None:
        if image and isinstance(energy.latent, OneHot) and isinstance(energy, Decodes):
            view = "prototypes"
        elif energy.event == (2,) and not (about and about["conditional"]):
            view = "surface"
        else:
            view = "training"
    if view == "prototypes":
        return plot.prototypes(energy)
    if view == "surface":
        from lowland.cli._data import items_for

        return plot.surface(energy, data=None if run is None else items_for(run, None, 0).y)
    if not history or not history["step"]:
        raise DomainError("There is no training to draw: this run recorded no step.")
    return plot.training(History(**{name: tuple(column) for name, column in history.items()}))
