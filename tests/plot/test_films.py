"""Films hold the frames that they were given."""

from pathlib import Path

import numpy as np
import pytest
import torch

import lowland as ll
from lowland import DomainError, ShapeError

av = pytest.importorskip("av")
image = pytest.importorskip("PIL.Image")


def test_a_gif_holds_every_frame(tmp_path: Path) -> None:
    frames = torch.linspace(0, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 6, 7)
    path = ll.plot.movie(frames, tmp_path / "film.gif", fps=4)
    with image.open(path) as film:
        assert film.n_frames == 5
        assert film.info["duration"] == 250
        for t in range(5):
            film.seek(t)
            middle = np.asarray(film.convert("L"))[film.height // 2, film.width // 2]
            assert abs(int(middle) - round(255 * t / 4)) <= 2


@pytest.mark.parametrize("channels", [1, 3])
def test_an_mp4_reads_back(tmp_path: Path, channels: int) -> None:
    frames = torch.zeros(3, 4, channels, 20, 30)
    frames[1] = 1
    path = ll.plot.movie(frames, tmp_path / "film.mp4", columns=2)
    stream = ll.data.clips(path, past=1, ahead=3)
    window = next(iter(stream))[0]
    assert stream.frames == 4
    height, width = window.shape[-2:]
    # Two in a row: the first film dark, the second light, the place of a fourth empty.
    assert window[0, 0, height // 4, width // 4] < 0.1
    assert window[0, 0, height // 4, 3 * width // 4] > 0.9


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="'frames'"):
        ll.plot.movie(torch.zeros(3, 2, 8, 8), tmp_path / "film.gif")
    with pytest.raises(DomainError, match=r"\.gif or \.mp4"):
        ll.plot.movie(torch.zeros(3, 1, 8, 8), tmp_path / "film.png")
    with pytest.raises(DomainError, match="finite"):
        ll.plot.movie(torch.full((3, 1, 8, 8), torch.nan), tmp_path / "film.gif")
