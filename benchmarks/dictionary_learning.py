"""Dictionary learning to the objective that MiniBatchDictionaryLearning reaches.

    python benchmarks/dictionary_learning.py [--quick]

Everyone starts from the same atoms and is measured, outside the clock, by the mean energy of all
the patches with exact codes. scikit-learn makes one pass, then three; the others make the fewest
batches that end as low, found by bisection. Then all run in turn, three times, and the median CPU
time counts. SPAMS' trainDL stands beside it if it is installed (`pip install spams-bin`).
"""

import argparse
import functools
import importlib.util
import warnings
from collections.abc import Callable

import numpy as np
import torch
from _measure import interleaved, one_thread, verdict
from _photographs import patches
from sklearn.decomposition import MiniBatchDictionaryLearning

import lowland as ll
from lowland.infer.choose import infer

PENALTY, SIZE = 0.15, 8
# Items to a batch: 256 is what scikit-learn takes if it is not told, and about the best for SPAMS.
BATCH, OURS = 256, 512
# More batches than this are not tried.
MOST = 640
REPEATS = 3

# Makes so many batches from atoms in rows, and returns atoms in rows.
Train = Callable[[int], np.ndarray]


def objective(atoms: np.ndarray, y: torch.Tensor) -> float:
    """The mean energy with exact codes; `atoms` in rows."""
    energy = ll.energies.SparseCoding(torch.as_tensor(np.ascontiguousarray(atoms.T)), PENALTY)
    return float(infer(energy, y).energy.mean())


def scikit_learn(y: np.ndarray, start: np.ndarray, epochs: int) -> np.ndarray:
    """Atoms of unit norm after some passes."""
    model = MiniBatchDictionaryLearning(
        n_components=len(start), alpha=PENALTY, batch_size=BATCH, fit_algorithm="cd",
        dict_init=start, max_iter=epochs, shuffle=True, random_state=0, tol=0.0,
        max_no_improvement=None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms = model.fit(y).components_
    return atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)


def lowland(y: torch.Tensor, start: np.ndarray, steps: int) -> np.ndarray:
    """Atoms after some batches, with the defaults of the strategy."""
    energy = ll.energies.SparseCoding(torch.as_tensor(np.ascontiguousarray(start.T)), PENALTY)
    generator = torch.Generator().manual_seed(0)
    ll.fit(
        energy, y, ll.MiniBatch(), steps=steps, batch_size=OURS, generator=generator,
        progress=False, record_every=steps,
    )  # fmt: skip
    return energy.dictionary.detach().numpy().T


def spams_train(y: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """Atoms after some batches."""
    import spams

    atoms = spams.trainDL(
        np.asfortranarray(y.T), D=np.asfortranarray(start.T), lambda1=PENALTY, iter=steps,
        batchsize=BATCH, numThreads=1, verbose=False,
    )  # fmt: skip
    return atoms.T


def fewest(train: Train, goal: float, data: torch.Tensor) -> int:
    """The fewest batches that end at the goal, or `MOST`."""
    high = 8
    while high < MOST and objective(train(high), data) > goal:
        high *= 2
    low, high = high // 2, min(high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        if objective(train(middle), data) <= goal:
            high = middle
        else:
            low = middle
    return high


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    one_thread()
    n, k = (1024, 96) if quick else (10_240, 256)
    y = patches(SIZE, n)
    start = y[np.random.default_rng(1).permutation(n)[:k]].copy()
    data = torch.as_tensor(y)
    print(f"{n} patches of {SIZE}×{SIZE}, {k} atoms, start {objective(start, data):.5f}")
    if importlib.util.find_spec("spams") is None:
        print("SPAMS is not installed: pip install spams-bin")
    for epochs in (1, 3):
        compare(y, data, start, epochs)


def compare(y: np.ndarray, data: torch.Tensor, start: np.ndarray, epochs: int) -> None:
    """Everyone to what scikit-learn reaches in some passes."""
    goal = objective(scikit_learn(y, start, epochs), data)
    print(f"\nscikit-learn 'cd', {epochs} passes: {goal:.5f}")
    others: dict[str, Train] = {"lowland": lambda steps: lowland(data, start, steps)}
    if importlib.util.find_spec("spams") is not None:
        others["SPAMS"] = lambda steps: spams_train(y, start, steps)
    steps = {name: fewest(train, goal, data) for name, train in others.items()}
    runs = {name: functools.partial(train, steps[name]) for name, train in others.items()}
    seconds = interleaved({"scikit-learn": lambda: scikit_learn(y, start, epochs)} | runs, REPEATS)
    for name, spent in seconds.items():
        made = f"{steps[name]} batches, {objective(runs[name](), data):.5f}" if name in runs else ""
        print(f"{name:14}{spent:8.3f} s  {made}")
    if "SPAMS" in seconds:
        print(f"time / SPAMS: {seconds['lowland'] / seconds['SPAMS']:.3g}")
    print(verdict("time / scikit-learn", seconds["lowland"] / seconds["scikit-learn"], 0.25))


if __name__ == "__main__":
    main()
