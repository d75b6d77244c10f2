"""Fill in hidden pixels: a convolutional masked autoencoder beside OpenCV's two methods.

    python benchmarks/inpainting.py [--quick] [--only mnist|photographs] [--picture FILE]

LOWLAND_DATA names the folder that holds mnist/mnist.npz (default ../shared/data); without it the
digits bundled with scikit-learn take its place.

- MNIST: half of the pixels hidden, each by a fair draw. Trained on the 60,000 training images,
  asked about 1,000 test images.
- photographs: random windows of 32 × 32 in grey from pictures bundled with scikit-image. Trained on
  windows of five pictures, asked about 500 windows of two others; half of the pixels hidden, or a
  square of 8 × 8. One network, trained on both kinds in turn, fills both.

Values are scaled to [−1, 1]; the figure is the mean squared error over the hidden pixels. OpenCV
gets 8-bit images and a radius of 3 (cv2.inpaint); its neighbourhoods reach across the image's
pixels as they are, so that nothing is lost to it but the rounding to 256 levels. `mean` fills in
the mean of the visible pixels of the image.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from _measure import one_thread, verdict
from skimage import color, data
from torch import Tensor

import lowland as ll
from lowland.pretext import Masked, Occluded, Task

TRAINED_ON = ("camera", "coffee", "chelsea", "rocket", "coins")
ASKED_ABOUT = ("astronaut", "immunohistochemistry")
SIDE = 32


def mnist() -> tuple[Tensor, Tensor]:
    """Images to train on and to be asked about, `(n, 1, h, w)` in [−1, 1]."""
    path = Path(os.environ.get("LOWLAND_DATA", "../shared/data")) / "mnist" / "mnist.npz"
    if path.exists():
        with np.load(path) as held:
            train, test = (torch.from_numpy(held[name]) for name in ("x_train", "x_test"))
        return train.unsqueeze(1) / 127.5 - 1, test[:1000].unsqueeze(1) / 127.5 - 1
    y = 2 * ll.data.digits().y - 1
    return y[:1400], y[1400:]


def windows(names: tuple[str, ...], n: int, seed: int) -> Tensor:
    """Random windows of pictures in grey, `(n, 1, 32, 32)` in [−1, 1]."""
    random = np.random.default_rng(seed)
    drawn = []
    for i in range(n):
        picture = getattr(data, names[i % len(names)])()
        grey = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255
        top, left = (random.integers(0, size - SIDE) for size in grey.shape)
        drawn.append(grey[top : top + SIDE, left : left + SIDE])
    return torch.from_numpy(np.stack(drawn)).float().unsqueeze(1) * 2 - 1


def by_opencv(y: Tensor, observed: Tensor, method: int) -> Tensor:
    """Fill in each image `(n, 1, h, w)` by cv2.inpaint."""
    filled = []
    for image, seen in zip(y[:, 0].numpy(), observed[:, 0].numpy(), strict=True):
        levels = np.round((image + 1) * 127.5).astype(np.uint8) * seen
        hole = (~seen).astype(np.uint8)
        filled.append(cv2.inpaint(levels.astype(np.uint8), hole, 3, method))
    found = torch.from_numpy(np.stack(filled)).float().unsqueeze(1) / 127.5 - 1
    return torch.where(observed, y, found)


def by_mean(y: Tensor, observed: Tensor) -> Tensor:
    """Fill in the mean of what is visible."""
    total = torch.where(observed, y, torch.zeros_like(y)).flatten(1).sum(1)
    mean = (total / observed.flatten(1).sum(1)).reshape(-1, 1, 1, 1)
    return torch.where(observed, y, mean)


def train(y: Tensor, tasks: dict[str, Task], steps: int) -> ll.Energy:
    """An inpainter that has seen all the tasks, in turn."""
    g = torch.Generator().manual_seed(0)
    energy = ll.energies.Inpainter.from_data(y, generator=g)
    began = time.process_time()
    rounds = 6 if len(tasks) > 1 else 1
    for _ in range(rounds):
        for task in tasks.values():
            ll.fit(
                energy,
                y,
                ll.Masking(task),
                steps=max(1, steps // rounds // len(tasks)),
                batch_size=64,
                optimizer=partial(torch.optim.Adam, lr=2e-3),
                generator=g,
                average=0.99,
                record_every=100,
                progress=False,
            )
    print(f"  trained for {steps} steps of 64, {time.process_time() - began:.0f} CPU s")
    return energy


def compare(energy: ll.Energy, y: Tensor, name: str, task: Task) -> dict[str, Tensor]:
    """Print the errors of all methods, and return what they filled in."""
    observed = task.observed(tuple(y.shape), torch.Generator().manual_seed(1))
    found = {
        "mean": by_mean(y, observed),
        "OpenCV Telea": by_opencv(y, observed, cv2.INPAINT_TELEA),
        "OpenCV Navier-Stokes": by_opencv(y, observed, cv2.INPAINT_NS),
        "Inpainter": ll.complete(energy, y, observed=observed, n=1).y[:, 0],
    }
    errors = {k: float((v - y)[~observed].square().mean()) for k, v in found.items()}
    print(f"  {name}: " + ", ".join(f"{k} {v:.4f}" for k, v in errors.items()))
    best = min(errors["OpenCV Telea"], errors["OpenCV Navier-Stokes"])
    print("  " + verdict(f"{name}, Inpainter / best of OpenCV", errors["Inpainter"] / best, 1))
    blank = torch.full_like(y, torch.nan)
    return {"original": y, "visible": torch.where(observed, y, blank), **found}


def draw(found: dict[str, Tensor], path: str) -> None:
    """Ten images, a row for each method."""
    rows = torch.cat([images[:10] for images in found.values()])
    ll.plot.images(rows, columns=10, limits=(-1.0, 1.0)).savefig(path, dpi=120)
    print(f"  drawn in {path}: {', '.join(found)}")


def main() -> None:
    """Print the errors of all methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["mnist", "photographs"])
    parser.add_argument("--picture", default="")
    options = parser.parse_args()
    one_thread()
    if options.only in (None, "mnist"):
        print("MNIST, half of the pixels hidden")
        y, held_out = mnist()
        task = Masked(0.5)
        energy = train(y, {"half": task}, 60 if options.quick else 1_200)
        found = compare(energy, held_out, "half", task)
        if options.picture:
            draw(found, options.picture)
    if options.only in (None, "photographs"):
        print("photographs")
        tasks: dict[str, Task] = {"half": Masked(0.5), "square": Occluded(size=(0.25, 0.25))}
        energy = train(windows(TRAINED_ON, 4_000, 0), tasks, 60 if options.quick else 1_200)
        held_out = windows(ASKED_ABOUT, 500, 1)
        for name, task in tasks.items():
            compare(energy, held_out, name, task)


if __name__ == "__main__":
    main()
