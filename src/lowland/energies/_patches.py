"""A transformer over the visible patches of an image, and a light decoder of all patches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowland._errors import DomainError, ShapeError
from lowland._random import normal


def linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer, its weights uniform within √(6 / (inputs + outputs)), its biases zero."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    drawn = torch.rand(layer.weight.shape, generator=generator)
    with torch.no_grad():
        layer.weight.copy_((2 * drawn - 1) * (6 / (inputs + outputs)) ** 0.5)
        layer.bias.zero_()
    return layer


class Attention(nn.Module):
    """Multi-head attention of queries to a memory, after layer norms, with a perceptron after it.

    Args:
        width: of the queries, and of what is returned.
        memory: width of what is attended to.
        heads: how many heads the width is divided among.
        generator: the start of the weights.
    """

    def __init__(
        self, width: int, memory: int, heads: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(memory) if memory != width else self.norm
        self.query = linear(width, width, generator)
        self.key_value = linear(memory, 2 * width, generator)
        self.out = linear(width, width, generator)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            linear(width, 4 * width, generator),
            nn.GELU(),
            linear(4 * width, width, generator),
        )

    def forward(self, tokens: Tensor, memory: Tensor | None, real: Tensor | None) -> Tensor:
        """The tokens `(n, t, width)` after looking at the memory `(n, s, …)`, or at themselves.

        Args:
            tokens: the queries.
            memory: what is attended to; None is the tokens.
            real: bool, `(n, s)`, which of the memory there are; None is all.
        """
        asked = self.norm(tokens)
        seen = asked if memory is None else self.memory_norm(memory)
        query = self._split(self.query(asked))
        key, value = (self._split(part) for part in self.key_value(seen).chunk(2, dim=-1))
        mask = None if real is None else real[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        changed: Tensor = tokens + self.perceptron(tokens)
        return changed

    def _split(self, tokens: Tensor) -> Tensor:
        split: Tensor = tokens.unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)


class PatchTransformer(nn.Module):
    """Predict all patches of an image from those that are visible as a whole.

    The encoder sees the visible patches alone, so its cost falls with the share that is hidden; the
    decoder asks, for each place, what the encoded patches say of it.

    Args:
        event: `(channels, height, width)`.
        patch: the side of a patch, which divides height and width.
        width: of the encoder's tokens.
        depth: how many layers the encoder has.
        heads: of each attention.
        decoder: width of the decoder, which has `decoder_depth` layers.
        decoder_depth: how many layers the decoder has.
        outputs: 1 for means, 2 for means and s.
        generator: the start of the weights; torch's default generator if None.

    Raises:
        ShapeError: the event is no image, or the patch does not divide it.
        DomainError: a size is not a positive whole number, or the heads do not divide a width.
    """

    _places: Tensor
    _decoder_places: Tensor

    def __init__(
        self,
        event: Sequence[int],
        patch: int,
        width: int,
        depth: int,
        heads: int,
        decoder: int,
        decoder_depth: int,
        outputs: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.event = tuple(event)
        sizes = {"patch": patch, "width": width, "depth": depth, "heads": heads}
        sizes |= {"decoder": decoder, "decoder_depth": decoder_depth}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise DomainError(f"'{name}' must be a positive whole number. Got {size!r}.")
        if len(self.event) != 3 or self.event[1] % patch or self.event[2] % patch:
            raise ShapeError(
                f"The event must be (channels, height, width) with sides that the patch of "
                f"{patch} divides. Got {self.event}. Choose another 'patch', or pad the images."
            )
        if width % (4 * heads) or decoder % (4 * heads):
            raise DomainError(
                f"'width' and 'decoder' must be multiples of four times the heads, "
                f"{4 * heads}. Got {width} and {decoder}."
            )
        self.patch, self.width, self.depth, self.heads = patch, width, depth, heads
        self.decoder, self.decoder_depth, self.outputs = decoder, decoder_depth, outputs
        rows, columns = self.event[1] // patch, self.event[2] // patch
        self.grid = rows, columns
        values = self.event[0] * patch * patch
        self.embed = linear(values, width, generator)
        # Something to look at even if nothing is visible.
        like = torch.zeros(())
        self.register = nn.Parameter(0.02 * normal((width,), generator, like=like))
        self.layers = nn.ModuleList(
            [Attention(width, width, heads, generator) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(width)
        self.question = nn.Parameter(0.02 * normal((decoder,), generator, like=like))
        self.decoder_layers = nn.ModuleList(
            [Attention(decoder, width, heads, generator) for _ in range(decoder_depth)]
        )
        self.head = nn.Sequential(
            nn.LayerNorm(decoder), linear(decoder, outputs * values, generator)
        )
        self.register_buffer("_places", _waves(rows, columns, width), persistent=False)
        self.register_buffer("_decoder_places", _waves(rows, columns, decoder), persistent=False)

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator: the weights are in the state."""
        names = ("event", "patch", "width", "depth", "heads", "decoder", "decoder_depth", "outputs")
        return {name: getattr(self, name) for name in names}

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions `(n, *event)`, or `(n, 2, *event)`, from values and mask `(n, 2, *event)`."""
        code, real, _, _ = self.encode(inputs)
        tokens = (self.question + self._decoder_places).expand(len(inputs), -1, -1)
        for layer in self.decoder_layers:
            tokens = layer(tokens, code, real)
        pixels = self.head(tokens)
        if self.outputs == 1:
            return self._image(pixels)
        return torch.stack([self._image(part) for part in pixels.chunk(2, dim=-1)], 1)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """The encoded visible patches of values and mask `(n, 2, *event)`.

        Returns:
            The tokens `(n, 1 + s, width)`, the first of which belongs to no patch; which of them
            there are, bool `(n, 1 + s)`, or None if all; the patches that the others stand for,
            `(n, s)` int64; and which patches are visible, bool `(n, patches)`.
        """
        patches = self._patches(inputs[:, 0])
        visible = self._patches(inputs[:, 1]).amin(-1) > 0.5
        counts = visible.sum(1)
        most = int(counts.max())
        order = visible.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        kept = patches.gather(1, order.unsqueeze(2).expand(-1, -1, patches.shape[2]))
        tokens = self.embed(kept) + self._places[order]
        first = self.register.expand(len(inputs), 1, -1)
        tokens = torch.cat([first, tokens], 1)
        real = None
        if bool((counts < most).any()):
            real = torch.arange(1 + most, device=counts.device) <= counts.unsqueeze(1)
        for layer in self.layers:
            tokens = layer(tokens, None, real)
        return self.norm(tokens), real, order, visible

    def _patches(self, image: Tensor) -> Tensor:
        """`(n, *event)` to `(n, patches, values)`."""
        (rows, columns), p = self.grid, self.patch
        split = image.reshape(len(image), self.event[0], rows, p, columns, p)
        return split.permute(0, 2, 4, 1, 3, 5).reshape(len(image), rows * columns, -1)

    def _image(self, patches: Tensor) -> Tensor:
        """The way back from `_patches`."""
        (rows, columns), p = self.grid, self.patch
        split = patches.reshape(len(patches), rows, columns, self.event[0], p, p)
        return split.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), *self.event)


def _waves(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of each place of a grid, `(rows · columns, width)`.

    Half of them tell the row and half the column, with wavelengths from 2π to 20,000π.
    """
    quarter = width // 4
    frequency = 10_000 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    places = torch.cartesian_prod(
        torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64)
    )
    angles = (places.unsqueeze(2) * frequency).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1).to(torch.get_default_dtype())


def regional_means(
    features: Tensor, visible: Tensor, grid: tuple[int, int], regions: int
) -> Tensor:
    """Means of features over a grid of places, and over regions of it, of what is visible.

    Args:
        features: `(n, places, width)`, zero where nothing is visible.
        visible: bool, `(n, places)`.
        grid: rows and columns.
        regions: the grid is cut into so many parts along each side, or as many as it has.

    Returns:
        `(n, 1 + regions², width)`, the whole first; the whole alone for one region.

    Example:
        >>> places = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 4, 1)
        >>> regional_means(places, torch.ones(1, 4, dtype=torch.bool), (2, 2), 1).flatten()
        tensor([3.])
    """
    rows, columns = grid
    maps = features.mT.unflatten(2, (rows, columns))
    weight = visible.to(features.dtype).reshape(-1, 1, rows, columns)
    sizes = {1, min(regions, rows, columns)}
    means = []
    for size in sorted(sizes):
        total = functional.adaptive_avg_pool2d(maps, size)
        share = functional.adaptive_avg_pool2d(weight, size)
        means.append((total / torch.where(share > 0, share, torch.ones_like(share))).flatten(2).mT)
    return torch.cat(means, 1)
