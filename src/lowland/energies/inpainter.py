"""A convolutional masked autoencoder: any pixels of an image, predicted from the others."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowland._errors import DomainError, ShapeError
from lowland.energies._layers import draw_weights
from lowland.energies._patches import regional_means
from lowland.energies.masked_autoencoder import MaskedAutoencoder, shown


class Inpainter(MaskedAutoencoder):
    r"""How far the hidden pixels are from what a convolutional network makes of the visible ones.

    $$E(x, y) = \sum_{i:\, x_i = 0} (y_i - \mathrm{net}(x \odot y, x)_i)^2$$

    The network takes the image with its hidden pixels blank, and the mask, so that pixels may be
    hidden one by one as well as in regions of any shape; where patches are hidden as a whole,
    `MaskedImage` costs less. It halves the image a few times and enlarges it again, adding what it
    knew at each size (a U-Net).

    Args:
        event: `(channels, height, width)` of one image, of any size.
        channels: feature maps at each size, the finest first; one halving between two of them.
        likelihood: whether the network also says how sure it is of each pixel.
        folds: how many folds the pixels are split into, where there is no x.
        generator: the start of the weights; torch's default generator if None.

    Raises:
        ShapeError: the event has not three axes, or the image is too small for so many halvings.
        DomainError: a size is not a positive whole number.

    Reference:
        Context Encoders: Feature Learning by Inpainting (Pathak et al., 2016),
        https://arxiv.org/abs/1604.07379; U-Net: Convolutional Networks for Biomedical Image
        Segmentation (Ronneberger, Fischer and Brox, 2015), https://arxiv.org/abs/1505.04597

    Example:
        >>> energy = Inpainter((1, 8, 8), channels=(4, 8))
        >>> y = torch.rand(5, 1, 8, 8)
        >>> half = ll.pretext.Masked(0.5).observed(y.shape, torch.Generator().manual_seed(0))
        >>> ll.complete(energy, y, observed=half, n=1).y.shape
        torch.Size([5, 1, 1, 8, 8])
    """

    net: "UNet"

    def __init__(
        self,
        event: Sequence[int],
        channels: Sequence[int] = (16, 32, 64),
        likelihood: bool = False,
        folds: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        net = UNet(event, channels, 1 + likelihood, generator)
        super().__init__(net, event, likelihood, folds)
        self.channels = net.channels

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator: the weights are in the state."""
        names = ("event", "channels", "likelihood", "folds")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        channels: Sequence[int] = (16, 32, 64),
        likelihood: bool = False,
        folds: int = 4,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a network that fits the images `(n, channels, height, width)`.

        Args:
            y: the images.
            x: not used; masks are drawn by the strategy.
            channels: feature maps at each size.
            likelihood: whether the network also says how sure it is of each pixel.
            folds: how many folds the pixels are split into, where there is no x.
            generator: the start of the weights.
        """
        energy = cls(tuple(y.shape[1:]), channels, likelihood, folds, generator)
        return energy.to(dtype=y.dtype, device=y.device)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Means of the coarsest feature maps, whole and by quarters, `(*batch, features)`."""
        batch = y.shape[: y.dim() - 3]
        flat = y.reshape(-1, *self.event)
        observed = self.hideable(flat) if x is None else self.mask_of(x, y)
        maps = self.net.descend(shown(flat, observed))[-1]
        places = maps.flatten(2).mT
        everywhere = torch.ones_like(places[..., 0], dtype=torch.bool)
        grid = int(maps.shape[2]), int(maps.shape[3])
        return regional_means(places, everywhere, grid, 2).reshape(*batch, -1)


class UNet(nn.Module):
    """Convolutions at several sizes of an image, coarse ones answering for fine ones.

    Args:
        event: `(channels, height, width)`.
        channels: feature maps at each size, the finest first.
        outputs: 1 for means, 2 for means and s.
        generator: the start of the weights.
    """

    def __init__(
        self,
        event: Sequence[int],
        channels: Sequence[int],
        outputs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.event, self.channels, self.outputs = tuple(event), tuple(channels), outputs
        if not self.channels or not all(isinstance(c, int) and c > 0 for c in self.channels):
            raise DomainError(
                f"The 'channels' of Inpainter must be positive whole numbers, at least one. Got "
                f"{self.channels}."
            )
        if len(self.event) != 3 or min(self.event[1:]) < 2 ** (len(self.channels) - 1):
            raise ShapeError(
                f"The 'event' of Inpainter must be (channels, height, width), large enough for "
                f"{len(self.channels) - 1} halvings. Got {self.event}. Give fewer 'channels'."
            )

        def convolution(inputs: int, to: int, side: int = 3, stride: int = 1) -> nn.Module:
            conv = nn.Conv2d(inputs, to, side, stride, padding=side // 2, device="meta")
            return draw_weights(conv, inputs * side * side, generator)

        def block(size: int) -> nn.Sequential:
            first, second = convolution(size, size), convolution(size, size)
            return nn.Sequential(nn.SiLU(), first, nn.SiLU(), second)

        steps = list(pairwise(self.channels))
        self.entry = convolution(2 * self.event[0], self.channels[0])
        self.down = nn.ModuleList([convolution(a, b, stride=2) for a, b in steps])
        self.before = nn.ModuleList([block(size) for size in self.channels])
        self.up = nn.ModuleList([convolution(b, a, side=1) for a, b in steps])
        self.after = nn.ModuleList([block(a) for a, _ in steps])
        self.head = convolution(self.channels[0], outputs * self.event[0])

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator: the weights are in the state."""
        return {"event": self.event, "channels": self.channels, "outputs": self.outputs}

    def descend(self, inputs: Tensor) -> list[Tensor]:
        """Feature maps at each size, the finest first, of values and mask `(n, 2, *event)`."""
        maps: Tensor = self.entry(inputs.flatten(1, 2))
        levels = []
        for level, block in enumerate(self.before):
            if level:
                maps = self.down[level - 1](functional.silu(maps))
            maps = maps + block(maps)
            levels.append(maps)
        return levels

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions `(n, *event)`, or `(n, 2, *event)`, from values and mask `(n, 2, *event)`."""
        *finer, maps = self.descend(inputs)
        for level in reversed(range(len(finer))):
            wide = functional.interpolate(self.up[level](maps), size=finer[level].shape[2:])
            maps = finer[level] + wide
            maps = maps + self.after[level](maps)
        out: Tensor = self.head(functional.silu(maps))
        return out if self.outputs == 1 else out.unflatten(1, (2, -1))
