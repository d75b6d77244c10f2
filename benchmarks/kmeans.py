"""K-means against scikit-learn and faiss: Lloyd's sweeps, the default fit, mini-batches, scaling.

Same start and number of sweeps, one thread, CPU time, in turn. The floor is the scores of all items
by all prototypes, -|c|²/2 added, in the blocks that are fastest here; "products" are the same
without what is added, which no method can do without. Peers: pip install faiss-cpu (left out where
it is absent).

Run: python benchmarks/kmeans.py [lloyd converged default mini small scaling ...] [--quick]
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from _measure import interleaved, one_thread, verdict
from sklearn.cluster import KMeans as Peer
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

import lowland as ll
from lowland.train import Record
from lowland.train.architectural.mini_batch import MiniBatch

SIZES = ((200_000, 32, 256), (1_000_000, 8, 64), (50_000, 784, 100))
# Targets for each size, as multiples of scikit-learn's lloyd, faiss and the floor.
TARGETS = ((0.6, 1.0, 1.25), (0.85, 0.9, 2.3), (1.05, 1.05, 1.15))
SWEEPS = 10
# Block lengths that the floor is tried with; none a power of two, which would share lines of cache.
ROWS = (464, 976, 2000, 4048, 8144)
WORKLOADS = ("lloyd", "converged", "default", "mini", "small", "scaling")


def seeded(seed: int) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def data(n: int, d: int, k: int) -> Tensor:
    """Items of overlapping Gaussians, somewhat more than there are wells."""
    centres = 1.2 * torch.randn(k + k // 5, d, generator=seeded(0))
    z = torch.randint(len(centres), (n,), generator=seeded(1))
    return torch.randn(n, d, generator=seeded(2)).add_(centres[z])


def inertia(y: Tensor, prototypes: Tensor) -> float:
    """The sum of the squared distances to the nearest prototypes."""
    return float(ll.score(ll.energies.KMeans(prototypes), y).sum(dtype=torch.float64))


def timed(run: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    began = time.process_time()
    run()
    return time.process_time() - began


def lloyd(y: Tensor, k: int, targets: tuple[float, float, float], repeats: int) -> None:
    """The same sweeps from the same start."""
    n, d = y.shape
    start, points = y[torch.randperm(n, generator=seeded(3))[:k]].clone(), y.numpy()
    ends: dict[str, Tensor] = {}

    def ours() -> None:
        energy = ll.energies.KMeans(start)
        ll.fit(energy, y, ll.CoordinateDescent(), steps=SWEEPS, progress=False)
        ends["lowland"] = energy.prototypes.data

    def sweeps_only() -> None:
        energy = ll.energies.KMeans(start)
        sweep = energy.sweeper(y)
        for _ in range(SWEEPS):
            energy.solve_parameters(sweep().statistics)

    def scikit_learn(algorithm: str) -> None:
        # Its last iteration is followed by one assignment more.
        peer = Peer(
            k, init=start.numpy(), n_init=1, max_iter=SWEEPS, tol=0, algorithm=algorithm
        ).fit(points)
        ends[algorithm] = torch.from_numpy(peer.cluster_centers_)

    def scores(rows: int, sweeps: int, add: bool = True) -> None:
        buffer, offset = torch.empty(k * rows), torch.zeros(k, 1)
        for _ in range(sweeps):
            for part in y.split(rows):
                out = buffer[: k * len(part)].view(k, -1)
                if add:
                    torch.addmm(offset, start, part.T, out=out)
                else:
                    torch.mm(start, part.T, out=out)

    def fastest(add: bool) -> int:
        trials = {rows: partial(scores, rows, 1, add) for rows in ROWS}
        took = interleaved(trials, 3)
        return min(took, key=took.__getitem__)

    contest = {
        "lowland": ours,
        "sweeps": sweeps_only,
        "lloyd": lambda: scikit_learn("lloyd"),
        "elkan": lambda: scikit_learn("elkan"),
        "floor": partial(scores, fastest(True), SWEEPS),
        "products": partial(scores, fastest(False), SWEEPS, False),
    }
    try:
        import faiss
    except ImportError:
        print("  faiss is absent (pip install faiss-cpu) and left out")
    else:
        faiss.omp_set_num_threads(1)

        def with_faiss() -> None:
            peer = faiss.Kmeans(d, k, niter=SWEEPS, max_points_per_centroid=n)
            peer.train(points, init_centroids=start.numpy())
            ends["faiss"] = torch.from_numpy(peer.centroids)

        contest["faiss"] = with_faiss
    seconds = interleaved(contest, repeats)
    mine = inertia(y, ends["lowland"])
    for name, took in seconds.items():
        end = f", energy of ours / its {mine / inertia(y, ends[name]):.6f}" if name in ends else ""
        print(f"  {name:9s} {took:7.3f} s, ours / it {seconds['lowland'] / took:5.2f}{end}")
    for name, target in zip(("lloyd", "faiss", "floor"), targets, strict=True):
        if name in seconds:
            print("  " + verdict(f"time / {name}", seconds["lowland"] / seconds[name], target))


def converged(y: Tensor, k: int) -> None:
    """To convergence: scikit-learn's two algorithms and ours, from one start."""
    start, points = y[:k].clone(), y.numpy()
    energy = ll.energies.KMeans(start)
    mine = timed(lambda: ll.fit(energy, y, ll.CoordinateDescent(), steps=300, progress=False))
    for name in ("lloyd", "elkan"):
        peer = Peer(k, init=start.numpy(), n_init=1, tol=0, max_iter=300, algorithm=name)
        took = timed(lambda peer=peer: peer.fit(points))
        print(
            f"  {name}: {took:.2f} s, ours / it {mine / took:.2f}, "
            f"energy of ours / its {inertia(y, energy.prototypes.data) / peer.inertia_:.6f}"
        )


def note(goal: float, arrived: list[float], record: Record) -> None:
    """Write down when the energy has come down to the goal."""
    if record.data_energy <= goal and not arrived:
        arrived.append(time.process_time())


def default_fit(y: Tensor, k: int, seeds: int) -> None:
    """Time to the energy that k-means++ and Lloyd's algorithm end at, and the end of both."""
    slowest = highest = 0.0
    for seed in range(seeds):
        peer = Peer(k, n_init=1, random_state=seed)
        theirs = timed(lambda peer=peer: peer.fit(y.numpy()))
        goal, arrived = peer.inertia_ / len(y), list[float]()
        began = time.process_time()

        energy = ll.energies.KMeans.from_data(y, k=k, generator=seeded(seed))
        fit = ll.fit(
            energy,
            y,
            ll.CoordinateDescent(),
            steps=100,
            progress=False,
            callbacks=[partial(note, goal, arrived)],
        )
        took, ratio = time.process_time() - began, fit.history.data_energy[-1] / goal
        # A run that settles above the goal never arrives, whatever its time.
        there = arrived[0] - began if arrived else float("inf")
        slowest, highest = max(slowest, there / theirs), max(highest, ratio)
        print(
            f"  seed {seed}: scikit-learn {theirs:.2f} s; ours at its energy in {there:.2f} s, "
            f"at the end ({fit.steps} full sweeps) in {took:.2f} s with energy / its {ratio:.4f}"
        )
    print("  " + verdict("slowest time / scikit-learn's to its energy", slowest, 0.75))
    print("  " + verdict("highest energy / scikit-learn's", highest, 1.0))


def small_data(name: str, y: Tensor, k: int, seeds: int) -> None:
    """The final energy against the best of ten runs."""
    worst = 0.0
    for seed in range(seeds):
        peer = Peer(k, n_init=10, random_state=seed)
        theirs = timed(lambda peer=peer: peer.fit(y.flatten(1).numpy()))
        began = time.process_time()
        energy = ll.energies.KMeans.from_data(y, k=k, generator=seeded(seed))
        ll.fit(energy, y, ll.CoordinateDescent(), steps=300, progress=False)
        mine = time.process_time() - began
        ratio = float(ll.score(energy, y).double().sum()) / peer.inertia_
        worst = max(worst, ratio)
        print(f"  {name} seed {seed}: energy ratio {ratio:.4f}, time ratio {mine / theirs:.2f}")
    print("  " + verdict(f"{name}, worst energy / n_init=10", worst, 1.0))


def mini_batch(y: Tensor, k: int, seeds: int) -> None:
    """One batch at a time, against MiniBatchKMeans as it comes."""
    size, slowest, highest = 16 * k, 0.0, 0.0
    for seed in range(seeds):
        peer = MiniBatchKMeans(k, random_state=seed, n_init=1)
        theirs = timed(lambda peer=peer: peer.fit(y.numpy()))
        began = time.process_time()
        sample = y[torch.randint(len(y), (80 * k,), generator=seeded(seed))]
        energy = ll.energies.KMeans.from_data(sample, k=k, generator=seeded(seed + 100))
        ll.fit(
            energy,
            y,
            MiniBatch(forgetting=0.02),
            steps=len(y) // size,
            batch_size=size,
            generator=seeded(seed + 200),
            progress=False,
        )
        mine = time.process_time() - began
        # Recomputed, for its own inertia may be that of a batch.
        goal = inertia(y, torch.from_numpy(peer.cluster_centers_).float())
        ratio = inertia(y, energy.prototypes.data) / goal
        slowest, highest = max(slowest, mine / theirs), max(highest, ratio)
        print(
            f"  seed {seed}: MiniBatchKMeans {theirs:.2f} s, ours {mine:.2f} s, energy / its "
            f"{ratio:.4f}"
        )
    print("  " + verdict("slowest time / MiniBatchKMeans", slowest, 0.5))
    print("  " + verdict("highest energy / its", highest, 1.0))


def scaling(largest: int) -> None:
    """The slope of time against n, on logarithmic scales."""
    y = data(largest, 8, 64)
    energy, sizes, seconds = ll.energies.KMeans(y[:64]), [], []
    n = 10_000
    while n <= largest:
        sweep = energy.sweeper(y[:n])
        sweep()
        seconds.append(min(timed(sweep) for _ in range(5)))
        sizes.append(n)
        n *= 10
    x, t = torch.tensor(sizes).log(), torch.tensor(seconds).log()
    slope = float(((x - x.mean()) * (t - t.mean())).sum() / (x - x.mean()).square().sum())
    print("  " + verdict(f"log-log slope over n = {sizes}", slope, 1.05))


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(WORKLOADS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the items, one repeat")
    chosen = parser.parse_args()
    quick, only = chosen.quick, chosen.workloads or WORKLOADS
    if not set(only) <= set(WORKLOADS):
        parser.error(f"workloads are {', '.join(WORKLOADS)}")
    one_thread()
    warnings.filterwarnings("ignore", message="Number of distinct clusters")
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    for (n, d, k), targets in zip(SIZES, TARGETS, strict=True):
        n = n // 10 if quick else n
        y = data(n, d, k)
        if "lloyd" in only:
            print(f"\n{n} × {d}, k = {k}: {SWEEPS} sweeps")
            lloyd(y, k, targets, 1 if quick else 3)
        if d <= 64 and "default" in only:
            print(f"{n} × {d}, k = {k}: the default fit")
            default_fit(y, k, 1 if quick else 3)
        if d <= 64 and "mini" in only:
            print(f"{n} × {d}, k = {k}: mini-batches")
            mini_batch(y, k, 1 if quick else 3)
        if d > 64 and "converged" in only:
            print(f"{n} × {d}, k = {k}: to convergence, no target")
            converged(y, k)
    if "small" in only:
        print("\nSmall data: the default fit against the best of ten")
        seeds = 2 if quick else 8
        small_data("spiral", ll.data.spiral(2000, generator=seeded(0)).y, 20, seeds)
        small_data("digits, k = 10", ll.data.digits().y, 10, seeds)
        small_data("digits, k = 64", ll.data.digits().y, 64, seeds)
    if "scaling" in only:
        print("\nCost against n")
        scaling(100_000 if quick else 1_000_000)


if __name__ == "__main__":
    main()
