"""What comes next? The past, the blurred mean, and several sharp futures, each with its weight.

    python examples/futures.py docs/pictures/futures.png [film.gif]

A digit moves straight on, and in the next frame goes on or turns by 60° to either side. Least
squares answers with the mean of the three; the energy with a latent variable answers with each.
LOWLAND_DATA names the folder that holds mnist/mnist.npz; without it the digits bundled with
scikit-learn take its place. It takes some twenty minutes on one core. RUNS names the folder of
`benchmarks/next_frame.py`, whose trained energies are taken if they are there.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import lowland as ll
from lowland.data import Futures, turning_digits

RATE, STEPS = 3e-3, 12_000
SHOWN = 5


def digits(split: str) -> Tensor:
    """Digits at half size, `(m, 1, 14, 14)`."""
    path = Path(os.environ.get("LOWLAND_DATA", "")) / "mnist" / "mnist.npz"
    if not path.exists():
        y = ll.data.digits().y
        return y[:1400] if split == "train" else y[1400:]
    with np.load(path) as held:
        images = torch.from_numpy(held[f"x_{split}"]).unsqueeze(1).float() / 255
    return torch.nn.functional.avg_pool2d(images, 2)


def trained(clips: Futures, k: int, generator: torch.Generator) -> ll.Energy:
    """An energy with k heads; k = 1 is least squares."""
    kept = Path(os.environ.get("RUNS", "")) / f"turning-{k}"
    if "RUNS" in os.environ and kept.is_dir():
        return ll.load(kept)
    energy = ll.energies.NextFrame.from_data(clips.y, x=clips.x, k=k, generator=generator)
    strategy = ll.FreeEnergyDescent(anneal=2000)
    ll.fit(
        energy,
        clips.dataset(),
        strategy,
        steps=STEPS,
        batch_size=32,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=RATE),
        average=0.999,
        generator=generator,
    )
    return energy


def main(picture: Path, film: Path | None) -> None:
    """Train, and draw."""
    g = torch.Generator().manual_seed(0)
    clips = turning_digits(digits("train"), 24_000, generator=g)
    test = turning_digits(digits("test"), SHOWN, generator=torch.Generator().manual_seed(4))
    plain, latent = (trained(clips, k, g) for k in (1, 6))
    # Heads that say nearly the same count as one future.
    found = ll.predict(latent, test.x, n=3, distinct=0.09)
    mean = ll.predict(plain, test.x, n=1).y[:, 0]
    figure = ll.plot.futures(
        test.x, found, y=test.y, yardsticks={"least squares": mean}, limits=(0.0, 1.0)
    )
    figure.savefig(picture, dpi=150)
    if film is not None:
        rolled = ll.rollout(latent, test.x, steps=6, n=3, generator=g)
        past = test.x.unsqueeze(1).expand(-1, 3, *test.x.shape[1:])
        ll.plot.movie(torch.cat([past, rolled.y], 2).flatten(0, 1), film, columns=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
