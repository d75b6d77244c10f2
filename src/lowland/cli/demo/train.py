"""Train the three energies on the digits, keep them, and read them back."""

import functools
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lowland.ask import score
from lowland.checkpoint import load, save
from lowland.cli.demo.section import Figures, Picture, Section, Table, line, said
from lowland.cli.demo.settings import NOISE, Settings
from lowland.data import digits
from lowland.energies import Autoencoder, KMeans, Network
from lowland.energy import Energy, Sum, Tempered
from lowland.infer import FreeEnergy
from lowland.plot import images, training
from lowland.train import CoordinateDescent, Denoising, DenoisingScoreMatching, Fit, Strategy, fit

# Several levels of noise teach the autoencoder to leave clean digits as they are.
LEVELS = (0.1, 0.2, NOISE)
# Pixels have 17 grey levels, so that many distances tie, and whoever breaks ties otherwise ends
# elsewhere. A start moved this little has no ties.
TIE_BREAKER = 1e-3
RATES = {"Autoencoder": 1e-3, "Network": 3e-3}


class Split(NamedTuple):
    """The digits, parted by a seeded shuffle.

    Attributes:
        y: trained on, `(n, 1, 8, 8)`.
        labels: their classes, `(n,)`; no energy sees them.
        held_y: held out, `(m, 1, 8, 8)`.
        held_labels: their classes, `(m,)`.
    """

    y: Tensor
    labels: Tensor
    held_y: Tensor
    held_labels: Tensor


class Trained(NamedTuple):
    """The three energies as they were read back from disk, and what training recorded."""

    energies: dict[str, Energy]
    runs: dict[str, Fit]
    seconds: dict[str, float]
    start: Tensor


def generator(seed: int, part: int) -> torch.Generator:
    """A source of randomness for one part, so that no part depends on what another drew."""
    return torch.Generator().manual_seed(1000 * seed + part)


def split_digits(settings: Settings, seed: int) -> Split:
    """Part the digits into those to train on and those held out."""
    data = digits()
    y, labels = data.y, data.labels
    order = torch.randperm(len(y), generator=generator(seed, 1))
    first, rest, _ = order.split_with_sizes(
        [settings.train, settings.held, len(y) - settings.train - settings.held]
    )
    if labels is None:
        raise ValueError("The digits carry labels.")
    return Split(y[first], labels[first], y[rest], labels[rest])


def train(split: Split, settings: Settings, seed: int, out: Path) -> Trained:
    """Shape the three energies, save each under `out`, and load it again."""
    kmeans = KMeans.from_data(split.y, k=settings.prototypes, generator=generator(seed, 2))
    start = kmeans.prototypes.detach().clone()
    sizes = (settings.hidden,)
    plans: dict[str, tuple[Energy, Strategy, int]] = {
        "K-means": (kmeans, CoordinateDescent(), 300),
        "Autoencoder": (
            Autoencoder.from_data(
                split.y, hidden=sizes, code=settings.hidden // 2, generator=generator(seed, 3)
            ),
            Denoising(noise=LEVELS),
            settings.autoencoder_steps,
        ),
        "Network": (
            _bowl_and_network(split.y, sizes, generator(seed, 4)),
            DenoisingScoreMatching(noise=NOISE),
            settings.network_steps,
        ),
    }
    energies, runs, seconds = {}, {}, {}
    for part, (name, (energy, strategy, steps)) in enumerate(plans.items(), start=5):
        began = time.perf_counter()
        optimizer = functools.partial(torch.optim.Adam, lr=RATES.get(name, 0.0))
        runs[name] = fit(
            energy,
            split.y,
            strategy,
            steps=steps,
            optimizer=optimizer if strategy.uses_optimizer else None,
            generator=generator(seed, part),
        )
        seconds[name] = time.perf_counter() - began
        folder = out / name.lower()
        save(energy, folder)
        energies[name] = load(folder)
    return Trained(energies, runs, seconds, start)


def _bowl_and_network(y: Tensor, hidden: tuple[int, ...], g: torch.Generator) -> Sum:
    """A product of two experts: a quadratic bowl around the mean digit, and a network.

    Far from all digits the energy of blurred data is a bowl of this width, which a network would
    have to spend its neurons on.
    """
    bowl = FreeEnergy(KMeans(y.mean(0, keepdim=True)))
    return Sum([Tempered(bowl, 2 * NOISE**2), Network.from_data(y, hidden=hidden, generator=g)])


def section(split: Split, trained: Trained, seed: int) -> Section:
    """How training went, with scikit-learn's K-means from the same start beside ours."""
    figures = _inertia(split, trained, seed)
    compared = line(
        figures,
        "inertia",
        question="K-means from one start",
        label="inertia",
        ours=("lowland",),
        larger=False,
    )
    runs = trained.runs
    lengths = ", ".join(
        f"{name} {run.steps} steps in {trained.seconds[name]:.1f} s" for name, run in runs.items()
    )
    parts: list[str | Table | Picture] = [
        f"Three energies of {len(split.y):,} digits; {len(split.held_y)} others are held out, and "
        f"every question below is put to those, and to the energies as they were read back from "
        f"disk. **K-means** (architectural: only {len(trained.start)} points can have zero energy) "
        f"by coordinate descent from k-means++; an **Autoencoder** (contrastive) by denoising; a "
        f"**Network** (contrastive: any network with a scalar head; here added to a quadratic bowl "
        f"around the mean digit, a product of two experts) by denoising score matching, which "
        f"shapes the energy of the digits blurred by noise of {NOISE}. {lengths}.",
        Table(
            figures,
            {"inertia": "inertia", "sweeps": "sweeps", "seconds": "seconds"},
            "K-means from one start, in double precision, here and in scikit-learn (Lloyd). The "
            f"start is k-means++ moved by {TIE_BREAKER:g}, so that no two distances tie.",
            {},
        ),
        said(compared)
        + " Time is for one run each, on this machine, and includes lowland's record of the "
        "energy at every sweep.",
        Picture(
            images(_prototypes(trained), columns=32, limits=(0, 1)),
            "The prototypes: the points of zero energy.",
            "Rows of small digits, each the mean of some training digits.",
        ),
    ]
    for name, run in runs.items():
        parts.append(
            Picture(
                training(run),
                f"{name}: the loss, and the mean energy of each batch"
                + (" and of the corrupted points." if name != "K-means" else "."),
                f"The loss of {name} against the step, beside the mean energies.",
            )
        )
    return Section("training", "Training", parts, figures, [compared])


def _prototypes(trained: Trained) -> Tensor:
    kmeans = trained.energies["K-means"]
    if not isinstance(kmeans, KMeans):
        raise TypeError("K-means was read back as another energy.")
    return kmeans.prototypes.detach()


def _inertia(split: Split, trained: Trained, seed: int) -> Figures:
    from sklearn.cluster import KMeans as Yardstick

    y = split.y.double()
    moved = TIE_BREAKER * torch.randn(trained.start.shape, generator=generator(seed, 8))
    start = trained.start.double() + moved
    energy = KMeans(start)
    began = time.perf_counter()
    run = fit(energy, y, CoordinateDescent(), steps=300, progress=False)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    # No tolerance: both stop when no digit changes its prototype.
    theirs = Yardstick(
        len(start), init=start.flatten(1).numpy(), n_init=1, max_iter=300, tol=0.0
    ).fit(y.flatten(1).numpy())
    seconds = time.perf_counter() - began
    inertia = float(score(energy, y).sum())
    return {
        "lowland": {"inertia": inertia, "sweeps": run.steps, "seconds": ours},
        "scikit-learn": {
            "inertia": float(theirs.inertia_),
            "sweeps": int(theirs.n_iter_),
            "seconds": seconds,
        },
    }
