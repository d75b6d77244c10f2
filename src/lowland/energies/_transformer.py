"""A compact transformer encoder of tokens, before the norm or after it (as in BERT)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowland._errors import DomainError


class Block(nn.Module):
    """Convolution, attention and a feed-forward network, each beside a straight way through.

    Args:
        width: of the hidden states.
        heads: of the attention.
        feedforward: the width between the two layers of the feed-forward network.
        convolution: how many places the depthwise convolution before attention looks at, an odd
            number; 0 for none.
        post_norm: whether the norms stand after the sums, as in BERT, or before each part.
        dropout: the share of each part's outputs that is dropped in training.
        epsilon: of the norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        convolution: int,
        post_norm: bool,
        dropout: float,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.post_norm = post_norm
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(width, epsilon)
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width, epsilon)
        self.up = nn.Linear(width, feedforward)
        self.down = nn.Linear(feedforward, width)
        self.local: nn.Conv2d | None = None
        if convolution:
            # Two axes, for the layout (n, places, width) is then one that torch convolves as it is.
            pad = (0, convolution // 2)
            self.local = nn.Conv2d(width, width, (1, convolution), padding=pad, groups=width)
            self.local_norm = nn.LayerNorm(width, epsilon)

    def forward(self, h: Tensor, real: Tensor | None, places: Tensor | None) -> Tensor:
        """The next hidden states.

        Args:
            h: `(n, length, width)`.
            real: bool, `(n, length)`, False for what no place may look at; None sees all.
            places: indices into the n · length places whose states are wanted, or None for all.

        Returns:
            `(n, length, width)`, or `(places, width)`.
        """
        if self.local is not None:
            local = self.local_norm(h)
            if real is not None:
                local = local * real.unsqueeze(2)
            local = local.transpose(1, 2).unsqueeze(2)
            with torch.autocast(h.device.type, enabled=False):  # bfloat16 is slow on the way back
                h = h + self.local(local.to(h.dtype)).squeeze(2).transpose(1, 2)
        n, length, width = h.shape
        parts = self.inputs(h if self.post_norm else self.attention_norm(h))
        q, k, v = parts.view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = None if real is None else real[:, None, None, :]
        mixed = _attend(q, k, v, seen)
        mixed = mixed.transpose(1, 2).reshape(n, length, width)
        if places is not None:
            # Only attention mixes places: what follows is needed where it is asked for.
            mixed, h = mixed.flatten(0, 1)[places], h.flatten(0, 1)[places]
        h = h + self._drop(self.outputs(mixed))
        h = self.attention_norm(h) if self.post_norm else h
        inner = functional.gelu(self.up(h if self.post_norm else self.feedforward_norm(h)))
        h = h + self._drop(self.down(inner))
        return self._normed(h)

    def _normed(self, h: Tensor) -> Tensor:
        normed: Tensor = self.feedforward_norm(h) if self.post_norm else h
        return normed

    def _drop(self, h: Tensor) -> Tensor:
        return functional.dropout(h, self.dropout, self.training) if self.dropout else h


def _attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """Attention `(n, heads, length, width of a head)`."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # The fused kernel's way back is many times slower than its parts in this precision.
        chance = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if seen is not None:
            chance = chance.masked_fill(~seen, -torch.inf)
        mixed: Tensor = chance.softmax(-1).to(v.dtype) @ v
        return mixed
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)


class TokenEncoder(nn.Module):
    r"""Hidden states of tokens that have seen one another.

    $$h_0 = e(\text{token}) + p(\text{place}), \qquad h_{l + 1} = \mathrm{Block}_l(h_l)$$

    Args:
        tokens: how many tokens there are, a blank among them if it has a row of its own.
        length: the most places of a sequence.
        width: of the hidden states.
        layers: how many blocks.
        heads: of the attention, a divisor of the width.
        feedforward: the inner width of the feed-forward networks.
        convolution: places of the depthwise convolutions, odd; 0 for none.
        post_norm: the arrangement of BERT.
        segments: rows of BERT's table of segments, of which the first is added; 0 for none.
        dropout: in training.
        epsilon: of the norms.
        generator: the start of the weights; torch's default generator if None.

    Raises:
        DomainError: a size is out of range.

    Reference:
        On Layer Normalization in the Transformer Architecture (Xiong et al., 2020),
        https://arxiv.org/abs/2002.04745
    """

    def __init__(
        self,
        tokens: int,
        length: int,
        width: int,
        layers: int,
        heads: int,
        *,
        feedforward: int,
        convolution: int,
        post_norm: bool,
        segments: int,
        dropout: float,
        epsilon: float,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise DomainError(f"'width' must be a multiple of 'heads'. Got {width} and {heads}.")
        if convolution and convolution % 2 == 0:
            raise DomainError(f"'convolution' must be odd, or 0 for none. Got {convolution}.")
        self.post_norm = post_norm
        self.dropout = dropout
        self.tokens = nn.Embedding(tokens, width)
        self.places = nn.Embedding(length, width)
        self.segments = nn.Embedding(segments, width) if segments else None
        self.norm = nn.LayerNorm(width, epsilon)
        kind = (width, heads, feedforward, convolution, post_norm, dropout, epsilon)
        self.blocks = nn.ModuleList(Block(*kind) for _ in range(layers))
        draw_start(self, generator)

    def forward(
        self, tokens: Tensor, real: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """Hidden states of tokens `(n, length)`.

        Args:
            tokens: int64.
            real: bool like tokens, False at padding; None if there is none.
            places: indices into the n · length places, or None for all.

        Returns:
            `(n, length, width)`, or `(places, width)`.
        """
        h = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        if self.segments is not None:
            h = h + self.segments.weight[0]
        if self.post_norm:
            h = self.norm(h)
        if self.dropout:
            h = functional.dropout(h, self.dropout, self.training)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            h = block(h, real, places if i == last else None)
        out: Tensor = h if self.post_norm else self.norm(h)
        return out


@torch.no_grad()
def draw_start(encoder: nn.Module, generator: torch.Generator | None) -> None:
    """Normal weights, biases 0; what is added to the straight way is small in deep encoders."""
    blocks = sum(isinstance(part, Block) for part in encoder.modules())
    for name, part in encoder.named_modules():
        if isinstance(part, nn.Embedding):
            part.weight.copy_(0.02 * torch.randn(part.weight.shape, generator=generator))
        elif isinstance(part, nn.Linear | nn.Conv2d):
            size = part.weight[0].numel() ** -0.5
            if name.endswith(("outputs", "down", "local")):
                size /= math.sqrt(2 * max(1, blocks))
            part.weight.copy_(size * torch.randn(part.weight.shape, generator=generator))
            part.state_dict()["bias"].zero_()
