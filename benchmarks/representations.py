"""Features learned without labels, and what few labels make of them, beside what learned nothing.

    python benchmarks/representations.py [--seconds 60] [--repeats 5] [--tune] [--quick]

Protocol: MNIST in [0, 1], the first 10,000 training images to learn from without labels, the first
3,000 test images to be judged by. Each network energy trains for the given CPU seconds on one
thread, by Adam at 1e-3, batches of 128: a denoising autoencoder (784-512-128, noise of .2, .4, .6),
a masked autoencoder of patches (three quarters hidden) and a joint embedding (VICReg, the usual
views); K-means has 256 wells and at most 30 passes. Then 1, 5, 10 and 50 labels a class are drawn,
the same draws for all, and logistic regression and k-NN learn from them; settings and units of the
features are chosen by cross-validation on the labelled images alone (`lowland.estimators`). Beside
each energy stand raw pixels, principal components that explain nine tenths of the variance, and the
same encoder with weights that have learned nothing; with --tune also the encoder trained by the
labels, from its own weights and from scratch. Last, the joint embedding is trained again without
its regulariser, which must collapse and be said to. Targets, of the best of our energies, are at
100 and 1,000 labels (10 and 100 a class): .78 and .87. LOWLAND_DATA names the folder that holds
mnist/mnist.npz; without it the digits bundled with scikit-learn take its place, without targets.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _measure import one_thread

import lowland as ll
from lowland.data import Dataset
from lowland.estimators import FineTuning, label_efficiency, probe

TARGETS = {10: 0.78, 100: 0.87}


def images(quick: bool) -> tuple[str, Dataset, Dataset]:
    """MNIST if it is there, else the digits of scikit-learn: name, training part, test part."""
    path = Path(os.environ.get("LOWLAND_DATA", "../shared/data")) / "mnist" / "mnist.npz"
    if not path.exists():
        train, test = ll.data.digits().split(0.3, torch.Generator().manual_seed(0))
        return "digits", train, test
    with np.load(path) as held:
        parts = []
        for part, n in (("train", 2_000 if quick else 10_000), ("test", 500 if quick else 3_000)):
            y = torch.from_numpy(held[f"x_{part}"][:n]).unsqueeze(1).float() / 255
            parts.append(Dataset(y, labels=torch.from_numpy(held[f"y_{part}"][:n]).long()))
    return "MNIST", parts[0], parts[1]


def trained(energy: ll.Energy, y: torch.Tensor, strategy: object, seconds: float) -> ll.Energy:
    """The energy after so many CPU seconds of training."""
    ends = time.process_time() + seconds
    run = ll.fit(
        energy,
        y,
        strategy,
        steps=1_000_000,
        generator=torch.Generator().manual_seed(1),
        callbacks=[lambda record: time.process_time() > ends],
        progress=False,
    )
    print(f"  {type(energy).__name__}: {run.steps} steps", flush=True)
    if run.caution:
        print(f"    {run.caution}")
    return energy


def energies(y: torch.Tensor, seconds: float) -> dict[str, ll.Energy]:
    """Four energies that see no label."""
    g = torch.Generator().manual_seed(0)
    kmeans = ll.energies.KMeans.from_data(y, k=256, generator=g)
    ll.fit(kmeans, y, ll.CoordinateDescent(), steps=30, generator=g, progress=False)
    return {
        "K-means": kmeans,
        "denoising": trained(
            ll.energies.Autoencoder.from_data(y, generator=g),
            y,
            ll.Denoising(noise=(0.2, 0.4, 0.6)),
            seconds,
        ),
        "masked image": trained(
            ll.energies.MaskedImage.from_data(y, generator=g),
            y,
            ll.train.Masking(0.75),
            seconds,
        ),
        "joint embedding": trained(
            ll.energies.JointEmbedding.from_data(y, generator=g),
            y,
            ll.train.VarianceCovariance(),
            seconds,
        ),
    }


def main() -> None:
    """Train, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seconds, repeats = (3.0, 2) if options.quick else (options.seconds, options.repeats)
    one_thread()
    name, train, test = images(options.quick)
    print(f"{name}: {len(train):,} images without labels, {len(test):,} to be judged by")
    found = energies(train.y, seconds)
    began = time.process_time()
    g = torch.Generator().manual_seed(2)
    print(label_efficiency(found, train, test, repeats=repeats, generator=g), flush=True)
    if options.tune:
        tuned = label_efficiency(
            {"denoising": found["denoising"]},
            train,
            test,
            labels_per_class=(1, 10, 50),
            repeats=2,
            heads=(),
            fine_tune=FineTuning(),
            generator=torch.Generator().manual_seed(3),
        )
        print(tuned, flush=True)
    for each, target in TARGETS.items():
        if name != "MNIST" or options.quick:
            break
        table = probe(found, train, test, labels_per_class=each, repeats=repeats, generator=g)
        best = table.select(control=False).best
        print(
            f"{10 * each} labels: {best.features}, {best.head}: {best.mean:.3f}, target ≥ "
            f"{target:g}: {'met' if best.mean >= target else 'MISSED'}; best control: "
            f"{table.select(control=True).best.mean:.3f}",
            flush=True,
        )
    print(f"probes: {time.process_time() - began:.0f} CPU s")
    print("Without its regulariser:")
    dead = ll.energies.JointEmbedding.from_data(train.y, generator=torch.Generator().manual_seed(0))
    trained(dead, train.y, ll.train.VarianceCovariance(variance=0, covariance=0), seconds / 4)
    verdict = ll.diagnose.embedding(dead, train.y[:2000])
    print(f"  collapsed: {verdict.collapsed}; {' '.join(verdict.verdicts)}")


if __name__ == "__main__":
    main()
