"""Contrastive divergence with its default negatives: does it stay stable, and what a step costs.

    python benchmarks/contrastive_divergence.py [--seeds 5] [--steps 5000] [--rate 3e-3]
        [--toys moons eight_gaussians pinwheel] [--only speed|stability]

Protocol, stability: two moons, eight gaussians and pinwheel, 10,000 points, standardised; a
perceptron 2-128-128-1 with SiLU; ContrastiveDivergence() as it comes (10 steps of MALA from the
data), batches of 256, Adam at 3e-3, weights averaged by `average=0.999`, 5 seeds of 5,000 steps.
At a rate of 1e-3 so many steps leave each of the eight Gaussians too broad, 0.4 nat above the
entropy (one seed; `--rate 1e-3` shows it), and 1,200 steps of exact maximum likelihood do likewise.
The gap is the difference of the mean energies of data and negatives at each record, every 10 steps,
from step 100 on. NLL of 4,000 fresh points, in standardised units, with log Z by a grid of
400 × 400 over [-6, 6]²; beside it the same network trained as long and at the same rate by maximum
likelihood, its log Z by quadrature on 96 × 96 points. The entropy of the eight Gaussians is 1.41
there.

Protocol, speed: the same network at batch 256, 10 steps of a chain and one of Adam. The loop by
hand is what one would write with care in torch: automatic derivatives of the energy in y, noise, no
accept test, then one backward pass over data and negatives together, and the fused Adam that is the
default of `fit`. Ours has the accept test, tunes its step, and watches gap and acceptance. It is
timed in the middle of training: what recording the derivatives takes, once at some 100 steps, is
told apart. One thread, CPU time, medians of short runs in turn.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import time
from functools import partial

import torch
from _measure import interleaved, one_thread, verdict
from torch import Tensor

import lowland as ll
from lowland.train import Strategy

TOYS = {
    "moons": ll.data.moons,
    "eight_gaussians": ll.data.eight_gaussians,
    "pinwheel": ll.data.pinwheel,
}
ADAM = partial(torch.optim.Adam, lr=1e-3)
BATCH, REACH, GRID, AVERAGE = 256, 6.0, 400, 0.999


def points(toy: str, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    """Standardised points to train on, fresh ones, and the generator for what follows."""
    generator = torch.Generator().manual_seed(seed)
    train, fresh = (TOYS[toy](n, generator=generator).y for n in (10_000, 4_000))
    scaling = ll.Scaling.from_data(train)
    return scaling(train), scaling(fresh), generator


@torch.no_grad()
def nll(energy: ll.Energy, y: Tensor) -> float:
    """Mean negative log-likelihood, with log Z by the grid."""
    axis = (torch.arange(GRID) + 0.5) / GRID * 2 * REACH - REACH
    grid = torch.cartesian_prod(axis, axis)
    values = torch.cat([-energy(part).double() for part in grid.split(2**15)])
    log_z = torch.logsumexp(values, 0) + 2 * math.log(2 * REACH / GRID)
    return float(energy(y).double().mean() + log_z)


def trained(
    toy: str, seed: int, steps: int, rate: float, strategy: Strategy
) -> tuple[ll.Fit, float]:
    """The fit and the NLL of fresh points."""
    y, fresh, generator = points(toy, seed)
    energy = ll.energies.Network.from_data(y, hidden=(128, 128), generator=generator)
    fit = ll.fit(
        energy,
        y,
        strategy,
        steps=steps,
        batch_size=BATCH,
        optimizer=partial(torch.optim.Adam, lr=rate, fused=True),
        average=AVERAGE,
        generator=generator,
        progress=False,
    )
    return fit, nll(energy, fresh)


def stability(toys: list[str], seeds: int, steps: int, rate: float) -> None:
    """Print the gaps and the NLL of every run."""
    for toy in toys:
        exact = ll.MaximumLikelihood(ll.Quadrature(points=96))
        _, best = trained(toy, 0, steps, rate, exact)
        print(f"{toy}: NLL by maximum likelihood {best:.3f}", flush=True)
        gaps, misses = [], []
        for seed in range(seeds):
            began = time.process_time()
            fit, reached = trained(toy, seed, steps, rate, ll.ContrastiveDivergence())
            pairs = zip(fit.history.step, fit.history.gap, strict=True)
            gaps.append(max(abs(gap) for step, gap in pairs if step > 100 and gap is not None))
            misses.append(reached - best)
            taken = [share for share in fit.history.acceptance[10:] if share is not None]
            print(
                f"  seed {seed}: largest |gap| {gaps[-1]:.3f}, acceptance {min(taken):.2f} to "
                f"{max(taken):.2f}, NLL {reached:.3f}, {time.process_time() - began:.0f} s"
                f"{', ' + fit.caution if fit.caution else ''}",
                flush=True,
            )
        print(f"  {verdict('largest |gap| of a run', max(gaps), 1.0)}")
        print(f"  {verdict('NLL above maximum likelihood', max(misses), 0.15)}", flush=True)


def by_hand(y: Tensor, steps: int, generator: torch.Generator) -> None:
    """Contrastive divergence without a library: unadjusted chains of 10 steps."""
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 128),
        torch.nn.SiLU(),
        torch.nn.Linear(128, 128),
        torch.nn.SiLU(),
        torch.nn.Linear(128, 1),
    )
    optimizer = ADAM(net.parameters(), fused=True)
    eta = 0.01
    for _ in range(steps):
        data = y[torch.randint(len(y), (BATCH,), generator=generator)]
        at = data
        for _ in range(10):
            at = at.detach().requires_grad_()
            (slope,) = torch.autograd.grad(net(at).sum(), at)
            noise = torch.randn(at.shape, generator=generator)
            at = (at - eta * slope).detach() + math.sqrt(2 * eta) * noise
        value = net(torch.cat([data, at])).squeeze(1)
        loss = value[:BATCH].mean() - value[BATCH:].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def speed(steps: int = 100, repeats: int = 25) -> None:
    """Print the time of a step against the hand-written loop."""
    y, _, generator = points("moons", 0)
    energy = ll.energies.Network.from_data(y, hidden=(128, 128), generator=generator)

    def ours() -> None:
        ll.fit(
            energy,
            y,
            ll.ContrastiveDivergence(),
            steps=steps,
            batch_size=BATCH,
            generator=generator,
            record_every=100,
            progress=False,
        )

    began = time.process_time()
    ours(), ours()
    first = time.process_time() - began
    seconds = interleaved({"ours": ours, "hand": lambda: by_hand(y, steps, generator)}, repeats)
    each = {name: 1e3 * value / steps for name, value in seconds.items()}
    print(f"CD-10 step at batch 256: ours {each['ours']:.2f} ms, by hand {each['hand']:.2f} ms")
    once = first - 2 * seconds["ours"]
    print(f"once, at the first {2 * steps} steps: {once:.2f} s more than later")
    print(verdict("time of the hand-written loop", seconds["ours"] / seconds["hand"], 0.9))


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--toys", nargs="+", choices=list(TOYS), default=list(TOYS))
    parser.add_argument("--only", choices=("speed", "stability"))
    asked = parser.parse_args()
    one_thread()
    if asked.only != "stability":
        speed()
    if asked.only != "speed":
        stability(asked.toys, asked.seeds, asked.steps, asked.rate)


if __name__ == "__main__":
    main()
