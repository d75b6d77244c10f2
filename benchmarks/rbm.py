"""Restricted Boltzmann machines on binarised MNIST: likelihoods that can be checked, and speed.

Protocol of 784×16 (PyDeep's tutorial): pixels > 0.5, PCD-1, 100 chains, batches of 100, learning
rate 0.01, 50 epochs over 60,000 images; log Z by summing over all 2^16 hidden states; the mean log
probability of the 10,000 test images. Published: centred −142.56, normal −149.05 nats; images
flipped (1 − y): centred −142.09, normal −183.36.

Protocol of 784×500: the same with a rate that falls from 0.05 to 0 over 150 epochs, in 25 minutes
at most; annealing with the published 14,500 temperatures and 100 chains, and backwards from where
those chains end and from test images after 1,000 sweeps of Gibbs sampling, which also know of
modes that annealing may have missed. The published figures stand beside ours for orientation: where
pixels are drawn by chance, edges are noise that no model foresees. Speed: two epochs over 10,000
images at 784×128. All training is `lowland.fit`, whose sampler here is Gibbs.

Run: python benchmarks/rbm.py [--quick] [--large] [--only exact|speed|large]

LOWLAND_DATA names the folder that holds mnist/mnist.npz (default ../shared/data).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _measure import interleaved, one_thread, verdict
from sklearn.neural_network import BernoulliRBM
from torch import Tensor
from torch.nn import Parameter

import lowland as ll
from lowland.sample import (
    Gibbs,
    Target,
    advance,
    annealed_importance_sampling,
    salakhutdinov_murray,
)

RATE, BATCH, CHAINS = 0.01, 100, 100
# The least mean test log probability that a centred 784×16 must reach, in nats.
TARGET = -143.5
LARGE_EPOCHS, LARGE_MINUTES = 150, 25
SWEEPS = 1000


def images() -> tuple[Tensor, Tensor]:
    """Binarised images to train on and to test on, `(n, 784)`."""
    path = Path(os.environ.get("LOWLAND_DATA", "../shared/data")) / "mnist" / "mnist.npz"
    with np.load(path) as held:
        parts = [torch.from_numpy(held[name]).flatten(1) for name in ("x_train", "x_test")]
    train, test = ((part > 127).float() for part in parts)
    return train, test


class Falling(torch.optim.SGD):
    """Plain steps whose rate falls to 0 along a straight line."""

    def __init__(self, parameters: Iterable[Parameter], rate: float, steps: int) -> None:
        super().__init__(parameters, lr=rate)
        self.rate, self.steps, self.made = rate, steps, 0

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step at the rate of the moment."""
        for group in self.param_groups:
            group["lr"] = self.rate * (1 - self.made / self.steps)
        self.made += 1
        super().step(closure)


def train(
    y: Tensor,
    hidden: int,
    epochs: int,
    *,
    centred: bool = True,
    rate: float = RATE,
    falling: bool = False,
    seed: int = 0,
) -> ll.energies.RestrictedBoltzmann:
    """Persistent contrastive divergence with one sweep a step, as a user would ask for it."""
    g = torch.Generator().manual_seed(seed)
    energy = ll.energies.RestrictedBoltzmann.from_data(y, hidden, centred=centred, generator=g)
    steps = epochs * math.ceil(len(y) / BATCH)
    ll.fit(
        energy,
        y,
        ll.PersistentContrastiveDivergence(k=1, buffer=CHAINS, reinit=0.0),
        steps=steps,
        batch_size=BATCH,
        optimizer=partial(Falling, rate=rate, steps=steps)
        if falling
        else partial(torch.optim.SGD, lr=rate),
        generator=g,
        record_every=100,
        progress=False,
    )
    return energy


def small(y: Tensor, test: Tensor, epochs: int) -> None:
    """784×16 with an exact log Z, four ways, and annealing beside the exact value."""
    met = None
    for flipped in (False, True):
        data, held = (1 - y, 1 - test) if flipped else (y, test)
        for centred in (True, False):
            began = time.process_time()
            energy = train(data, 16, epochs, centred=centred)
            seconds = time.process_time() - began
            found = ll.likelihood(energy, held)
            name = f"{'centred' if centred else 'normal'}{', flipped' if flipped else ''}"
            value = float(found.log_density.mean())
            print(f"784×16 {name}: test {value:.2f} nats (exact log Z), {seconds:.0f} CPU s")
            if centred and not flipped:
                met = value
                annealed(energy, held, y)
    if met is not None:
        print(f"centred ≥ {TARGET}: {'met' if met >= TARGET else 'MISSED'} ({met:.2f})")


def annealed(energy: ll.energies.RestrictedBoltzmann, test: Tensor, y: Tensor) -> None:
    """AIS and reverse AIS against the exact log Z."""
    g = torch.Generator().manual_seed(1)
    exact = float(energy.log_z())
    found = ll.likelihood(
        energy, test, method="annealing", temperatures=1000, reference=y, generator=g
    )
    low, high = (float(end) for end in found.bracket)
    error = float(found.standard_error.max())
    allowed = max(0.5, 4 * error)
    print(
        f"  log Z exact {exact:.3f}, AIS {low:.3f} ± {error:.3f}, reverse AIS {high:.3f} (1,000 "
        f"temperatures, 100 chains)"
    )
    print("  " + verdict("|AIS − exact| in nats", abs(low - exact), allowed))


def speed(y: Tensor, repeats: int) -> None:
    """A step of PCD at 784×128, equal batches and numbers of steps, against scikit-learn."""
    rows = y[:10_000].contiguous()
    array = rows.numpy()
    fitted: dict[str, object] = {}

    def ours() -> None:
        fitted["ours"] = train(rows, 128, 2)

    def peer() -> None:
        model = BernoulliRBM(128, learning_rate=RATE, batch_size=BATCH, n_iter=2, random_state=0)
        fitted["peer"] = model.fit(array)

    def products() -> None:
        weights = torch.randn(128, 784)
        a, b = torch.rand(BATCH, 784), torch.rand(BATCH, 128)
        for _ in range(2 * len(rows) // BATCH):
            a @ weights.T, b @ weights, a @ weights.T, b.T @ a, b.T @ a

    ours(), peer()
    seconds = interleaved({"ours": ours, "peer": peer, "products": products}, repeats)
    print(
        f"PCD 784×128, 200 steps of 100, float32: ours {seconds['ours']:.3f} s, scikit-learn "
        f"{seconds['peer']:.3f} s, its five products alone {seconds['products']:.3f} s"
    )
    print(verdict("time as a multiple of scikit-learn's", seconds["ours"] / seconds["peer"], 1.0))


def large(y: Tensor, test: Tensor, epochs: int) -> None:
    """784×500 within 25 minutes, with the published schedule of annealing."""
    began = time.process_time()
    energy = train(y, 500, epochs, rate=0.05, falling=True)
    used = time.process_time() - began
    print(f"784×500: {epochs} epochs of PCD-1 in {used:.0f} CPU s", flush=True)
    print(verdict("minutes of training", used / 60, LARGE_MINUTES))
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        data = -float(energy(test).mean())
    anneal = partial(
        annealed_importance_sampling,
        energy,
        y.mean(0),
        temperatures=salakhutdinov_murray(),
        generator=g,
    )
    forth = anneal(chains=100)
    print(
        f"784×500 test: AIS {data - float(forth.log_z):.2f} ± {float(forth.standard_error):.2f} "
        f"nats (14,500 temperatures, 100 chains)",
        flush=True,
    )
    moved = advance(Gibbs(), Target(energy), test[:100], SWEEPS, generator=g).y
    for where, start in (
        ("the ends of those chains", forth.y),
        (f"test images after {SWEEPS:,} sweeps", moved),
    ):
        back = anneal(backwards_from=start)
        print(f"  reverse AIS from {where} {data - float(back.log_z):.2f}", flush=True)
    print(f"  all in {time.process_time() - began - used:.0f} CPU s")
    print("published: −86.34 by AIS (CD-25), −84.86 by AIS and −96.61 by reverse AIS (PyDeep)")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 epochs; its figures prove nothing")
    parser.add_argument("--large", action="store_true", help="784×500 too: half an hour and more")
    parser.add_argument("--epochs", type=int, default=LARGE_EPOCHS, help="of --large")
    parser.add_argument("--only", choices=("exact", "speed", "large"))
    options = parser.parse_args()
    one_thread()
    y, test = images()
    if options.only in (None, "speed"):
        speed(y, 3 if options.quick else 7)
    if options.only in (None, "exact"):
        small(y, test, 3 if options.quick else 50)
    if options.only == "large" or (options.large and options.only is None):
        large(y, test, 2 if options.quick else options.epochs)


if __name__ == "__main__":
    main()
