"""The network of the frame predictors: past frames in, several possible next frames out."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowland._errors import DomainError
from lowland.energies._layers import draw_weights

# Weights are drawn wider than torch does by itself, so that signals neither die nor grow over many
# layers (He et al., 2015, https://arxiv.org/abs/1502.01852).
_GAIN = 6**0.5


def _convolution(
    channels_in: int,
    channels_out: int,
    kernel: int,
    stride: int,
    gain: float,
    generator: torch.Generator | None,
) -> nn.Conv2d:
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, device="meta")
    drawn = cast(nn.Conv2d, draw_weights(layer, channels_in * kernel**2, generator))
    with torch.no_grad():
        for parameter in drawn.parameters():
            parameter.mul_(gain)
    return drawn


class FrameNetwork(nn.Module):
    """Convolutions that halve the image, and convolutions that double it again.

    The first halving and the last doubling go with a change of channels, so that nothing is
    computed at full size. What the encoder saw at each size is handed across. A code, where there
    is one, enters at the smallest size.

    Args:
        inputs: channels in.
        outputs: channels out.
        widths: channels after each halving.
        code: how many elements a code has; 0 for none.
        generator: the start of the weights.

    Raises:
        DomainError: a width is not a positive whole number.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        code: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not widths or not all(isinstance(width, int) and width > 0 for width in widths):
            raise DomainError(
                f"'widths' must be positive whole numbers, at least one. Got {tuple(widths)}."
            )

        def convolution(
            channels_in: int, channels_out: int, kernel: int, stride: int, gain: float = _GAIN
        ) -> nn.Conv2d:
            return _convolution(channels_in, channels_out, kernel, stride, gain, generator)

        self.stem = convolution(inputs, widths[0], 5, 2)
        self.halvings = nn.ModuleList(convolution(a, b, 3, 2) for a, b in pairwise(widths))
        self.middle = convolution(widths[-1], widths[-1], 3, 1)
        self.code = None
        if code:
            self.code = draw_weights(nn.Linear(code, widths[-1], device="meta"), code, generator)
        self.doublings = nn.ModuleList(
            convolution(a + b, a, 3, 1) for a, b in reversed(list(pairwise(widths)))
        )
        self.head = convolution(widths[0], 4 * outputs, 3, 1, gain=1.0)

    def forward(self, frames: Tensor, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What comes out at full size, and the features at the smallest, averaged over places.

        Args:
            frames: `(n, inputs, height, width)`.
            z: a code, `(n, code)`, or None.

        Returns:
            `(n, outputs, height, width)` and `(n, widths[-1])`.
        """
        # Convolutions on the CPU are faster with the channels of a pixel side by side.
        frames = frames.contiguous(memory_format=torch.channels_last)
        seen = [functional.silu(self.stem(frames))]
        for halving in self.halvings:
            seen.append(functional.silu(halving(seen[-1])))
        h = functional.silu(self.middle(seen[-1]))
        features = h.mean((-2, -1))
        if self.code is not None and z is not None:
            h = h + self.code(z)[:, :, None, None]
        for doubling, skip in zip(self.doublings, reversed(seen[:-1]), strict=True):
            h = functional.interpolate(h, size=skip.shape[-2:])
            h = functional.silu(doubling(torch.cat([skip, h], 1)))
        out = functional.pixel_shuffle(self.head(h), 2)
        return out[..., : frames.shape[-2], : frames.shape[-1]], features


class FrameDecoder(nn.Module):
    """The frame that a code says comes after the past, `(n, *event)`.

    Args:
        event: `(channels, height, width)` of a frame, or with frames ahead first.
        past: how many frames the past holds.
        channels: channels of each of them.
        m: how many elements a code has.
        widths: channels after each halving of the image.
        generator: the start of the weights.
    """

    def __init__(
        self,
        event: Sequence[int],
        past: int,
        channels: int,
        m: int,
        widths: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.event, self.widths = tuple(event), tuple(widths)
        self.past, self.channels, self.m = past, channels, m
        outputs = math.prod(self.event[:-2])
        self.net = FrameNetwork(past * channels, outputs, widths, m, generator)

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator."""
        return {name: getattr(self, name) for name in ("event", "past", "channels", "m", "widths")}

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Codes `(n, m)` and pasts `(n, past, channels, height, width)` to frames."""
        change, _ = self.net(x.flatten(1, 2), z)
        last = x[:, -1:, : self.event[-3]]
        frames: Tensor = change.reshape(len(x), -1, *self.event[-3:]) + last
        return frames.reshape(len(x), *self.event)


class FrameEncoder(nn.Module):
    """What the code of a frame y after a past x may be, and how sure that is: `(n, 2 m)`.

    The arguments are those of `FrameDecoder`.
    """

    def __init__(
        self,
        event: Sequence[int],
        past: int,
        channels: int,
        m: int,
        widths: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.event, self.widths = tuple(event), tuple(widths)
        self.past, self.channels, self.m = past, channels, m
        sizes = [past * channels + math.prod(self.event[:-2]), *widths]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [_convolution(a, b, 3, 2, _GAIN, generator), nn.SiLU()]
        head = draw_weights(nn.Linear(widths[-1], 2 * m, device="meta"), widths[-1], generator)
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator."""
        return {name: getattr(self, name) for name in ("event", "past", "channels", "m", "widths")}

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Frames `(n, *event)` and pasts to means and log variances."""
        frames = y.reshape(len(y), -1, *self.event[-2:])
        code: Tensor = self.net(torch.cat([x.flatten(1, 2), frames], 1))
        return code
