"""What the tokens of a vocabulary are for: blanks, padding, parts of words."""

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError


class TokenRoles(nn.Module):
    """Which token stands for what is hidden, which fill up, and which may be hidden at all.

    Args:
        vocabulary: V, how many tokens there are.
        blank: stands for what is hidden; None is the number after the last token.
        padding: fills up short sentences, or None.
        special: further tokens that are never hidden.
        continues: bool `(V,)`, which tokens go on with a word; None if each is a word.

    Raises:
        DomainError: a token is outside of the vocabulary.
        ShapeError: `continues` does not tell of each token.
    """

    free: Tensor

    def __init__(
        self,
        vocabulary: int,
        blank: int | None,
        padding: int | None,
        special: tuple[int, ...],
        continues: Tensor | None,
    ) -> None:
        super().__init__()
        named = {"blank": blank, "padding": padding}
        for name, token in (*named.items(), *(("special", token) for token in special)):
            if token is not None and not 0 <= token < vocabulary:
                raise DomainError(
                    f"'{name}' of MaskedTokens must be a token in [0, {vocabulary}). Got {token}."
                )
        if continues is not None and tuple(continues.shape) != (vocabulary,):
            raise ShapeError(
                f"'continues' of MaskedTokens must have shape ({vocabulary},). Got "
                f"{tuple(continues.shape)}."
            )
        self.blank = vocabulary if blank is None else blank
        self.padding = padding
        free = torch.ones(vocabulary, dtype=torch.bool)
        free[[token for token in (padding, blank, *special) if token is not None]] = False
        self.register_buffer("free", free, persistent=False)
        self.register_buffer("continues", None if continues is None else continues.clone())

    def hideable(self, y: Tensor) -> Tensor:
        """Which places hold a token that may be hidden, bool like y."""
        return self.free.index_select(0, y.flatten()).reshape(y.shape)

    def groups(self, y: Tensor) -> Tensor:
        """The number of the word of each place of `(n, T)`, negative where none may be hidden."""
        begins = torch.ones_like(y, dtype=torch.bool)
        if self.continues is not None:
            begins = ~self.get_buffer("continues")[y]
        return torch.where(self.hideable(y), (begins.cumsum(1) - 1).clamp(min=0), -1)

    def real(self, y: Tensor) -> Tensor | None:
        """Where there is no padding; None if there is none at all."""
        if self.padding is None:
            return None
        real = y != self.padding
        # A sentence of nothing else sees itself, for attention must see something.
        return None if bool(real.all()) else real | ~real.any(1, keepdim=True)

    def cropped(self, y: Tensor) -> Tensor:
        """Sentences `(n, T)` without the places that are padding in all of them, but for one."""
        if self.padding is None:
            return y
        used = (y != self.padding).any(0).nonzero()
        return y[:, : int(used[-1]) + 1 if len(used) else 1]
