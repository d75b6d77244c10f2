"""A masked autoencoder over the patches of images."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from lowland.energies._patches import PatchTransformer, regional_means
from lowland.energies.masked_autoencoder import MaskedAutoencoder, shown


class MaskedImage(MaskedAutoencoder):
    r"""How far the hidden pixels are from what a transformer makes of the visible patches.

    $$E(x, y) = \sum_{i:\, x_i = 0} (y_i - \mathrm{Dec}(\mathrm{Enc}(\text{visible patches}))_i)^2$$

    The encoder sees the visible patches alone, so that training with three quarters hidden costs
    about a quarter; a light decoder then answers for every place. A patch that is hidden in part
    counts as hidden to the encoder, and only its hidden pixels are judged. The features of an image
    are means over its encoded patches.

    Args:
        event: `(channels, height, width)` of one image.
        patch: the side of a patch, which divides height and width.
        width: of the encoder's tokens.
        depth: how many layers the encoder has.
        heads: of each attention.
        decoder: width of the decoder's tokens.
        decoder_depth: how many layers the decoder has.
        likelihood: whether the network also says how sure it is of each pixel.
        folds: how many folds the patches are split into, where there is no x.
        regions: the features are means over the whole image, and over this many by this many
            regions of it; where that is the number of patches along a side, they are the patches'.
        generator: the start of the weights; torch's default generator if None.

    Raises:
        ShapeError: the event is no image, or the patch does not divide it.
        DomainError: a size is not a positive whole number, or does not go with the heads.

    Reference:
        Masked Autoencoders Are Scalable Vision Learners (He et al., 2022),
        https://arxiv.org/abs/2111.06377; the decoder asks by cross-attention, as in Rethinking
        Patch Dependence for Masked Autoencoders (Fu et al., 2024),
        https://arxiv.org/abs/2401.14391

    Example:
        >>> energy = MaskedImage((1, 8, 8), patch=4, width=16, depth=1)
        >>> y = torch.zeros(5, 1, 8, 8)
        >>> left = ll.pretext.region("left", (1, 8, 8)).expand_as(y)
        >>> energy(y, x=left).shape, energy.encode_patches(y).shape
        (torch.Size([5]), torch.Size([5, 4, 16]))
    """

    net: PatchTransformer

    def __init__(
        self,
        event: Sequence[int],
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        decoder: int = 64,
        decoder_depth: int = 1,
        likelihood: bool = False,
        folds: int = 4,
        regions: int = 7,
        generator: torch.Generator | None = None,
    ) -> None:
        net = PatchTransformer(
            event, patch, width, depth, heads, decoder, decoder_depth, 1 + likelihood, generator
        )
        super().__init__(net, event, likelihood, folds, block=(patch, patch))
        self.patch, self.width, self.depth, self.heads = patch, width, depth, heads
        self.decoder, self.decoder_depth, self.regions = decoder, decoder_depth, regions

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator: the weights are in the state."""
        names = ["event", "patch", "width", "depth", "heads", "decoder", "decoder_depth"]
        names += ["likelihood", "folds", "regions"]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        patch: int | None = None,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        decoder: int = 64,
        decoder_depth: int = 1,
        likelihood: bool = False,
        folds: int = 4,
        regions: int = 7,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a network that fits the images `(n, channels, height, width)`.

        Args:
            y: the images.
            x: not used; masks are drawn by the strategy.
            patch: the side of a patch; None takes one of which about seven span the image.
            width: of the encoder's tokens.
            depth: how many layers the encoder has.
            heads: of each attention.
            decoder: width of the decoder's tokens.
            decoder_depth: how many layers the decoder has.
            likelihood: whether the network also says how sure it is of each pixel.
            folds: how many folds the patches are split into, where there is no x.
            regions: of the features, along each side.
            generator: the start of the weights.
        """
        energy = cls(
            tuple(y.shape[1:]),
            _about_a_seventh(y.shape[2:]) if patch is None else patch,
            width,
            depth,
            heads,
            decoder,
            decoder_depth,
            likelihood,
            folds,
            regions,
            generator,
        )
        return energy.to(dtype=y.dtype, device=y.device)

    def usual_mask(self) -> tuple[float, tuple[int, ...]]:
        """Three quarters of the patches."""
        return 0.75, self.block

    def encode_patches(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Features of each patch, row by row, `(*batch, patches, width)`; NaN where x hides it."""
        batch = y.shape[: y.dim() - 3]
        features, visible = self._encoded(y, x)
        blank = torch.full_like(features, torch.nan)
        features = torch.where(visible.unsqueeze(2), features, blank)
        return features.reshape(*batch, *features.shape[1:])

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Means of the visible patches' features, `(*batch, (1 + regions²) · width)`.

        The mean over the whole image comes first; a region of which x hides everything has zeros.
        """
        batch = y.shape[: y.dim() - 3]
        features, visible = self._encoded(y, x)
        means = regional_means(features, visible, self.net.grid, self.regions)
        return means.reshape(*batch, -1)

    def _encoded(self, y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features of all patches `(n, patches, width)`, zero where hidden, and which are seen."""
        flat = y.reshape(-1, *self.event)
        observed = self.hideable(flat) if x is None else self.mask_of(x, y)
        tokens, _, order, visible = self.net.encode(shown(flat, observed))
        features = tokens.new_zeros(*visible.shape, self.width)
        index = order.unsqueeze(2).expand(-1, -1, self.width)
        # What stands beyond the visible patches of an item lands on hidden places, and is blanked.
        features = features.scatter(1, index, tokens[:, 1:])
        return features * visible.unsqueeze(2), visible


def _about_a_seventh(size: Sequence[int]) -> int:
    """The largest side of a patch that divides the image, from 2 to 16 and a seventh of it."""
    most = min(16, max(2, min(size) // 7))
    common = math.gcd(*size)
    return max(side for side in range(1, most + 1) if common % side == 0)
