"""The table of losses of the 2006 tutorial: how high the energy stands above its valley afterwards.

Protocol: the tutorial's toy, y = x² for 300 x uniform in [-1, 1]; E(x, y) = ‖G(x) − H(y)‖² / 2, two
perceptrons 1-32-8 with SiLU, an architecture that bounds nothing; the same start for all losses
(MEE starts where NLL ended, for it does not leave a random start); Adam at 3e-3, 1,500 steps of 128
pairs; most offending answers by search (12 candidates, 3 steps) outside 0.3 of the truth. Energy
range: max − min over y in [-0.25, 1.25], the mean over x in [-1, 1]. Median of the seeds.

The tutorial's claim: energy, perceptron and LVQ2 losses collapse. Target: under a tenth of hinge's
and of NLL's range. Accuracy (the error of the argmin) does not tell.

Run: python benchmarks/losses_2006.py [--seeds 3] [--quick] [--picture losses_2006.png]
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
from _measure import one_thread, verdict
from torch import Tensor

import lowland as ll
from lowland.train.contrastive.margin import LOSSES

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STEPS = 1500
COLLAPSING = ("energy", "perceptron", "lvq2")


class Agreement(ll.Energy):
    """E(x, y) = ‖G(x) − H(y)‖² / 2 with two perceptrons."""

    def __init__(self, seed: int) -> None:
        super().__init__((1,))
        generator = torch.Generator().manual_seed(seed)
        nets = [
            ll.energies.Network.from_data(torch.zeros(1, 1), hidden=(32, 8), generator=generator)
            for _ in "xy"
        ]
        # Without the head, and without the activation before it.
        self.of_x, self.of_y = (net.net[:-2] for net in nets)  # type: ignore[index]

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Half the squared distance of the two features, `(*batch,)`."""
        away: Tensor = self.of_x(x) - self.of_y(y)
        return away.square().sum(-1) / 2


class Result(NamedTuple):
    """What one loss left behind: numbers, and the energies over the grid."""

    spread: float
    error: float
    seconds: float
    values: Tensor


def surface(energy: ll.Energy) -> tuple[Tensor, Tensor, Tensor]:
    """X, y and the energies over their grid, `(81, 121)`."""
    xs, ys = torch.linspace(-1, 1, 81), torch.linspace(-0.25, 1.25, 121)
    pairs = torch.cartesian_prod(xs, ys)
    with torch.no_grad():
        values = energy(pairs[:, 1:], x=pairs[:, :1]).reshape(81, 121)
    return xs, ys, values


def data(seed: int) -> tuple[Tensor, Tensor]:
    """Pairs (x, x²)."""
    x = 2 * torch.rand(300, 1, generator=torch.Generator().manual_seed(seed)) - 1
    return x, x**2


def train(loss: str, seed: int, steps: int, energy: ll.Energy | None = None) -> ll.Energy:
    """Shape the energy by one loss, from its random start or from where another left it."""
    energy = Agreement(seed) if energy is None else energy
    candidates = 64 if loss in ("nll", "mee") else 12
    ll.fit(
        energy,
        data(seed),
        ll.Margin(loss, exclusion=0.3, candidates=candidates, search_steps=3),
        steps=steps,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        generator=torch.Generator().manual_seed(seed),
        record_every=500,
        progress=False,
    )
    return energy


def measure(loss: str, seed: int, steps: int) -> Result:
    """Train and look."""
    warm = train("nll", seed, steps // 3) if loss == "mee" else None
    began = time.process_time()
    energy = train(loss, seed, steps, warm)
    seconds = time.process_time() - began
    xs, ys, values = surface(energy)
    error = (ys[values.argmin(1)] - xs**2).abs().mean()
    spread = float((values.amax(1) - values.amin(1)).mean())
    return Result(spread, float(error), seconds, values)


def picture(found: dict[str, Result], path: Path) -> None:
    """The surfaces that the losses left, healthy ones and collapsed ones on their own scales."""
    figure, axes = plt.subplots(2, 5, figsize=(10, 4.6), sharex=True, sharey=True)
    parabola = torch.linspace(-1, 1, 81)
    for axis, (loss, result) in zip(axes.flat, found.items(), strict=True):
        collapsed = loss in COLLAPSING
        # One scale for the collapsed, so that they show how flat they are beside a healthy one.
        top = 1.0 if collapsed else float(result.values.quantile(0.9))
        limits = {"extent": (-1, 1, -0.25, 1.25), "vmin": 0.0, "vmax": top}
        axis.imshow(result.values.T, origin="lower", aspect="auto", **limits)
        axis.plot(parabola, parabola**2, "w:", linewidth=1)
        colour = "firebrick" if collapsed else "black"
        axis.set_title(f"{loss}: range {result.spread:.2g}", fontsize=8, color=colour)
    figure.supxlabel("x")
    figure.supylabel("y")
    figure.suptitle("Energy E(x, y) after training on y = x² (dotted); red: losses that collapse")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Print the table and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps, one seed")
    parser.add_argument("--picture", type=Path, help="draw the surfaces of the first seed")
    arguments = parser.parse_args()
    one_thread()
    steps = STEPS // 5 if arguments.quick else STEPS
    seeds = 1 if arguments.quick else arguments.seeds
    print(f"y = x², {steps} steps, {seeds} seed(s)")
    print(f"  {'loss':14} {'energy range':>13} {'error of argmin':>16} {'CPU s':>7}")
    spreads, first = {}, {}
    for loss in LOSSES:
        found = [measure(loss, seed, steps) for seed in range(seeds)]
        first[loss] = found[0]
        columns = zip(*(result[:3] for result in found), strict=True)
        spread, error, seconds = (statistics.median(column) for column in columns)
        spreads[loss] = spread
        said = "  collapses" if loss in COLLAPSING else ""
        print(f"  {loss:14} {spread:13.4g} {error:16.3f} {seconds:7.1f}{said}", flush=True)
    for loss in COLLAPSING:
        for healthy in ("hinge", "nll"):
            ratio = spreads[loss] / spreads[healthy]
            print("  " + verdict(f"{loss}'s range over {healthy}'s", ratio, 0.1))
    if arguments.picture is not None:
        picture(first, arguments.picture)


if __name__ == "__main__":
    main()
