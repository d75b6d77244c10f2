"""Bars and stripes, 3×3: the exact gradient, contrastive divergence and its persistent form.

14 patterns among 512 images; no model does better than −log 14 = −2.6391 nats a pattern. A machine
with 16 hidden units is trained on all patterns at once: by the exact gradient of the likelihood
(log Z is a sum over 512 images), by CD-1, CD-10, and PCD-1 with 100 chains, at the same rate; and
by PCD-1 at a fifth of it, with 100 and with 1,400 chains. The same start and steps for all. The
log-likelihoods shown are exact. CD's objective is not the likelihood: it stops where chains of k
steps from the data stay with the data, whatever mass lies elsewhere; and PCD follows the likelihood
only as long as its chains keep up with the surface: it rises to a peak, which is printed too, and
falls. A slower surface and more chains delay that. (An independent program in NumPy does the same.)

Run: python benchmarks/bars_and_stripes.py [--quick]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
from typing import NamedTuple

import torch
from _measure import one_thread
from torch import Tensor

import lowland as ll
from lowland.sample import Gibbs, Target, advance

HIDDEN, SEEDS = 16, 3
TARGET = -2.67
SHOWN, LOOKS = 6, 60


class Method(NamedTuple):
    """What is pushed up (`k` = 0: everything, exactly), and how fast."""

    k: int
    persistent: bool = False
    chains: int = 112
    rate: float = 0.05


METHODS = {
    "exact": Method(0),
    "CD-1": Method(1),
    "CD-10": Method(10),
    "PCD-1": Method(1, persistent=True, chains=100),
    "PCD-1, slow": Method(1, persistent=True, chains=100, rate=0.01),
    "  1,400 chains": Method(1, persistent=True, chains=1_400, rate=0.01),
}


def curve(method: Method, y: Tensor, steps: int, seed: int) -> list[float]:
    """The exact mean log-likelihood of the patterns, at even intervals."""
    g = torch.Generator().manual_seed(seed)
    energy = ll.energies.RestrictedBoltzmann.from_data(y, HIDDEN, generator=g)
    optimizer = torch.optim.SGD(energy.parameters(), lr=method.rate, momentum=0.9)
    chains = ll.Binary().noise((method.chains, *y.shape[1:]), generator=g, like=y)
    every = ll.Binary().points(energy.event, slice(0, 512), like=y)
    seen = []
    for step in range(1, steps + 1):
        energy.recentre(y)
        optimizer.zero_grad()
        if method.k == 0:
            loss = energy(y).mean() + torch.logsumexp(-energy(every), 0)
        else:
            start = chains if method.persistent else y.repeat(method.chains // len(y), 1, 1, 1)
            chains = advance(Gibbs(), Target(energy), start, method.k, generator=g).y
            loss = energy(y).mean() - energy(chains).mean()
        loss.backward()
        optimizer.step()
        if step % (steps // LOOKS) == 0:
            seen.append(float(ll.likelihood(energy, y).log_density.mean()))
    return seen


def main() -> None:
    """The table of methods, and whether the exact gradient reaches its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps and one seed")
    options = parser.parse_args()
    one_thread()
    steps, seeds = (1_200, 1) if options.quick else (6_000, SEEDS)
    y = ll.data.bars_and_stripes(3).y
    print(f"optimum {-math.log(14):.4f} nats a pattern; {steps} steps of all 14, {seeds} seed(s)")
    at = [steps // SHOWN * (i + 1) for i in range(SHOWN)]
    print("method        " + "".join(f"{step:>9}" for step in at) + "     end: worst, best; peak")
    best = -math.inf
    for name, method in METHODS.items():
        runs = torch.tensor([curve(method, y, steps, seed) for seed in range(seeds)])
        mean, ends = runs.mean(0), runs[:, -1]
        shown = "".join(f"{value:9.4f}" for value in mean[LOOKS // SHOWN - 1 :: LOOKS // SHOWN])
        print(f"{name:14}{shown}    {ends.min():.4f}, {ends.max():.4f}; {runs.max():.4f}")
        if method.k == 0:
            best = float(ends.max())
    print("CD's objective is not the likelihood: what its chains never reach, it does not push up")
    print(f"exact gradient > {TARGET}: {'met' if best > TARGET else 'MISSED'} ({best:.4f})")


if __name__ == "__main__":
    main()
