"""Several blanks of a sentence filled in together: the most certain one first."""

from collections.abc import Callable

import torch
from torch import Tensor

# How many times as many fillings are followed as are wanted.
_WIDTH = 4


def fill_blanks(
    chances: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, blank: int, n: int
) -> Tensor:
    """Likely fillings of one sentence `(T,)` with blanks, `(k, T)`, the likeliest first.

    Each step takes, in every partial filling, the blank at which one token is likeliest, and goes
    on with the best of all continuations.

    Args:
        chances: the log probability of each token, `(places, V)`, at some of the n · T places of
            partial fillings `(n, T)`.
        tokens: int64 `(T,)`.
        blank: the token to be replaced.
        n: how many fillings are wanted; more are followed, and come back.
    """
    width, length = _WIDTH * n, len(tokens)
    beam, score = tokens.unsqueeze(0), torch.zeros(1, device=tokens.device, dtype=torch.float64)
    for _ in range(int((tokens == blank).sum())):
        row, place = (beam == blank).nonzero(as_tuple=True)
        chance = chances(beam, row * length + place).double()
        # The most certain blank of each filling, and its likeliest tokens.
        best = chance.amax(1).expand(len(beam), -1)
        mine = row == torch.arange(len(beam), device=tokens.device).unsqueeze(1)
        surest = best.masked_fill(~mine, -torch.inf).argmax(1)
        possible = int(torch.isfinite(chance[0]).sum())
        top = chance[surest].topk(min(width, possible), dim=1)
        total = (score.unsqueeze(1) + top.values).flatten()
        kept = total.argsort(descending=True, stable=True)[:width]
        parent = kept // top.indices.shape[1]
        beam, score = beam[parent].clone(), total[kept]
        rows = torch.arange(len(kept), device=tokens.device)
        beam[rows, place[surest][parent]] = top.indices.flatten()[kept]
        beam, score = _different(beam, score)
    return beam


def _different(beam: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Each filling once, in the order of the scores: two orders of blanks may lead to the same."""
    _, which = beam.unique(dim=0, return_inverse=True)
    numbers = torch.arange(len(beam), device=beam.device)
    first = torch.full_like(numbers, len(beam)).scatter_reduce(0, which, numbers, "amin")
    order = first[first < len(beam)].sort().values
    return beam[order], score[order]
