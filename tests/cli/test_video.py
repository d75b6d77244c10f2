"""A video is fitted and asked from the command line, and the answer is a film."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lowland as ll

pytest.importorskip("av")
image = pytest.importorskip("PIL.Image")


@pytest.fixture
def clip(folder: Path) -> Path:
    """A spot that goes round."""
    frames = torch.zeros(40, 1, 8, 8)
    for t in range(40):
        frames[t, 0, 2 + t % 4, 2 + (t // 2) % 4] = 1
    return ll.plot.movie(frames, folder / "clip.mp4")


def test_a_film_is_fitted_and_goes_on(run: Callable, clip: Path, folder: Path) -> None:
    fitted = run(
        f"fit {clip} --energy next-frame --set k=2 --set widths=[4,8] --size 8x8 --steps 30 "
        f"--held-out 8 --out runs/v --no-progress"
    )
    assert fitted.exit_code == 0, fitted.output
    assert "FreeEnergyDescent" in fitted.output
    asked = run("ask runs/v predict --n 2 --limit 3 --picture film.gif")
    assert asked.exit_code == 0, asked.output
    with image.open(folder / "film.gif") as film:
        assert film.n_frames == 3 + 12
    drawn = run("ask runs/v predict --n 2 --limit 3 --picture futures.png --out answers.npz")
    assert drawn.exit_code == 0, drawn.output
    assert (folder / "futures.png").stat().st_size > 1000


def test_what_is_no_film_is_refused(run: Callable, folder: Path) -> None:
    assert run("fit toy:ring --energy kmeans --set k=2 --out runs/k --no-progress").exit_code == 0
    refused = run("ask runs/k score --picture film.gif")
    assert refused.exit_code != 0
    assert "only predict of a run on videos" in " ".join(refused.output.split())
