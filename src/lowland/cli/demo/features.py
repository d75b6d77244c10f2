"""Features for a supervised task with very few labels."""

import math

from lowland.cli.demo.section import Figures, Picture, Section, Table, line, said
from lowland.cli.demo.settings import Settings
from lowland.cli.demo.train import Split, Trained, generator
from lowland.data import Dataset
from lowland.energy import Energy, Sum
from lowland.estimators import LinearProbe, probe

LABELS = 5


def section(split: Split, trained: Trained, settings: Settings, seed: int) -> Section:
    """Fit a linear probe on few labels, many times, on every kind of features."""
    head = LinearProbe()
    table = probe(
        {name: _encoder(energy) for name, energy in trained.energies.items()},
        Dataset(split.y, labels=split.labels),
        Dataset(split.held_y, labels=split.held_labels),
        labels_per_class=LABELS,
        repeats=settings.label_draws,
        heads=(head,),
        generator=generator(seed, 60),
    )
    figures: Figures = {
        row.features: {
            "accuracy": row.mean,
            "error": row.sd / math.sqrt(len(row.rates)),
            "features": row.size,
        }
        for row in table.rows
    }
    ours = tuple(trained.energies)
    compared = line(
        figures,
        "accuracy",
        question=f"{LABELS} labels a class",
        label="probe accuracy",
        ours=ours,
        larger=True,
    )
    raw = {name: row for name, row in figures.items() if name in (*ours, "raw input")}
    over_raw = line(
        raw,
        "accuracy",
        question=f"{LABELS} labels, raw input only",
        label="probe accuracy",
        ours=ours,
        larger=True,
    )
    lines = [compared] if over_raw.yardstick == compared.yardstick else [over_raw, compared]
    parts: list[str | Table | Picture] = [
        f"A logistic regression learns from {LABELS} labelled digits a class and is tested on the "
        f"{len(split.held_y)} held-out ones, over {settings.label_draws} draws of the labelled "
        f"set, the same draws for all. Beside the features of the three energies stand the pixels, "
        f"the principal components that explain nine tenths of their variance, and the features of "
        f"the same energies with weights that have learned nothing. The strength C of the "
        f"regularisation, among {', '.join(map(str, sorted(head.strengths)))}, and whether "
        f"features share one scale or have one each, are chosen by cross-validation on the "
        f"labelled digits.",
        Table(
            figures,
            {"accuracy": "accuracy", "error": "± standard error", "features": "features"},
            f"Accuracy on held-out digits with {LABELS} labels a class.",
            {"accuracy": "max"},
        ),
        " ".join(map(said, lines)),
    ]
    return Section("features", "Features for few labels", parts, figures, lines)


def _encoder(energy: Energy) -> Energy:
    """The part of a sum that is a network, whose last hidden layer gives the features."""
    return energy.terms[-1] if isinstance(energy, Sum) else energy  # type: ignore[return-value]
