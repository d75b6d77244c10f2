"""A masked language model as a conditional energy: what is hidden, given what is visible."""

import inspect
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland.capabilities import Filled
from lowland.domain import Categorical
from lowland.energies import _bert
from lowland.energies._beam import fill_blanks
from lowland.energies._precision import PRECISIONS, faster_precision
from lowland.energies._token_loss import surprise
from lowland.energies._token_roles import TokenRoles
from lowland.energies._transformer import TokenEncoder, draw_start
from lowland.energy import Energy

# Places are looked at in multiples of this, for a kernel is built anew for each number of rows.
_MULTIPLE = 64
# So many tokens go through the encoder at a time when each place is hidden in turn.
_TOKENS = 2**13


class MaskedTokens(Energy):
    r"""How surprising the hidden tokens of a sentence are, given the visible ones.

    $$E(x, y) = -\sum_{i \text{ hidden by } x} \log \operatorname{softmax}(g(x \odot y)_i)_{y_i},
      \qquad E(y) = -\sum_i \log \operatorname{softmax}(g(y_{\ne i})_i)_{y_i}$$

    x is a mask, bool, True where a token is visible; a blank stands for each token that is not.
    Without x, each place is hidden in turn: the pseudo-log-likelihood of the whole sentence. g is a
    transformer encoder with tied embeddings, whose logits are computed at hidden places only.

    Args:
        vocabulary: V, how many tokens there are.
        length: T, the places of a sentence; shorter ones are padded.
        width: of the hidden states.
        layers: blocks of the encoder.
        heads: of its attention.
        feedforward: the inner width of its feed-forward networks; 4 · width if None.
        convolution: places of the depthwise convolution before attention, odd; 0 for none.
        post_norm: the arrangement of BERT, with norms after the sums.
        segments: rows of BERT's table of segments; 0 for none.
        dropout: in training.
        epsilon: of the norms.
        blank: the token that stands for what is hidden; None gives it a row outside of V.
        padding: the token that fills up short sentences: never hidden, and not attended to.
        special: further tokens that are never hidden, nor proposed as answers.
        continues: bool `(V,)`, which tokens go on with a word; None if each token is a word.
        precision: of matrix products in training, "float32", "bfloat16", or "auto" for the faster
            of the two on this machine, which is measured once. Questions are answered in float32.
        generator: the start of the weights; torch's default generator if None.

    Raises:
        DomainError: a size or a token is out of range.

    Reference:
        BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al., 2019),
        https://arxiv.org/abs/1810.04805; Masked Language Model Scoring (Salazar et al., 2020),
        https://arxiv.org/abs/1910.14659

    Example:
        >>> energy = MaskedTokens(50, length=6, width=16, layers=1, heads=2)
        >>> y = torch.arange(12).reshape(2, 6)
        >>> energy(y, x=torch.tensor([True, True, False, True, True, True])).shape
        torch.Size([2])
    """

    def __init__(
        self,
        vocabulary: int,
        length: int = 128,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        feedforward: int | None = None,
        convolution: int = 5,
        post_norm: bool = False,
        segments: int = 0,
        dropout: float = 0.0,
        epsilon: float = 1e-5,
        blank: int | None = None,
        padding: int | None = None,
        special: tuple[int, ...] = (),
        continues: Tensor | None = None,
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        sizes = {"length": length, "width": width, "layers": layers, "heads": heads}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise DomainError(f"'{name}' of MaskedTokens must be at least 1. Got {size!r}.")
        super().__init__((length,), domain=Categorical(vocabulary))
        if not 0 <= dropout < 1:
            raise DomainError(f"'dropout' of MaskedTokens must lie in [0, 1). Got {dropout!r}.")
        if precision not in PRECISIONS:
            raise DomainError(f"'precision' must be one of {PRECISIONS}. Got {precision!r}.")
        self.vocabulary, self.length, self.width, self.layers = vocabulary, length, width, layers
        self.heads, self.feedforward = heads, feedforward or 4 * width
        self.convolution, self.post_norm, self.segments = convolution, post_norm, segments
        self.dropout, self.epsilon = dropout, epsilon
        self.blank, self.padding, self.special = blank, padding, tuple(special)
        self.roles = TokenRoles(vocabulary, blank, padding, self.special, continues)
        self.encoder = TokenEncoder(
            vocabulary + (blank is None),
            length,
            width,
            layers,
            heads,
            feedforward=self.feedforward,
            convolution=convolution,
            post_norm=post_norm,
            segments=segments,
            dropout=dropout,
            epsilon=epsilon,
            generator=generator,
        )
        self.transform = nn.Linear(width, width)
        draw_start(self.transform, generator)
        self.transform_norm = nn.LayerNorm(width, epsilon)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.precision = faster_precision(self.encoder) if precision == "auto" else precision

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator: the weights are in the state."""
        names = inspect.signature(type(self).__init__).parameters
        return {name: getattr(self, name) for name in names if name not in ("self", "generator")}

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        vocabulary: int | None = None,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        feedforward: int | None = None,
        convolution: int = 5,
        dropout: float = 0.0,
        blank: int | None = None,
        padding: int | None = None,
        special: tuple[int, ...] = (),
        continues: Tensor | None = None,
        precision: str = "auto",
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start at the frequencies of single tokens: the bias of the logits is their logarithm.

        Args:
            y: sentences of tokens, int64 `(n, T)`.
            x: not used; a mask is drawn in training.
            vocabulary: how many tokens there are; one more than the largest in y if None.
            width: of the hidden states.
            layers: blocks of the encoder.
            heads: of its attention.
            feedforward: the inner width of its feed-forward networks; 4 · width if None.
            convolution: places of the depthwise convolution, odd; 0 for none.
            dropout: in training.
            blank: the token that stands for what is hidden; None gives it a row of its own.
            padding: the token that fills up short sentences.
            special: further tokens that are never hidden.
            continues: bool `(V,)`, which tokens go on with a word.
            precision: "float32", "bfloat16", or "auto" for the faster in training here.
            generator: the start of the weights.

        Raises:
            DomainError: y does not hold tokens.
            ShapeError: y is not `(n, T)`.
        """
        if y.dtype != torch.int64:
            raise DomainError(
                f"MaskedTokens takes sentences of tokens, torch.int64. Got {y.dtype}. A text file "
                f"becomes tokens by lowland.data.read('corpus.txt')."
            )
        if y.dim() != 2:
            raise ShapeError(f"MaskedTokens takes sentences (n, T). Got shape {tuple(y.shape)}.")
        energy = cls(
            int(y.max()) + 1 if vocabulary is None else vocabulary,
            y.shape[1],
            width,
            layers,
            heads,
            feedforward,
            convolution,
            dropout=dropout,
            blank=blank,
            padding=padding,
            special=tuple(special),
            continues=continues,
            precision=precision,
            generator=generator,
        )
        energy.domain.check(y)
        counts = torch.bincount(y.flatten().cpu(), minlength=energy.vocabulary).float()
        with torch.no_grad():
            # As if each token had been seen a few times less than once more.
            energy.bias.copy_(((counts + 0.1) / (counts + 0.1).sum()).log())
        return energy.to(y.device)

    @classmethod
    def from_bert(
        cls, folder: str | PathLike[str], *, blank: int = 103, special: tuple[int, ...] = ()
    ) -> Self:
        """Read a `BertForMaskedLM` that `transformers` saved: config.json, model.safetensors.

        Raises:
            CheckpointError: the folder holds no such model.
        """
        config, tensors = _bert.read(Path(folder))
        told = _bert.arguments_of(config)
        energy = cls(**told, convolution=0, post_norm=True, blank=blank, special=special)
        energy.load_state_dict(_bert.ours_of(tensors, energy.layers), strict=False)
        return energy.eval()

    def to_bert(self, folder: str | PathLike[str]) -> None:
        """Write what `from_bert` and `BertForMaskedLM.from_pretrained` read.

        Raises:
            CapabilityError: the energy has not the arrangement of BERT.
            CheckpointError: the folder cannot be written.
        """
        if not self.post_norm or self.convolution or not self.segments or self.blank is None:
            raise CapabilityError(
                "BERT has norms after the sums, no convolution, segments and a blank among its "
                "tokens: build MaskedTokens(..., post_norm=True, convolution=0, segments=2, blank=)"
            )
        _bert.write(
            Path(folder), _bert.config_of(self), _bert.theirs_of(self.state_dict(), self.layers)
        )

    @property
    def continues(self) -> Tensor | None:
        """Which tokens go on with a word, bool `(V,)`; None if each is a word."""
        return None if self.roles.continues is None else self.roles.get_buffer("continues")

    def get_extra_state(self) -> Tensor:
        """The precision, so that a run resumes as it was begun, whatever is faster now."""
        return torch.tensor(PRECISIONS.index(self.precision))

    def set_extra_state(self, state: Any) -> None:
        """Take the precision of a saved run."""
        self.precision = PRECISIONS[int(state)]

    def hideable(self, y: Tensor) -> Tensor:
        """Which places hold a token that may be hidden, bool like y."""
        return self.roles.hideable(y)

    def groups(self, y: Tensor) -> Tensor:
        """The number of the word of each place of `(n, T)`, negative where none may be hidden."""
        return self.roles.groups(y)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The energy of what x hides; without x, that of each place given all others."""
        flat = y.reshape(-1, self.length)
        if x is None:
            return self._pseudo(flat).reshape(y.shape[:-1])
        shown = self._mask(x, y)
        return self.corrupted(flat, torch.where(shown, flat, -1), x=shown).reshape(y.shape[:-1])

    def corrupted(self, y: Tensor, shown: Tensor, *, x: Tensor) -> Tensor:
        """E(x, y) of sentences `(n, T)` where `shown` stands at the hidden places, `(n,)`."""
        hidden = ~x & self.hideable(y)
        false = torch.where(shown < 0, self.roles.blank, shown)
        places = hidden.flatten().nonzero().squeeze(1)
        value = self._surprise(torch.where(hidden, false, y), places, y.flatten()[places])
        empty = value.new_zeros(len(y))
        return empty.index_add(0, places.div(self.length, rounding_mode="floor"), value)

    def logits(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The logits of every token at every place, `(*batch, T, V)`, with blanks where x hides."""
        flat = y.reshape(-1, self.length)
        tokens = flat if x is None else torch.where(self._mask(x, y), flat, self.roles.blank)
        h = self._head(self.encoder(tokens, self.roles.real(tokens)))
        rows = nn.functional.linear(h, self.encoder.tokens.weight[: self.vocabulary], self.bias)
        return rows.reshape(*y.shape, self.vocabulary)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The mean hidden state of the tokens of each sentence, `(*batch, width)`.

        Tokens that x hides are blank, and do not count; nor do padding and special tokens.
        """
        flat = y.reshape(-1, self.length)
        shown = torch.ones_like(flat, dtype=torch.bool) if x is None else self._mask(x, y)
        tokens = torch.where(shown, flat, self.roles.blank)
        means = []
        for part in torch.arange(len(flat), device=y.device).split(max(1, _TOKENS // self.length)):
            h = self.encoder(tokens[part], self.roles.real(tokens[part]))
            counts = (self.hideable(flat[part]) & shown[part]).to(h.dtype).unsqueeze(2)
            means.append((h * counts).sum(1) / counts.sum(1).clamp(min=1))
        return torch.cat(means).reshape(*y.shape[:-1], self.width)

    def fill(
        self,
        y: Tensor,
        observed: Tensor,
        *,
        n: int = 1,
        x: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Filled:
        """Likely ways to fill in what is hidden of sentences `(m, T)`, several blanks jointly.

        A beam fills in the place of which the encoder is most certain, looks again, and goes on;
        the energies are those of the whole sentences.

        Args:
            y: `(m, T)`; hidden tokens are not looked at.
            observed: bool, like y.
            n: how many answers are wanted; more are compared.
            x: not used: the mask is `observed`.
            generator: not used; nothing is random here.
        """
        tokens = torch.where(observed, y, self.roles.blank)
        rows = [fill_blanks(self.log_probabilities, row, self.roles.blank, n) for row in tokens]
        answers = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        there = nn.utils.rnn.pad_sequence([row[:, 0] >= 0 for row in rows], batch_first=True)
        energy = self.bias.new_full(tuple(there.shape), torch.inf)
        energy[there] = self(answers[there])
        return Filled(answers, energy)

    def log_probabilities(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Of each token that may be proposed, at some of the places, `(places, V)`.

        Args:
            tokens: `(n, T)`, blanks among them.
            places: indices into the n · T places.
        """
        h = self._head(self.encoder(tokens, self.roles.real(tokens), places))
        rows = nn.functional.linear(h, self.encoder.tokens.weight[: self.vocabulary], self.bias)
        return rows.masked_fill(~self.roles.free, -torch.inf).log_softmax(-1)

    def _mask(self, x: Tensor, y: Tensor) -> Tensor:
        if x.dtype != torch.bool:
            raise DomainError(
                f"'x' of MaskedTokens is a mask, bool, True where a token is visible. Got "
                f"{x.dtype}."
            )
        if tuple(x.shape) not in (self.event, tuple(y.shape)):
            raise ShapeError(
                f"'x' must have the shape of one sentence, {self.event}, or of y, "
                f"{tuple(y.shape)}. Got {tuple(x.shape)}."
            )
        return x.expand(y.shape).reshape(-1, self.length)

    def _head(self, h: Tensor) -> Tensor:
        out: Tensor = self.transform_norm(nn.functional.gelu(self.transform(h)))
        return out

    def _surprise(self, tokens: Tensor, places: Tensor, targets: Tensor) -> Tensor:
        """Minus the log probability of the targets at the places."""
        count = len(places)
        if count == 0:
            return self.bias[:0]
        low = self.training and self.precision == "bfloat16" and self.dtype == torch.float32
        if low:
            more = places[-1:].expand(-count % _MULTIPLE)
            places = torch.cat([places, more])
            targets = torch.cat([targets, targets[-1:].expand(len(more))])
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=low):
            h = self._head(self.encoder(tokens, self.roles.real(tokens), places))
        weight = self.encoder.tokens.weight[: self.vocabulary]
        return surprise(h, weight, self.bias, targets, low=low)[:count]

    def _pseudo(self, y: Tensor) -> Tensor:
        """Each place hidden in turn, `(n,)`."""
        y = self.roles.cropped(y)
        item, place = self.hideable(y).nonzero(as_tuple=True)
        values = []
        for rows in torch.arange(len(item), device=y.device).split(max(1, _TOKENS // y.shape[1])):
            tokens = y[item[rows]]
            here = torch.arange(len(rows), device=y.device)
            targets = tokens[here, place[rows]]
            tokens[here, place[rows]] = self.roles.blank
            values.append(self._surprise(tokens, here * y.shape[1] + place[rows], targets))
        value = torch.cat([*values, self.bias[:0]])
        return value.new_zeros(len(y)).index_add(0, item, value)
