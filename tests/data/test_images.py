import contextlib
import inspect
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from lowland._errors import DataError, DomainError, LowlandError
from lowland.data import image_folder, read

FLOWER = load_sample_image("flower.jpg")[:40, :60]


def test_round_trip_without_loss(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "tif", "webp"):
        folder = tmp_path / suffix
        folder.mkdir()
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        Image.fromarray(FLOWER).save(folder / f"flower.{suffix}", **options)
        data = read(folder)
        assert data.event == (3, 40, 60)
        assert (data.kind, data.y.dtype) == ("image", torch.float32)
        assert np.array_equal((data.y[0] * 255).round().byte().numpy(), FLOWER.transpose(2, 0, 1))


def test_jpeg_and_gif_are_close(tmp_path: Path) -> None:
    gray = load_digits().images[0].repeat(4, 0).repeat(4, 1).astype(np.uint8) * 15
    for name in ("a.JPG", "b.jpeg", "c.gif"):
        Image.fromarray(gray).save(tmp_path / name, **({} if "gif" in name else {"quality": 95}))
    data = image_folder(tmp_path, grayscale=True)
    assert data.event == (1, 32, 32)
    assert (data.y[:, 0] - torch.from_numpy(gray) / 255).abs().mean() < 0.01


def test_digits_in_labelled_folders(tmp_path: Path) -> None:
    digits = load_digits()
    for i in range(30):
        folder = tmp_path / str(digits.target[i]) / "scans"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[i] * 15).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    data = image_folder(tmp_path)
    assert data.event == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    order = sorted(range(30), key=lambda i: (digits.target[i], i))
    assert data.labels.tolist() == [int(digits.target[i]) for i in order]
    assert torch.allclose(
        data.y[:, 0] * 255, torch.from_numpy(digits.images[order] * 15).float(), atol=1e-4
    )
    Image.fromarray(pixels).save(tmp_path / "loose.png")
    assert image_folder(tmp_path).labels is None


def test_other_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    (tmp_path / ".hidden").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / ".hidden" / "b.png")
    (tmp_path / "._a.png").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("none")
    assert image_folder(tmp_path).y.shape == (1, 1, 3, 3)


def test_sizes_that_differ(tmp_path: Path) -> None:
    Image.new("L", (6, 4), 255).save(tmp_path / "a.png")
    Image.new("L", (9, 5), 255).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a.png is 4×6 and .*b.png is 5×9 .*such as size=\(4, 6\)"):
        image_folder(tmp_path)
    data = image_folder(tmp_path, size=(2, 3))
    assert data.y.shape == (2, 1, 2, 3)
    assert torch.equal(data.y, torch.ones(2, 1, 2, 3))


def test_modes(tmp_path: Path) -> None:
    Image.new("L", (2, 2), 51).save(tmp_path / "a.png")
    Image.new("RGB", (2, 2), (255, 0, 51)).save(tmp_path / "b.png")
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "c.png")
    deep = np.full((2, 2), 13107, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    Image.new("1", (2, 2), 1).save(tmp_path / "e.png")
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "f.png", transparency=bytes([0, 255]))
    Image.new("LA", (2, 2), (0, 255)).save(tmp_path / "g.png")
    data = image_folder(tmp_path)
    corner = data.y[:, :, 0, 0]
    expected = [
        [0.2, 0.2, 0.2],
        [1.0, 0.0, 0.2],
        [1.0, 1.0, 1.0],
        [0.2, 0.2, 0.2],
        [1.0, 1.0, 1.0],
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0],
    ]
    assert torch.allclose(corner, torch.tensor(expected))
    gray = image_folder(tmp_path, grayscale=True, size=(3, 3))
    assert gray.y.shape == (7, 1, 3, 3)
    assert gray.y[3, 0, 1, 1] == pytest.approx(0.2)


def test_photographs_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert image_folder(tmp_path).event == (1, 6, 4)


def test_brightness_without_a_range(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a.tif cannot be read .*mode is 'F'"):
        image_folder(tmp_path)


def test_broken_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"not an image at all")
    with pytest.raises(DataError, match=r"a.png cannot be read as an image"):
        image_folder(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a.png cannot be read as an image"):
        image_folder(tmp_path)
    Image.fromarray(FLOWER).save(path)
    whole = path.read_bytes()
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"a.png cannot be read as an image"):
            image_folder(tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_altered_images_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(FLOWER).save(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        raw = bytearray(whole)
        for place in random.integers(0, min(300, len(raw)), 3):
            raw[place] = random.integers(256)
        path.write_bytes(bytes(raw))
        with contextlib.suppress(LowlandError):
            assert image_folder(tmp_path, size=(8, 8)).y.isfinite().all()


def test_postscript_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataError, match=r"a.png cannot be read as an image"):
        image_folder(tmp_path)


@pytest.mark.parametrize("side", [10_000, 40_000])
def test_a_decompression_bomb(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(DataError, match=r"a.png is too large to be decoded safely"):
        image_folder(tmp_path)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    Image.new("L", (3, 3)).save(inside / "a.png")
    Image.new("L", (3, 3)).save(outside / "b.png")
    (inside / "same.png").symlink_to(inside / "a.png")
    assert len(image_folder(inside)) == 2
    (inside / "link.png").symlink_to(outside / "b.png")
    with pytest.raises(DataError, match=r"link.png is a link that leads out"):
        image_folder(inside)
    (inside / "link.png").unlink()
    (inside / "more").symlink_to(outside)
    with pytest.raises(DataError, match=r"more is a link that leads out"):
        image_folder(inside)


def test_no_images_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no image in .*\.png, \.jpg"):
        read(tmp_path)
    with pytest.raises(DataError, match="There is no folder"):
        image_folder(tmp_path / "nowhere")


@pytest.mark.wrong_types
@pytest.mark.parametrize("size", [(0, 3), (3,), 8, (2.5, 3), "8x8", (1, 2, 3)])
def test_bad_size(tmp_path: Path, size: object) -> None:
    with pytest.raises(DomainError, match="'size' of images must be"):
        image_folder(tmp_path, size=size)


def test_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inspect.unwrap(image_folder).__globals__, "MAX_BYTES", 100)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"need more than 100 bytes. Give a smaller size="):
        image_folder(tmp_path)


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r"needs PIL.*pip install 'lowland\[images\]'"):
        image_folder(tmp_path)
