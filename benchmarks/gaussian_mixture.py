"""Expectation-maximisation for Gaussian mixtures, against scikit-learn.

Same start, same number of iterations, covariance floors off on both sides, one thread, CPU time.
The floor beside it is the two products of the features, R φᵀ and C φ, alone.

Run: python benchmarks/gaussian_mixture.py [--quick]
"""

import argparse
import warnings

import numpy as np
import torch
from _measure import interleaved, one_thread, verdict
from sklearn.mixture import GaussianMixture as Peer
from torch import Tensor

import lowland as ll
from lowland.train.architectural.expectation_maximization import ExpectationMaximization

SIZES = ((100_000, 16, 20), (50_000, 32, 32))
QUICK = ((20_000, 16, 20), (10_000, 32, 32))
TARGET = 0.35


def data(n: int, d: int, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Items of k correlated Gaussians, float64, and k means to start from."""
    # Near enough to overlap, for EM must still be moving when the iterations end.
    centres = 0.5 * torch.randn(k, d, generator=generator, dtype=torch.float64)
    mixing = torch.randn(k, d, d, generator=generator, dtype=torch.float64) / d**0.5
    mixing = mixing + 0.5 * torch.eye(d, dtype=torch.float64)
    z = torch.randint(k, (n,), generator=generator)
    noise = torch.randn(n, d, 1, generator=generator, dtype=torch.float64)
    y = centres[z] + torch.cat(
        [(mixing[i] @ e).squeeze(-1) for i, e in zip(z.split(8192), noise.split(8192), strict=True)]
    )
    # Means of 100 random items each: single items would let components collapse in many dimensions.
    return y, y[: 100 * k].reshape(k, 100, d).mean(1)


class Contest:
    """One size: everyone starts at the same means, with the covariance of all the data."""

    def __init__(self, y: Tensor, means: Tensor, covariance: str, iterations: int) -> None:
        self.y, self.single, self.means, self.iterations = y, y.float(), means, iterations
        self.k = k = len(means)
        self.covariance = covariance
        spread = torch.cov(y.T) if covariance == "full" else y.var(0)
        self.spread = spread.expand(k, *spread.shape).contiguous()
        self.fitted: dict[str, Peer | ll.Energy] = {}

    def ours(self, y: Tensor, name: str) -> None:
        """Our iterations."""
        weights = torch.full((self.k,), 1 / self.k, dtype=torch.float64)
        energy = ll.energies.GaussianMixture(
            weights, self.means.to(y.dtype), self.spread, floor=0.0
        )
        strategy = ExpectationMaximization(tolerance=0.0)
        fit = ll.fit(energy, y, strategy, steps=self.iterations, progress=False)
        if fit.converged:
            raise RuntimeError(f"{name} stopped at step {fit.steps}: the work is not the same.")
        self.fitted[name] = energy

    def peer(self) -> None:
        """Scikit-learn's iterations, in float64."""
        spread = self.spread.numpy()
        model = Peer(
            self.k,
            covariance_type="full" if self.covariance == "full" else "diag",
            weights_init=np.full(self.k, 1 / self.k),
            means_init=self.means.numpy(),
            precisions_init=np.linalg.inv(spread) if self.covariance == "full" else 1 / spread,
            max_iter=self.iterations,
            tol=0,
            reg_covar=0,
            init_params="random_from_data",  # k-means would be run only to be thrown away
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged, as meant
            model.fit(self.y.numpy())
        self.fitted["scikit-learn"] = model

    def log_density(self, name: str) -> float:
        """The mean over 5,000 items, in float64, of what one of them has fitted."""
        model, part = self.fitted[name], self.y[:5000]
        if isinstance(model, Peer):
            return float(model.score(part.numpy()))
        with torch.no_grad():
            free = ll.free_energy(model.double(), part, beta=1.0, measure="sum")
        return -float(free.mean())

    def floor(self) -> None:
        """The products alone."""
        d, rows = self.y.shape[1], 2048
        features = 1 + d + (d * (d + 1) // 2 if self.covariance == "full" else d)
        block = torch.zeros(features, rows, dtype=torch.float64)
        coefficients = torch.zeros(self.k, features, dtype=torch.float64)
        for _ in range(self.iterations * len(self.y) // rows):
            shares = coefficients @ block
            shares @ block.T


def main() -> None:
    """Print the ratios of each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    one_thread()
    repeats, iterations = (3, 3) if quick else (3, 10)
    generator = torch.Generator().manual_seed(0)
    for n, d, k in QUICK if quick else SIZES:
        y, means = data(n, d, k, generator)
        for covariance in ("full", "diagonal"):
            contest = Contest(y, means, covariance, iterations)
            run(contest, f"{n} × {d}, k = {k}, {covariance}, {iterations} iterations", repeats)


def run(contest: Contest, title: str, repeats: int) -> None:
    """Measure one contest and print it."""
    seconds = interleaved(
        {
            "scikit-learn": contest.peer,
            "lowland float64": lambda: contest.ours(contest.y, "lowland float64"),
            "lowland float32": lambda: contest.ours(contest.single, "lowland float32"),
            "products alone": contest.floor,
        },
        repeats,
    )
    print(f"\n{title}: CPU seconds, share of scikit-learn's, mean log density of 5,000 items")
    ended = {name: contest.log_density(name) for name in contest.fitted}
    for name, took in seconds.items():
        density = f"{ended[name]:.9f}" if name in ended else ""
        print(f"  {name:16} {took:8.3f} {took / seconds['scikit-learn']:8.3f}   {density}")
    difference = abs(ended["lowland float64"] - ended["scikit-learn"])
    print("  " + verdict("difference in log density (float64)", difference, 1e-6))
    ratio = seconds["lowland float64"] / seconds["scikit-learn"]
    if contest.covariance == "full":
        print("  " + verdict("share of scikit-learn's time (float64)", ratio, TARGET))


if __name__ == "__main__":
    main()
