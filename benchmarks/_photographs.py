"""Patches of the photographs that come with scikit-learn, in grey."""

import numpy as np
from sklearn.datasets import load_sample_images


def patches(size: int, n: int, seed: int = 0, *, unit: bool = True) -> np.ndarray:
    """`(n, size * size)` float64: mean removed, flat ones left out, unit norm if asked for."""
    generator = np.random.default_rng(seed)
    photographs = [image.mean(2) / 255 for image in load_sample_images().images]
    drawn = []
    for photograph in photographs:
        height, width = photograph.shape
        top = generator.integers(0, height - size, 3 * n)
        left = generator.integers(0, width - size, 3 * n)
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (size, size))
        rows = windows[top, left].reshape(3 * n, -1)
        rows = rows - rows.mean(1, keepdims=True)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        keep = length[:, 0] > 0.1
        rows = rows[keep] / length[keep] if unit else rows[keep]
        drawn.append(rows[: n - n // 2])
    both = np.concatenate(drawn)
    return np.ascontiguousarray(both[generator.permutation(len(both))[:n]])


def relative_gap(
    dictionary: np.ndarray, y: np.ndarray, z: np.ndarray, penalty: float
) -> np.ndarray:
    """(P − D) / P of the lasso with atoms in rows, by its definition in float64, `(n,)`."""
    residual = y - z @ dictionary
    primal = 0.5 * (residual**2).sum(1) + penalty * np.abs(z).sum(1)
    largest = np.abs(residual @ dictionary.T).max(1)
    feasible = residual * np.minimum(1, penalty / largest)[:, None]
    dual = 0.5 * (y**2).sum(1) - 0.5 * ((y - feasible) ** 2).sum(1)
    return (primal - dual) / primal
