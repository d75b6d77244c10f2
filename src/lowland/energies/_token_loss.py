"""Minus the log softmax at one class each, without ever holding the logits of all rows."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# So many logits are held at a time: they stay in the cache, and memory is not asked for anew.
_LOGITS = 2**21


class _Logits:
    """The logits of some rows at a time, in memory that is used again and again."""

    def __init__(self, states: Tensor, matrix: Tensor, bias: Tensor) -> None:
        self.states, self.matrix, self.bias = states, matrix, bias
        self.rows = min(len(states), max(1, _LOGITS // len(matrix)))
        self.full = bias.new_empty(self.rows, len(matrix))
        self.low = (
            self.full
            if states.dtype == bias.dtype
            else torch.empty_like(self.full, dtype=states.dtype)
        )

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the rows with their logits, which may be changed in place."""
        n = len(self.states)
        for start in range(0, n, self.rows):
            part = slice(start, min(n, start + self.rows))
            low, full = self.low[: part.stop - start], self.full[: part.stop - start]
            torch.mm(self.states[part], self.matrix.T, out=low)
            yield part, torch.add(low, self.bias, out=full)

    def lowered(self, full: Tensor) -> Tensor:
        """Numbers in place of the logits, as the matrix products take them."""
        return full if self.low is self.full else self.low[: len(full)].copy_(full)


class _Surprise(torch.autograd.Function):
    """The logits are computed again on the way back, which costs less than storing them."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, low: bool
    ) -> Tensor:
        states, matrix = (h.bfloat16(), weight.bfloat16()) if low else (h, weight)
        value, total = bias.new_empty(len(h)), bias.new_empty(len(h))
        for part, logits in _Logits(states, matrix, bias).parts():
            value[part] = -logits.gather(1, targets[part].unsqueeze(1)).squeeze(1)
            top = logits.amax(1, keepdim=True)
            total[part] = logits.sub_(top).exp_().sum(1).log_() + top.squeeze(1)
        ctx.save_for_backward(states, matrix, bias, targets, total)
        ctx.kinds = h.dtype, weight.dtype
        return value + total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        states, matrix, bias, targets, total = ctx.saved_tensors
        (slope,) = outputs
        to_h, to_bias = torch.empty_like(states), torch.zeros_like(bias)
        to_matrix = torch.zeros_like(matrix, dtype=ctx.kinds[1])
        table = _Logits(states, matrix, bias)
        for part, logits in table.parts():
            share = logits.sub_(total[part].unsqueeze(1)).exp_()
            target = targets[part].unsqueeze(1)
            share.scatter_add_(1, target, share.new_full((1, 1), -1.0).expand(len(target), 1))
            share.mul_(slope[part].unsqueeze(1))
            to_bias += share.sum(0)
            share = table.lowered(share)
            torch.mm(share, matrix, out=to_h[part])
            to_matrix += share.T @ states[part]
        return to_h.to(ctx.kinds[0]), to_matrix, to_bias, None, None


def surprise(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, low: bool) -> Tensor:
    r"""How surprising each target is to a linear classifier, in nats.

    $$s_i = \log \sum_v \exp(w_v \cdot h_i + b_v) - (w_{t_i} \cdot h_i + b_{t_i})$$

    Args:
        h: hidden states, `(n, width)`.
        weight: `(classes, width)`.
        bias: `(classes,)`.
        targets: int64, `(n,)`.
        low: whether the matrix products are of bfloat16 numbers.

    Returns:
        `(n,)`, once differentiable in h, weight and bias.

    Example:
        >>> surprise(
        ...     torch.zeros(1, 3), torch.zeros(4, 3), torch.zeros(4), torch.tensor([2]), low=False
        ... )
        tensor([1.3863])
    """
    # torch's own method carries no hints.
    value: Tensor = _Surprise.apply(h, weight, bias, targets, low)  # type: ignore[no-untyped-call]
    return value
