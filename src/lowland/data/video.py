"""Clips from a video file, frame by frame: a long film needs no more memory than a short one."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowland._errors import DataError, DomainError
from lowland.data._files import MAX_BYTES, optional
from lowland.data.dataset import Dataset
from lowland.data.stream import Stream

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")

# Clips to hand on at a time: a few, for each holds several frames.
_ROWS = 64


class Clips(Stream):
    """Windows of consecutive frames of a video, read anew in each pass.

    Each is `(past + ahead, channels, height, width)`, from 0 to 1; the first is the oldest frame,
    and the next window begins one frame later.

    Attributes:
        frames: how many frames the last pass decoded, before `stride` left some out.
        missing: how many frames the file's header promised and the last pass did not find, because
            the file is cut short or damaged; 0 if the header promises nothing.
    """

    def __init__(
        self,
        path: Path,
        past: int,
        ahead: int,
        size: tuple[int, int] | None,
        gray: bool,
        stride: int,
        rows: int,
    ) -> None:
        super().__init__(self._windows, rows=rows, description=str(path))
        self.path = path
        self.past = past
        self.ahead = ahead
        self.size = size
        self.gray = gray
        self.stride = stride
        self.frames = 0
        self.missing = 0

    def dataset(self) -> Dataset:
        """All clips in memory: x the past, y what follows it.

        Raises:
            DataError: the video holds no clip, or would fill the memory.
        """
        held: list[Tensor] = []
        size = 0
        for frame in self._decoded():
            held.append(frame)
            size += frame.numel() * frame.element_size()
            if size > MAX_BYTES:
                raise DataError(
                    f"{self.path} does not fit in memory: {len(held)} frames take "
                    f"{size / 2**30:.1f} GiB. Give a smaller 'size', a larger 'stride', or train "
                    f"on lowland.data.clips(path) as a stream."
                )
        length = self.past + self.ahead
        if len(held) < length:
            raise DataError(
                f"{self.path} has {len(held)} frames to take, and a clip needs {length} "
                f"(past={self.past}, ahead={self.ahead}, stride={self.stride})."
            )
        # Clips overlap: they are views of one tensor of frames.
        windows = torch.stack(held).unfold(0, length, 1).movedim(-1, 1)
        y = windows[:, self.past :] if self.ahead > 1 else windows[:, self.past]
        lost = f", {self.missing} frames missing at its end" if self.missing else ""
        return Dataset(
            y.to(self.dtype),
            x=windows[:, : self.past].to(self.dtype),
            kind="image" if self.ahead == 1 else "array",
            description=f"{len(windows)} clips of {self.path.name}{lost}",
        )

    def _windows(self) -> Iterator[Tensor]:
        length = self.past + self.ahead
        recent: deque[Tensor] = deque(maxlen=length)
        block: list[Tensor] = []
        for frame in self._decoded():
            recent.append(frame)
            if len(recent) == length:
                block.append(torch.stack(tuple(recent)))
            if len(block) == self.rows:
                yield torch.stack(block)
                block = []
        if block:
            yield torch.stack(block)

    def _decoded(self) -> Iterator[Tensor]:
        """Every `stride`-th frame, `(channels, height, width)` from 0 to 1."""
        av = optional("av", needed_for="Reading videos", extra="video")
        if not self.path.is_file():
            raise DataError(f"There is no file {self.path}. Check the path.")
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{self.path} cannot be read as a video ({error}).") from error
        with container:
            video = next(iter(container.streams.video), None)
            # Without a codec, decoding would end the whole process.
            if video is None or video.codec_context is None:
                raise DataError(f"{self.path} holds no video that can be decoded.")
            self.frames, self.missing = 0, 0
            first: tuple[int, int] | None = None
            decoder = container.decode(video)
            while True:
                try:
                    frame = next(decoder)
                except StopIteration:
                    break
                except av.error.FFmpegError as error:
                    if self.frames == 0:
                        raise DataError(
                            f"No frame of {self.path} can be decoded ({error})."
                        ) from error
                    break  # the rest is lost, and counted below
                shape = (frame.height, frame.width)
                first = first or shape
                if shape != first:
                    raise DataError(
                        f"Frame {self.frames} of {self.path} (counted from 0) has {shape[0]}×"
                        f"{shape[1]} pixels, and those before it {first[0]}×{first[1]}. Cut the "
                        f"video where its size changes."
                    )
                if self.frames % self.stride == 0:
                    yield self._values(frame)
                self.frames += 1
            self.missing = max(0, int(video.frames or 0) - self.frames)

    def _values(self, frame: Any) -> Tensor:
        kind = "gray" if self.gray else "rgb24"
        if self.size is None:
            taken = frame.reformat(format=kind)
        else:
            height, width = self.size
            taken = frame.reformat(width=width, height=height, format=kind, interpolation="AREA")
        values = np.asarray(taken.to_ndarray(), dtype=np.float32) / 255
        pixels = torch.from_numpy(values)
        return pixels.unsqueeze(0) if self.gray else pixels.permute(2, 0, 1).contiguous()


def clips(
    path: str | Path,
    *,
    past: int = 3,
    ahead: int = 1,
    size: tuple[int, int] | None = None,
    gray: bool = False,
    stride: int = 1,
    rows: int = _ROWS,
) -> Clips:
    """Clips of a video file, decoded as they are asked for.

    Memory holds a block of clips at a time, however long the video is. A video that is cut short
    gives the frames up to the cut, and `Clips.missing` counts those that are lost.

    Args:
        path: a video file, of any format that FFmpeg decodes.
        past: how many frames are shown.
        ahead: how many frames after them are to be predicted.
        size: (height, width) in pixels to resize each frame to; the video's own if None.
        gray: whether to keep lightness alone.
        stride: take every so many-th frame.
        rows: how many clips to hand on at a time.

    Returns:
        Clips: a `Stream` of `(past + ahead, channels, height, width)`; `.dataset()` reads all of
            it into pairs (x, y).

    Raises:
        DataError: the file is missing or no video, a frame has another size than those before, or
            PyAV is not installed. Known when the first frame is read.
        DomainError: an option is not a positive whole number.

    Example:
        >>> clips("missing.mp4", past=2, stride=3).past
        2
    """
    counts = {"past": past, "ahead": ahead, "stride": stride, "rows": rows}
    if size is not None:
        counts |= {"height of 'size'": size[0], "width of 'size'": size[1]}
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DomainError(
                f"The '{name}' of clips must be a whole number of at least 1. Got {value!r}."
            )
    return Clips(Path(path).expanduser(), past, ahead, size, gray, stride, rows)


def video_file(
    path: Path,
    *,
    past: int = 3,
    ahead: int = 1,
    size: tuple[int, int] | None = None,
    gray: bool = False,
    stride: int = 1,
) -> Dataset:
    """All clips of a video file as a dataset of pairs; the options are those of `clips`."""
    return clips(path, past=past, ahead=ahead, size=size, gray=gray, stride=stride).dataset()
