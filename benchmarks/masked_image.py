"""Features learned from images without labels, judged by a probe with few labels.

    python benchmarks/masked_image.py [--quick] [--only NAME]

LOWLAND_DATA names the folder that holds mnist/mnist.npz (default ../shared/data); without it the
digits bundled with scikit-learn take its place, without targets. Every model is trained on the
60,000 training images for a fixed number of steps of 128 by Adam, a few CPU-minutes on one thread,
and the time is printed. No label is seen and no weight moves afterwards.

The probe: features in evaluation mode, standardised on the labelled images, then logistic
regression with an L2 penalty chosen by 5-fold cross-validation among 1e-4 … 1 (scikit-learn; where
there are more features than images, in the images' own span, which is the same problem). 10 or 100
labelled images a class are drawn from the first 10,000 training images, five times; accuracy is on
all 10,000 test images, mean ± standard deviation over the draws. The same draws serve every row.
The rows without which the others mean little: raw pixels, PCA, and each network before training.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _measure import one_thread
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

import lowland as ll
from lowland.train import Strategy

LABELS = (10, 100)
TARGETS = {10: 0.78, 100: 0.87}
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
DRAWS = 5
COMPONENTS = 64
# Labelled images are drawn from this many of the training images.
POOL = 10_000


class Images(NamedTuple):
    """Images `(n, 1, h, w)` in [0, 1] with labels, to learn from and to be judged on."""

    name: str
    train: Tensor
    labels: np.ndarray
    test: Tensor
    test_labels: np.ndarray


class Model(NamedTuple):
    """What is trained, how, and for how many steps at which rate."""

    build: Callable[[Tensor, torch.Generator], ll.Energy]
    strategy: Strategy
    steps: int
    rate: float


def joint(y: Tensor, g: torch.Generator) -> ll.Energy:
    """A joint embedding with convolutions."""
    return ll.energies.JointEmbedding.from_data(y, generator=g)


MODELS = {
    "masked-autoencoder": Model(
        lambda y, g: ll.energies.MaskedAutoencoder.from_data(
            y, hidden=(512, 256, 512), block=blocks(y), generator=g
        ),
        ll.Masking(0.75),
        6_000,
        1e-3,
    ),
    "masked-image": Model(
        lambda y, g: ll.energies.MaskedImage.from_data(y, depth=3, generator=g),
        ll.Masking(),
        2_000,
        2e-3,
    ),
    "variance-covariance": Model(joint, ll.VarianceCovariance(), 1_500, 2e-3),
    "sigreg": Model(joint, ll.SIGReg(), 1_500, 2e-3),
    "info-nce": Model(joint, ll.InfoNCE(), 1_500, 2e-3),
}


def blocks(y: Tensor) -> tuple[int, int]:
    """About seven blocks along each side."""
    side = max(2, y.shape[-1] // 7)
    return side, side


def images() -> Images:
    """MNIST, or the digits bundled with scikit-learn."""
    path = Path(os.environ.get("LOWLAND_DATA", "../shared/data")) / "mnist" / "mnist.npz"
    if path.exists():
        with np.load(path) as held:
            parts = [held[name] for name in ("x_train", "y_train", "x_test", "y_test")]
        y, test = (torch.from_numpy(x).unsqueeze(1).float() / 255 for x in (parts[0], parts[2]))
        return Images("MNIST", y, parts[1].astype(int), test, parts[3].astype(int))
    digits = ll.data.digits()
    order = torch.randperm(len(digits.y), generator=torch.Generator().manual_seed(1))
    y, labels = digits.y[order], digits.labels[order].numpy()
    return Images("digits", y[:1400], labels[:1400], y[1400:], labels[1400:])


def accuracies(features: Tensor, held_out: Tensor, data: Images, per_class: int) -> np.ndarray:
    """The probe's accuracy for each draw of labelled images."""
    found = []
    pool = data.labels[:POOL]
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        chosen = np.concatenate(
            [random.permutation(np.flatnonzero(pool == c))[:per_class] for c in range(10)]
        )
        found.append(_accuracy(features[chosen], pool[chosen], held_out, data.test_labels))
    return np.array(found)


def _accuracy(
    features: Tensor, labels: np.ndarray, held_out: Tensor, held_out_labels: np.ndarray
) -> float:
    seen, unseen = features.double().numpy(), held_out.double().numpy()
    mean, deviation = seen.mean(0), seen.std(0)
    varies = deviation > 1e-6
    seen = (seen[:, varies] - mean[varies]) / deviation[varies]
    unseen = (unseen[:, varies] - mean[varies]) / deviation[varies]
    if seen.shape[1] > len(seen):
        # The best weights lie in the span of the images.
        left, sizes, directions = np.linalg.svd(seen, full_matrices=False)
        seen, unseen = left * sizes, unseen @ directions.T
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(seen, labels))

    def fitted(penalty: float, rows: np.ndarray) -> LogisticRegression:
        solver = LogisticRegression(C=penalty, max_iter=1_000, tol=1e-3)
        return solver.fit(seen[rows], labels[rows])

    scores = [
        np.mean([fitted(c, a).score(seen[b], labels[b]) for a, b in folds]) for c in PENALTIES
    ]
    best = fitted(PENALTIES[int(np.argmax(scores))], np.arange(len(seen)))
    return float(best.score(unseen, held_out_labels))


def row(name: str, features: Tensor, held_out: Tensor, data: Images, *, judged: bool) -> None:
    """Probe features and print a line."""
    cells = []
    for per_class in LABELS:
        found = accuracies(features, held_out, data, per_class)
        said = ""
        if judged and data.name == "MNIST":
            target = TARGETS[per_class]
            met = "met" if found.mean() >= target else "MISSED"
            said = f" (target ≥ {target}: {met})"
        cells.append(f"{found.mean():.3f} ± {found.std():.3f}{said}")
    print(f"  {name:30} {features.shape[1]:5}  {'  '.join(cells)}", flush=True)


def encoded(energy: ll.Energy, y: Tensor) -> Tensor:
    """Features of images, some at a time."""
    return torch.cat([ll.encode(energy, part) for part in y.split(1000)])


def controls(data: Images) -> None:
    """Raw pixels and PCA."""
    raw, held_out = data.train[:POOL].flatten(1), data.test.flatten(1)
    row("raw pixels", raw, held_out, data, judged=False)
    pca = ll.energies.PCA.from_data(data.train, m=min(COMPONENTS, raw.shape[1] // 2))
    row("PCA", encoded(pca, data.train[:POOL]), encoded(pca, data.test), data, judged=False)


def tell(name: str, model: Model, data: Images, steps: int) -> None:
    """Train a model, and print the rows of its network before and after."""
    g = torch.Generator().manual_seed(0)
    energy = model.build(data.train, g)
    before = encoded(energy, data.train[:POOL]), encoded(energy, data.test)
    row(f"{name}, random weights", *before, data, judged=False)
    began = time.process_time()
    fit = ll.fit(
        energy,
        data.train,
        model.strategy,
        steps=steps,
        optimizer=partial(torch.optim.Adam, lr=model.rate),
        generator=g,
        average=0.99,
        record_every=100,
        progress=False,
    )
    seconds = time.process_time() - began
    after = encoded(energy, data.train[:POOL]), encoded(energy, data.test)
    row(name, *after, data, judged=name.startswith("masked"))
    print(f"    {steps} steps, {seconds:.0f} CPU s; {fit.caution or 'no caution'}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["controls", *MODELS])
    options = parser.parse_args()
    one_thread()
    data = images()
    print(f"{data.name}: {len(data.train)} images without labels, {len(data.test)} to be judged on")
    print(f"  {'':30} {'d':>5}  {'  '.join(f'{10 * n} labels' for n in LABELS)}")
    if options.only in (None, "controls"):
        controls(data)
    for name, model in MODELS.items():
        if options.only in (None, name):
            tell(name, model, data, model.steps // 20 if options.quick else model.steps)


if __name__ == "__main__":
    main()
