"""Sparse codes of 10,000 image patches to a relative duality gap of 1e-6 on every one.

    python benchmarks/sparse_coding.py [--size 8] [--quick]

Peers: scikit-learn (lasso_cd, lasso_lars), FISTA with restart (lowland's own), and SPAMS if it is
installed (`pip install spams-bin`). All of them code all patches, but for lasso_lars and FISTA,
which code the first tenth and whose time is multiplied by ten. lasso_lars codes one patch after
another and FISTA drops each patch that has come close enough, so nothing is lost by that. The table
says how many patches each has coded. FISTA ends after 2,000 steps, in its favour: the worst gap
tells. The gap is computed here, in NumPy, for everyone.

A warm start is what learning meets: the dictionary has moved by one more sweep, and the codes of
the dictionary before it are at hand. It is set beside a cold start on the moved dictionary.

Medians of two rounds in turn, where a round takes seconds; the others run once. Under ten minutes.
"""

import argparse
import importlib.util
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from _measure import interleaved, one_thread, verdict
from _photographs import patches, relative_gap
from sklearn.linear_model import Lasso, LassoLars

import lowland as ll
from lowland.infer.lasso import lasso, targets
from lowland.infer.shrinkage import FISTA, shrink_until
from lowland.train.architectural.mini_batch import MiniBatch

GAP = 1e-6
SIZES = {8: 256, 12: 512}


class Contestant(NamedTuple):
    """Codes the first patches with a dictionary.

    Attributes:
        run: gives the codes, `(m, k)`.
        atoms: the dictionary, `(k, d)`.
        y: the patches that it codes, `(m, d)`; its time is scaled up to all of them.
        rounds: how often it runs.
    """

    run: Callable[[], object]
    atoms: np.ndarray
    y: np.ndarray
    rounds: int = 2


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", type=int, choices=list(SIZES), help="one workload alone")
    arguments.add_argument("--quick", action="store_true", help="1,000 patches")
    options = arguments.parse_args()
    one_thread()
    if importlib.util.find_spec("spams") is None:
        print("SPAMS is not installed: pip install spams-bin")
    for size, k in SIZES.items():
        if options.size in (None, size):
            for penalty in (0.6 / size, 1.2 / size):
                workload(size, k, penalty, 1000 if options.quick else 10_000)


def workload(size: int, k: int, penalty: float, n: int) -> None:
    """One table."""
    y = patches(size, n)
    energy, moved = learned(y, k, penalty)
    codes: dict[str, np.ndarray] = {}
    contestants = ours(energy, moved, y) | scikit_learn(energy, y)
    contestants |= {"fista": fista(energy, y)} | spams(energy, y)

    def kept(name: str) -> Callable[[], None]:
        return lambda: codes.__setitem__(name, contestants[name].run())

    seconds: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lasso_lars says where it leaves the path early
        for rounds in (1, 2):
            equal = {name: kept(name) for name, c in contestants.items() if c.rounds == rounds}
            seconds |= interleaved(equal, rounds)
    gaps = {}
    for name, (_, atoms, coded, _) in contestants.items():
        found = codes[name]
        z = found.T.toarray() if hasattr(found, "toarray") else np.asarray(found)
        known = coded.astype(np.float64)
        gaps[name] = relative_gap(atoms, known, z.astype(np.float64), penalty).max()
        seconds[name] *= n / len(coded)
    report(contestants, seconds, gaps, f"{n} patches of {size}×{size}, {k} atoms, λ {penalty:.3g}")
    print(f"{(codes['lowland'] != 0).sum(1).mean():.1f} atoms active")


def learned(
    y: np.ndarray, k: int, penalty: float
) -> tuple[ll.energies.SparseCoding, ll.energies.SparseCoding]:
    """Atoms that suit the patches, as in use; and those after one more sweep."""
    generator = torch.Generator().manual_seed(0)
    data = torch.as_tensor(y)
    energy = ll.energies.SparseCoding.from_data(data, k=k, penalty=penalty, generator=generator)
    ll.fit(energy, data, MiniBatch(), steps=60, batch_size=256, generator=generator, progress=False)
    moved = ll.energies.SparseCoding(energy.dictionary, penalty)
    ll.fit(moved, data, ll.CoordinateDescent(), steps=1, progress=False)
    return energy, moved


def atoms_of(energy: ll.energies.SparseCoding) -> np.ndarray:
    """The dictionary with an atom in each row, float64."""
    return np.ascontiguousarray(energy.dictionary.detach().double().numpy().T)


def ours(
    energy: ll.energies.SparseCoding, moved: ll.energies.SparseCoding, y: np.ndarray
) -> dict[str, Contestant]:
    """In float64 and float32, and on the moved dictionary with and without codes to start from."""
    data, data32 = torch.as_tensor(y), torch.as_tensor(y).float()
    single = ll.energies.SparseCoding(energy.dictionary.float(), energy.penalty)
    before = ll.infer(energy, data).z
    moved_atoms = atoms_of(moved)
    return {
        "lowland": Contestant(lambda: ll.infer(energy, data).z.numpy(), atoms_of(energy), y),
        "lowland float32": Contestant(
            lambda: ll.infer(single, data32).z.numpy(), atoms_of(single), data32.numpy()
        ),
        "moved, cold": Contestant(lambda: ll.infer(moved, data).z.numpy(), moved_atoms, y),
        "moved, warm": Contestant(
            lambda: ll.infer(moved, data, start=before).z.numpy(), moved_atoms, y
        ),
    }


def scikit_learn(energy: ll.energies.SparseCoding, y: np.ndarray) -> dict[str, Contestant]:
    """Coordinate descent on all patches, and the homotopy on a tenth of them."""
    atoms, share = atoms_of(energy), y[: len(y) // 10]
    scaled = energy.penalty / y.shape[1]  # its loss is a mean over the elements of y
    # It compares the gap with |y|² = 1; no closer than the patch of least energy needs.
    tolerance = GAP * float(ll.score(energy, torch.as_tensor(y)).min())

    def lasso_cd() -> np.ndarray:
        model = Lasso(
            scaled, fit_intercept=False, precompute=atoms @ atoms.T, max_iter=100_000, tol=tolerance
        )
        return model.fit(atoms.T, y.T).coef_

    def lasso_lars() -> np.ndarray:
        model = LassoLars(
            scaled, fit_intercept=False, precompute=atoms @ atoms.T, max_iter=1000, fit_path=False
        )
        return model.fit(atoms.T, share.T).coef_

    return {
        "lasso_cd": Contestant(lasso_cd, atoms, y, rounds=1),
        "lasso_lars": Contestant(lasso_lars, atoms, share, rounds=1),
    }


def fista(energy: ll.energies.SparseCoding, y: np.ndarray) -> Contestant:
    """Proximal gradient steps with momentum and restart, to the same gap."""
    share = y[: len(y) // 10]

    def run() -> np.ndarray:
        problem = lasso(energy.latent, energy.linear_decoder())
        part = targets(energy.linear_decoder(), torch.as_tensor(share))
        return shrink_until(
            FISTA(2000), problem, part, start=None, tolerance=GAP, dtype=torch.float64
        ).z.numpy()

    return Contestant(run, atoms_of(energy), share, rounds=1)


def spams(energy: ll.energies.SparseCoding, y: np.ndarray) -> dict[str, Contestant]:
    """Its homotopy in C++, if it is installed."""
    if importlib.util.find_spec("spams") is None:
        return {}
    from spams import lasso as solve

    atoms = atoms_of(energy)
    columns, dictionary = np.asfortranarray(y.T), np.asfortranarray(atoms.T)

    def run() -> object:
        return solve(columns, D=dictionary, lambda1=energy.penalty, mode=2, numThreads=1)

    return {"spams": Contestant(run, atoms, y)}


def report(
    contestants: dict[str, Contestant],
    seconds: dict[str, float],
    gaps: dict[str, float],
    title: str,
) -> None:
    """The table and the verdicts."""
    mine = seconds["lowland"]
    print(f"\n{title}\n{'':16}{'coded':>7}{'seconds':>9}{'ratio':>8}{'worst gap':>12}")
    for name, c in contestants.items():
        scaled = "  (scaled up)" if len(c.y) < len(contestants["lowland"].y) else ""
        spent = seconds[name]
        print(f"{name:16}{len(c.y):7}{spent:9.3f}{spent / mine:8.2f}{gaps[name]:12.1e}{scaled}")
    for name in ("lowland", "lowland float32", "moved, warm"):
        print(verdict(f"worst gap, {name}", gaps[name], GAP))
    print(verdict("time / lasso_cd", mine / seconds["lasso_cd"], 0.5))
    print(verdict("time / lasso_lars", mine / seconds["lasso_lars"], 0.1))
    print(verdict("time / FISTA", mine / seconds["fista"], 0.15))
    if "spams" in seconds:
        print(verdict("time / SPAMS", mine / seconds["spams"], 2.0))
        print(verdict("time / SPAMS, parity", mine / seconds["spams"], 1.0))
    print(verdict("warm / cold", seconds["moved, warm"] / seconds["moved, cold"], 0.5))


if __name__ == "__main__":
    main()
