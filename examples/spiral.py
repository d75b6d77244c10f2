"""The lecture's figure 5: K-means on a spiral, its wells dark and the ridges between them light.

Run it as `python examples/spiral.py docs/pictures/spiral.png`.
"""

import sys
from pathlib import Path

import torch

import lowland as ll


def draw(path: Path) -> None:
    """Fit 24 prototypes to a spiral and write the picture of the free energy."""
    generator = torch.Generator().manual_seed(0)
    data = ll.data.spiral(1000, generator=generator)
    energy = ll.energies.KMeans.from_data(data.y, k=24, generator=generator)
    ll.fit(energy, data, ll.CoordinateDescent(), steps=100, generator=generator)
    figure = ll.plot.wells(energy, data=data.y, title="K-means on a spiral, k = 24")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "spiral.png"))
