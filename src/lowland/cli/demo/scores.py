"""Scores that tell digits from what is none."""

import torch
from torch import Tensor

from lowland.ask import score
from lowland.cli.demo.measures import auroc
from lowland.cli.demo.section import Figures, Picture, Section, Table, line, said
from lowland.cli.demo.train import Split, Trained, generator
from lowland.plot import histogram


def section(split: Split, trained: Trained, seed: int) -> Section:
    """Score held-out digits and three kinds of noise by every energy and every yardstick."""
    strange = _strange(split, seed)
    scored = {
        name: {kind: score(energy, y) for kind, y in {"digits": split.held_y, **strange}.items()}
        for name, energy in trained.energies.items()
    }
    scored |= _yardsticks(split, strange)
    figures: Figures = {}
    for name, scores in scored.items():
        row = {kind: auroc(scores["digits"], scores[kind]) for kind in strange}
        figures[name] = {**row, "worst": min(row.values())}
    compared = line(
        figures,
        "worst",
        question="Digit or not",
        label="worst AUROC",
        ours=tuple(trained.energies),
        larger=True,
    )
    parts: list[str | Table | Picture] = [
        "The score of an item is its free energy. Four kinds of things that are no digits: uniform "
        "noise; normal noise of the mean and variance that each pixel has, which knows where ink "
        "is usual; normal noise with one mean and variance; and held-out digits with their pixels "
        "shuffled, which have exactly the right amount of ink."
    ]
    for name in trained.energies:
        parts.append(
            Picture(
                histogram(scored[name]),
                f"{name}: free energy of held-out digits and of what is none.",
                f"Histograms of the free energy of {name} for digits and four kinds of noise.",
            )
        )
    kinds = {kind: kind for kind in strange}
    parts += [
        Table(
            figures,
            {**kinds, "worst": "worst"},
            "AUROC: how often something strange scores higher than a digit (0.5 is chance).",
            {**dict.fromkeys(kinds, "max"), "worst": "max"},
        ),
        said(compared),
    ]
    return Section("scores", "Is this a digit?", parts, figures, [compared])


def _strange(split: Split, seed: int) -> dict[str, Tensor]:
    y, g = split.held_y, generator(seed, 50)
    normal = torch.randn(y.shape, generator=g)
    order = torch.rand(y.flatten(1).shape, generator=g).argsort(1)
    return {
        "uniform": torch.rand(y.shape, generator=g),
        "normal, pixel by pixel": split.y.mean(0) + split.y.std(0) * normal,
        "normal": split.y.mean() + split.y.std() * normal,
        "shuffled pixels": y.flatten(1).gather(1, order).reshape(y.shape),
    }


def _yardsticks(split: Split, strange: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest

    rows = split.y.flatten(1).double().numpy()
    # As many components as explain nine tenths of the variance: a usual choice.
    pca = PCA(0.9, svd_solver="full").fit(rows)
    forest = IsolationForest(random_state=0).fit(rows)
    scores: dict[str, dict[str, Tensor]] = {"PCA residual": {}, "IsolationForest": {}}
    for kind, y in {"digits": split.held_y, **strange}.items():
        points = y.flatten(1).double().numpy()
        residual = points - pca.inverse_transform(pca.transform(points))
        scores["PCA residual"][kind] = torch.from_numpy(residual).square().sum(1)
        scores["IsolationForest"][kind] = torch.from_numpy(-forest.score_samples(points))
    return scores
