"""Features for a supervised task with very few labels."""

import math

import torch
from torch import Tensor

from lowland.ask import encode
from lowland.cli.demo.section import Figures, Picture, Section, Table, line, said
from lowland.cli.demo.settings import Settings
from lowland.cli.demo.train import Split, Trained, generator
from lowland.energy import Energy, Sum

LABELS = 5
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
TUNING_DRAWS = 3


def section(split: Split, trained: Trained, settings: Settings, seed: int) -> Section:
    """Fit a linear probe on few labels, many times, on every kind of features."""
    both = torch.cat([split.y, split.held_y])
    kinds = {name: encode(_encoder(energy), both) for name, energy in trained.energies.items()}
    kinds |= {"raw pixels": both.flatten(1)} | _pca(split, both)
    chosen = [_labelled(split.labels, generator(seed, 60 + i)) for i in range(settings.label_draws)]
    figures: Figures = {}
    for name, features in kinds.items():
        rates, strength = _probe(features, split, chosen)
        figures[name] = {
            "accuracy": float(rates.mean()),
            "error": float(rates.std() / math.sqrt(len(rates))),
            "features": features.shape[1],
            "strength": strength,
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
    raw = {name: row for name, row in figures.items() if name in (*ours, "raw pixels")}
    over_raw = line(
        raw,
        "accuracy",
        question=f"{LABELS} labels, raw pixels only",
        label="probe accuracy",
        ours=ours,
        larger=True,
    )
    lines = [compared] if over_raw.yardstick == compared.yardstick else [over_raw, compared]
    parts: list[str | Table | Picture] = [
        f"A logistic regression learns from {LABELS} labelled digits a class and is tested on the "
        f"{len(split.held_y)} held-out ones, over {settings.label_draws} draws of the labelled "
        f"set, the same draws for all. Features are standardised on the training digits (no "
        f"labels), and the strength C of the "
        f"regularisation is chosen for each kind of features, among "
        f"{', '.join(map(str, STRENGTHS))}, by the accuracy on the other training digits over the "
        f"first {TUNING_DRAWS} draws.",
        Table(
            figures,
            {
                "accuracy": "accuracy",
                "error": "± standard error",
                "features": "features",
                "strength": "C",
            },
            f"Accuracy on held-out digits with {LABELS} labels a class.",
            {"accuracy": "max"},
        ),
        " ".join(map(said, lines)),
    ]
    return Section("features", "Features for few labels", parts, figures, lines)


def _encoder(energy: Energy) -> Energy:
    """The part of a sum that is a network, whose last hidden layer gives the features."""
    return energy.terms[-1] if isinstance(energy, Sum) else energy  # type: ignore[return-value]


def _pca(split: Split, both: Tensor) -> dict[str, Tensor]:
    from sklearn.decomposition import PCA

    pca = PCA(30, svd_solver="full").fit(split.y.flatten(1).double().numpy())
    return {"PCA, 30 components": torch.from_numpy(pca.transform(both.flatten(1).double().numpy()))}


def _labelled(labels: Tensor, g: torch.Generator) -> Tensor:
    """Indices of the digits whose labels are shown, `LABELS` a class."""
    order = torch.randperm(len(labels), generator=g)
    classes = [order[labels[order] == c][:LABELS] for c in range(int(labels.max()) + 1)]
    return torch.cat(classes)


def _standardised(features: Tensor, known: int) -> Tensor:
    """Mean 0 and standard deviation 1 on the first `known` items."""
    features = features.double()
    spread = features[:known].std(0, correction=0)
    # A feature that never varies tells nothing, and has no scale.
    varied = spread > 0
    return ((features - features[:known].mean(0)) / spread)[:, varied]


def _accuracy(
    features: Tensor, labels: Tensor, rows: Tensor, tested: Tensor, strength: float
) -> float:
    """Learn from `rows` and count the right answers on `tested`."""
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=strength, max_iter=2000)
    probe.fit(features[rows].numpy(), labels[rows].numpy())
    return float(probe.score(features[tested].numpy(), labels[tested].numpy()))


def _probe(features: Tensor, split: Split, chosen: list[Tensor]) -> tuple[Tensor, float]:
    """Accuracy on held-out digits for each draw, and the strength that was used."""
    known = len(split.y)
    scaled = _standardised(features, known)
    labels = torch.cat([split.labels, split.held_labels])
    # The first draws' unlabelled training digits stand in for a validation set.
    everything = torch.arange(known)
    tuned = [
        sum(
            _accuracy(scaled, labels, rows, everything[~torch.isin(everything, rows)], strength)
            for rows in chosen[:TUNING_DRAWS]
        )
        for strength in STRENGTHS
    ]
    strength = STRENGTHS[tuned.index(max(tuned))]
    held = torch.arange(known, len(labels))
    rates = [_accuracy(scaled, labels, rows, held, strength) for rows in chosen]
    return torch.tensor(rates, dtype=torch.float64), strength
