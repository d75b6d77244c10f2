"""Features learned without labels, and what few labels make of them, beside what learned nothing.

    python benchmarks/representations.py [--only images|text] [--seconds 60] [--repeats 3] [--quick]

Images: MNIST in [0, 1], the first 10,000 training images to learn from without labels, the first
3,000 test images to be judged by. Each network energy trains for the given CPU seconds on one
thread, in batches of 128: a denoising autoencoder (784-512-128, noise of .2, .4, .6, Adam at 1e-3),
a masked image (depth 3, three quarters hidden) and a joint embedding (VICReg, the usual views),
both by Adam at 2e-3 with averaged weights. K-means has 256 wells and at most 30 passes. Then 1, 5,
10 and 50 labels a class are drawn, the same draws for all, and logistic regression and k-NN learn
from them; settings and units of the features are chosen by cross-validation on the labelled images
alone (`lowland.estimators`). Beside each energy stand raw pixels, principal components that explain
nine tenths of the variance, and the same encoder with weights that have learned nothing; and two
encoders trained by the labels, from what they learned without them and from scratch. Target: the
best linear probe or k-NN of the energies reaches .78 at 100 labels (10 a class). Last, the joint
embedding is trained without its regulariser, which must collapse and be said to.

Text: movie reviews, positive or negative, 1,600 to learn from and 400 to be judged by, split by
seed; of each, the first 128 WordPieces of 4,096. A masked language model (width 128, 2 layers)
trains for the given CPU seconds on all the blocks of the 1,600; its feature is the mean hidden
state. Beside it: counts of the same tokens ("raw input"), their principal components, tf-idf
(scikit-learn), and the transformer with weights that have learned nothing. A minute of training is
little for text, and no target is set. LOWLAND_DATA names the folder that holds mnist/mnist.npz and
movie_reviews/movie_reviews.zip (default ../shared/data); without MNIST the digits bundled with
scikit-learn take its place, without target, and without reviews the text is left out.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _measure import one_thread
from sklearn.feature_extraction.text import TfidfTransformer
from torch import Tensor

import lowland as ll
from lowland.data import Dataset, Tokenizer
from lowland.estimators import (
    FineTuning,
    LinearProbe,
    NeighbourProbe,
    ProbeTable,
    label_efficiency,
    restarted,
)
from lowland.train import Record, Strategy

DATA = Path(os.environ.get("LOWLAND_DATA", "../shared/data"))
LABELS, TARGET = (1, 5, 10, 50), 0.78
REVIEW_LABELS = (10, 50, 200)
HEADS = (LinearProbe((10.0, 1.0)), NeighbourProbe((1, 3, 5)))
LENGTH, VOCABULARY = 128, 4096


def images(quick: bool) -> tuple[str, Dataset, Dataset]:
    """MNIST if it is there, else the digits of scikit-learn: name, training part, test part."""
    path = DATA / "mnist" / "mnist.npz"
    if not path.exists():
        train, test = ll.data.digits().split(0.3, torch.Generator().manual_seed(0))
        return "digits", train, test
    with np.load(path) as held:
        parts = []
        for part, n in (("train", 2_000 if quick else 10_000), ("test", 500 if quick else 3_000)):
            y = torch.from_numpy(held[f"x_{part}"][:n]).unsqueeze(1).float() / 255
            parts.append(Dataset(y, labels=torch.from_numpy(held[f"y_{part}"][:n]).long()))
    return "MNIST", parts[0], parts[1]


def trained(
    energy: ll.Energy,
    y: Tensor,
    strategy: Strategy,
    seconds: float,
    rate: float,
    *,
    average: float | None = None,
    batch_size: int = 128,
) -> ll.Energy:
    """The energy after so many CPU seconds of training."""
    ends = time.process_time() + seconds

    def over(record: Record) -> bool:
        return time.process_time() > ends

    run = ll.fit(
        energy,
        y,
        strategy,
        steps=1_000_000,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=rate),
        average=average,
        generator=torch.Generator().manual_seed(1),
        callbacks=[over],
        progress=False,
    )
    print(
        f"  {type(energy).__name__}: {run.steps} steps; {run.caution or 'no caution'}", flush=True
    )
    return energy


def image_energies(y: Tensor, seconds: float) -> dict[str, ll.Energy]:
    """Four energies that see no label."""
    g = torch.Generator().manual_seed(0)
    kmeans = ll.energies.KMeans.from_data(y, k=256, generator=g)
    ll.fit(kmeans, y, ll.CoordinateDescent(), steps=30, generator=g, progress=False)
    autoencoder = ll.energies.Autoencoder.from_data(y, generator=g)
    masked = ll.energies.MaskedImage.from_data(y, depth=3, generator=g)
    joint = ll.energies.JointEmbedding.from_data(y, generator=g)
    noise = ll.Denoising(noise=(0.2, 0.4, 0.6))
    return {
        "K-means": kmeans,
        "denoising": trained(autoencoder, y, noise, seconds, 1e-3),
        "masked image": trained(masked, y, ll.Masking(), seconds, 2e-3, average=0.99),
        "joint embedding": trained(joint, y, ll.VarianceCovariance(), seconds, 2e-3, average=0.99),
    }


def on_images(seconds: float, repeats: int, *, quick: bool) -> None:
    """The table of images, its target, and a collapse."""
    name, train, test = images(quick)
    print(f"{name}: {len(train):,} images without labels, {len(test):,} to be judged by")
    found = image_energies(train.y, seconds)
    began = time.process_time()

    def table(
        names: tuple[str, ...], heads: tuple[LinearProbe | NeighbourProbe, ...]
    ) -> ProbeTable:
        # The labelled images are the first that a generator draws: the same seed, the same images.
        return label_efficiency(
            {each: found[each] for each in names},
            train,
            test,
            labels_per_class=LABELS,
            repeats=repeats,
            heads=heads,
            fine_tune=False if heads else FineTuning(steps=20 if quick else 150),
            generator=torch.Generator().manual_seed(2),
        )

    probed = table(tuple(found), HEADS)
    tuned = table(("denoising", "joint embedding"), ())
    print(ProbeTable(probed.rows + tuned.rows, probed.tested, probed.remarks), flush=True)
    best = probed.select(labels=10, control=False).best
    control = probed.select(labels=10, control=True).best
    print(
        f"100 labels: best {best.features}, {best.head}: {best.mean:.3f}; best control: "
        f"{control.features}, {control.head}: {control.mean:.3f}"
    )
    if name == "MNIST" and not quick:
        met = "met" if best.mean >= TARGET else "MISSED"
        print(f"100 labels: {best.mean:.3f}, target ≥ {TARGET:g}: {met}")
    print(f"probes and tuning: {time.process_time() - began:.0f} CPU s")
    print("Without its regulariser:")
    dead = ll.energies.JointEmbedding.from_data(train.y, generator=torch.Generator().manual_seed(0))
    trained(dead, train.y, ll.VarianceCovariance(variance=0, covariance=0), seconds / 6, 2e-3)
    verdict = ll.diagnose.embedding(dead, train.y[:2000])
    print(f"  collapsed: {verdict.collapsed}; {' '.join(verdict.verdicts)}")


def reviews(quick: bool) -> tuple[Tensor, Dataset, Dataset, Tokenizer]:
    """Blocks of all the text to learn from, and the beginnings of reviews with their labels."""
    with zipfile.ZipFile(DATA / "movie_reviews" / "movie_reviews.zip") as held:
        names = sorted(name for name in held.namelist() if name.endswith(".txt") and "/cv" in name)
        texts = [held.read(name).decode("utf-8", "replace") for name in names]
    labels = torch.tensor([int("/pos/" in name) for name in names])
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    cut, n = (500, 600) if quick else (1_600, len(texts))
    tokenizer = Tokenizer.train([texts[i] for i in order[:cut]], vocabulary=VOCABULARY)
    tokens = tokenizer.encode([texts[i] for i in order[:n]])
    flat = torch.tensor([token for ids in tokens[:cut] for token in ids])
    blocks = flat[: len(flat) // LENGTH * LENGTH].reshape(-1, LENGTH)
    y = torch.full((n, LENGTH), tokenizer.padding)
    for row, ids in zip(y, tokens, strict=True):
        row[: len(ids)] = torch.tensor(ids[:LENGTH])
    labels = labels[order[:n]]
    train, test = Dataset(y[:cut], labels=labels[:cut]), Dataset(y[cut:], labels=labels[cut:])
    return blocks, train, test, tokenizer


def tfidf(y: Tensor, size: int) -> Callable[[Tensor], Tensor]:
    """Counts of tokens weighted by how rare they are in the reviews y, rows of length 1."""

    def counts(rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), size).scatter_add_(1, rows, torch.ones(rows.shape))

    weighting = TfidfTransformer(sublinear_tf=True).fit(counts(y).numpy())
    return lambda rows: torch.from_numpy(weighting.transform(counts(rows).numpy()).toarray())


def on_text(seconds: float, repeats: int, *, quick: bool) -> None:
    """The table of reviews."""
    blocks, train, test, tokenizer = reviews(quick)
    print(f"Movie reviews: {blocks.numel():,} tokens to learn from, {len(test)} to be judged by")
    g = torch.Generator().manual_seed(0)
    energy = ll.energies.MaskedTokens.from_data(
        blocks, width=128, layers=2, generator=g, **tokenizer.options()
    )
    untrained = restarted(energy, torch.Generator().manual_seed(3))
    trained(energy, blocks, ll.Masking(0.3), seconds, 1e-3, batch_size=32)
    began = time.process_time()
    table = label_efficiency(
        {"masked text": energy, "tf-idf": tfidf(train.y, len(tokenizer))},
        train,
        test,
        labels_per_class=REVIEW_LABELS,
        repeats=repeats,
        heads=HEADS,
        random=untrained,
        generator=torch.Generator().manual_seed(2),
    )
    print(table)
    print(f"probes: {time.process_time() - began:.0f} CPU s")


def main() -> None:
    """Train, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("images", "text"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seconds, repeats = (3.0, 2) if options.quick else (options.seconds, options.repeats)
    one_thread()
    if options.only in (None, "images"):
        on_images(seconds, repeats, quick=options.quick)
    if options.only in (None, "text"):
        if (DATA / "movie_reviews" / "movie_reviews.zip").exists():
            on_text(seconds, repeats, quick=options.quick)
        else:
            print(f"No movie_reviews/movie_reviews.zip in {DATA}: the text is left out.")
    print(f"{time.process_time():.0f} CPU s in all")


if __name__ == "__main__":
    main()
