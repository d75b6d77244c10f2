"""Learn dictionaries of photographs and of handwritten digits, and draw their atoms.

    python examples/dictionaries.py docs/pictures/dictionaries.png

Photographs come with scikit-learn and scikit-image. Patches of 12×12 lose their mean and have unit
norm. Those of photographs are whitened first: each principal component is divided by its standard
deviation, a little softened, so that edges count as much as slow shading. LOWLAND_DATA names the
folder that holds mnist/mnist.npz; without it the digits are scikit-learn's, in patches of 6×6.
"""

import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data as photographs
from sklearn.datasets import load_sample_images

import lowland as ll

SIZE = 12
# Added to every variance before it is divided by, as a share of their mean.
SOFT = 0.02
NAMES = ("camera", "coffee", "chelsea", "rocket", "brick", "grass", "gravel", "moon")


def natural_patches(n: int, generator: np.random.Generator) -> torch.Tensor:
    """Whitened patches of unit mean square, `(n, 12, 12)`."""
    images = [image.mean(2) / 255 for image in load_sample_images().images]
    for name in NAMES:
        image = np.asarray(getattr(photographs, name)(), dtype=float)
        images.append((image.mean(2) if image.ndim == 3 else image) / 255)
    share = -(-n // len(images))
    logs = [np.log(image + 0.05) for image in images]
    rows = np.concatenate([windows(image[None], SIZE, share, generator) for image in logs])
    rows = rows - rows.mean(1, keepdims=True)
    return of_unit_norm(whitened(rows), generator).view(-1, SIZE, SIZE)


def digit_patches(n: int, generator: np.random.Generator) -> torch.Tensor:
    """Patches of handwritten digits, `(n, size, size)`."""
    path = Path(os.environ.get("LOWLAND_DATA", "../shared/data")) / "mnist" / "mnist.npz"
    y = np.load(path)["x_train"] if path.exists() else ll.data.digits().y.squeeze(1).numpy()
    size = SIZE if path.exists() else SIZE // 2
    rows = windows(y / y.max(), size, n, generator)
    return of_unit_norm(rows - rows.mean(1, keepdims=True), generator).view(-1, size, size)


def windows(images: np.ndarray, size: int, n: int, generator: np.random.Generator) -> np.ndarray:
    """Random squares of images `(m, height, width)`, `(n, size * size)`."""
    every = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    at = [generator.integers(0, length, n) for length in every.shape[:3]]
    return every[at[0], at[1], at[2]].reshape(n, -1).astype(float)


def whitened(y: np.ndarray) -> np.ndarray:
    """Rows whose elements are almost uncorrelated."""
    y = y - y.mean(0)
    variance, axes = np.linalg.eigh(np.cov(y.T))
    variance = variance.clip(min=0)
    return y @ axes / np.sqrt(variance + SOFT * variance.mean()) @ axes.T


def of_unit_norm(y: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
    """In random order; the fifth of least contrast is left out."""
    length = np.linalg.norm(y, axis=1, keepdims=True)
    keep = length[:, 0] > np.quantile(length, 0.2)
    y = y[keep] / length[keep]
    return torch.as_tensor(y[generator.permutation(len(y))], dtype=torch.float32)


def learn(
    y: torch.Tensor, k: int, penalty: float, epochs: int, generator: torch.Generator
) -> torch.Tensor:
    """The atoms, those used most first, `(k, height, width)`."""
    start = 0.1 * torch.randn(*y.shape[1:], k, generator=generator)
    energy = ll.energies.SparseCoding(start, penalty)
    energy.project_parameters()
    ll.fit(
        energy, y, ll.MiniBatch(forgetting=0.05), epochs=epochs, batch_size=512,
        generator=generator,
    )  # fmt: skip
    used = ll.infer(energy, y[:2000], tolerance=1e-3).z
    print(f"{(used != 0).sum(1).float().mean():.1f} of {k} atoms are used by an item")
    return energy.atoms.detach()[used.abs().sum(0).argsort(descending=True)]


def mosaic(axes: plt.Axes, atoms: torch.Tensor, title: str) -> None:
    """Draw atoms side by side, each to its own scale."""
    side = int(len(atoms) ** 0.5)
    height, width = atoms.shape[1:]
    canvas = np.ones((side * (height + 1), side * (width + 1)))
    for i, atom in enumerate(atoms[: side * side].numpy()):
        row, column = divmod(i, side)
        top, left = row * (height + 1), column * (width + 1)
        canvas[top : top + height, left : left + width] = atom / np.abs(atom).max()
    axes.imshow(canvas, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.axis("off")


def main(path: str) -> None:
    """Learn both and write the picture."""
    generator = torch.Generator().manual_seed(0)
    chance = np.random.default_rng(0)
    edges = learn(natural_patches(20_000, chance), 256, 0.15, 4, generator)
    strokes = learn(digit_patches(20_000, chance), 256, 0.15, 4, generator)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.8), dpi=72)
    mosaic(left, edges, "256 atoms of photographs")
    mosaic(right, strokes, "256 atoms of handwritten digits")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "dictionaries.png")
