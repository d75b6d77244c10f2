"""Videos are read frame by frame, and what is wrong with one is said."""

from pathlib import Path

import numpy as np
import pytest
import torch

import lowland as ll
from lowland import DataError, DomainError

av = pytest.importorskip("av")


def write(path: Path, frames: list[np.ndarray], codec: str = "mpeg4", options=None) -> Path:
    """A video of gray frames, of the sizes they have."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            rgb = np.repeat(frame[:, :, None], 3, 2)
            for packet in stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def brightness(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Frame t is all of value 8 t."""
    return [np.full((height, width), 8 * t, np.uint8) for t in range(count)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write(tmp_path / "clip.mp4", brightness(20))


def test_windows_hold_the_frames_in_order(clip: Path) -> None:
    stream = ll.data.clips(clip, past=2, ahead=2, gray=True, rows=5)
    blocks = list(stream)
    assert [len(block) for block in blocks] == [5, 5, 5, 2]
    assert stream.event == (4, 1, 32, 48)
    times = torch.arange(17).unsqueeze(1) + torch.arange(4)
    seen = torch.cat(blocks).mean((2, 3, 4)) * 255 / 8
    assert torch.allclose(seen, times.float(), atol=0.5)
    assert (stream.frames, stream.missing) == (20, 0)
    assert torch.equal(torch.cat(list(stream)), torch.cat(blocks))


def test_pairs_are_the_windows_split(clip: Path) -> None:
    stream = ll.data.clips(clip, past=3, size=(8, 12), stride=2)
    data = stream.dataset()
    windows = torch.cat(list(stream))
    assert data.x.shape == (7, 3, 3, 8, 12)
    assert torch.equal(data.x, windows[:, :3])
    assert torch.equal(data.y, windows[:, 3])
    assert data.kind == "image"
    several = ll.data.read(clip, past=1, ahead=2, size=(8, 12))
    assert several.y.shape == (18, 2, 3, 8, 12)


def test_a_video_cut_short_gives_the_frames_up_to_the_cut(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64), dtype=np.uint8)
    whole = write(tmp_path / "whole.mp4", list(noise), options={"movflags": "faststart"})
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 2 // 3])
    stream = ll.data.clips(cut, past=1, gray=True)
    count = sum(len(block) for block in stream)
    assert 10 <= stream.frames <= 20
    assert count == stream.frames - 1
    assert stream.frames + stream.missing == 30
    assert f"{stream.missing} frames missing" in stream.dataset().description
    full = torch.cat(list(ll.data.clips(whole, past=1, gray=True)))
    kept = torch.cat(list(ll.data.clips(cut, past=1, gray=True)))
    assert torch.equal(kept[:9], full[:9])


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.mpg", brightness(8, 32, 48), "mpeg1video")
    second = write(tmp_path / "b.mpg", brightness(8, 64, 48), "mpeg1video")
    both = tmp_path / "both.mpg"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DataError, match=r"Frame \d+ .*64×48 pixels, and those before it 32×48"):
        list(ll.data.clips(both, past=1))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        list(ll.data.clips(tmp_path / "none.mp4"))
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("not a video, whatever its name says\n" * 50)
    for path in (empty, text):
        with pytest.raises(DataError, match=r"cannot be read as a video|no video"):
            list(ll.data.clips(path))


def test_too_few_frames_and_bad_options_are_refused(clip: Path) -> None:
    with pytest.raises(DataError, match="has 2 frames to take, and a clip needs 4"):
        ll.data.clips(clip, stride=12).dataset()
    with pytest.raises(DomainError, match="'stride'"):
        ll.data.clips(clip, stride=0)
    with pytest.raises(DomainError, match="'width of 'size''"):
        ll.data.clips(clip, size=(4, 0))


def test_training_from_a_file(clip: Path) -> None:
    data = ll.data.read(clip, size=(8, 8), gray=True)
    energy = ll.energies.NextFrame.from_data(
        data.y, x=data.x, k=2, widths=(4, 8), generator=torch.Generator().manual_seed(0)
    )
    before = float(ll.score(energy, data.y, x=data.x).mean())
    g = torch.Generator().manual_seed(0)
    ll.fit(energy, data, ll.FreeEnergyDescent(anneal=10), steps=30, batch_size=8, generator=g)
    assert float(ll.score(energy, data.y, x=data.x).mean()) < before
