"""What an energy may know of embeddings, and when embeddings have collapsed."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

# Embeddings whose spread is below this share of their length are the same for all data.
_SAME = 0.03
# Fewer directions than this carry all that differs between the data.
_FEW = 1.5


@runtime_checkable
class Embeds(Protocol):
    """Compares embeddings of two views: E(x, y) = compare(embed(x), embed(y))."""

    def embed(self, y: Tensor) -> Tensor:
        """The embedding of views `(n, *event)`, differentiable, `(n, d)`."""
        ...

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """The energy of pairs of embeddings, each `(n, d)`, differentiable, `(n,)`."""
        ...


class Spread(NamedTuple):
    """How embeddings of many data differ from one another.

    Attributes:
        deviation: the root mean square of their standard deviations, over the dimensions.
        relative: the same, relative to the root mean square of the embeddings themselves.
        effective_rank: exp of the entropy of the covariance's eigenvalues as shares of their sum:
            how many directions carry what differs.
        dimension: how many directions there are.
        collapse: what is wrong, as a sentence; None if nothing is.
    """

    deviation: float
    relative: float
    effective_rank: float
    dimension: int
    collapse: str | None


def spread(mean: Tensor, second: Tensor) -> Spread:
    """Judge embeddings by their moments.

    Args:
        mean: of the embeddings, `(d,)`.
        second: the mean of their outer products, `(d, d)`.

    Reference:
        The Effective Rank: A Measure of Effective Dimensionality (Roy and Vetterli, 2007),
        https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf; Understanding
        Dimensional Collapse in Contrastive Self-supervised Learning (Jing et al., 2022),
        https://arxiv.org/abs/2110.09348

    Example:
        >>> spread(torch.zeros(3), torch.eye(3)).effective_rank
        3.0
        >>> spread(torch.ones(3), torch.ones(3, 3)).collapse
        'The embedding has collapsed: it is the same for all data (their spread is 0 of its size).'
    """
    mean, second = mean.double(), second.double()
    covariance = second - torch.outer(mean, mean)
    d = len(mean)
    variance = covariance.diagonal().clamp(min=0).sum() / d
    size = second.diagonal().clamp(min=0).sum() / d
    relative = float((variance / size).sqrt()) if float(size) > 0 else 0.0
    shares = torch.linalg.eigvalsh(covariance).clamp(min=0)
    total = shares.sum()
    rank = 0.0
    if float(total) > 0:
        shares = shares / total
        rank = round(float(torch.special.entr(shares).sum().exp()), 6)
    collapse = None
    if relative < _SAME:
        collapse = (
            f"The embedding has collapsed: it is the same for all data (their spread is "
            f"{relative:.2g} of its size)."
        )
    elif d > _FEW and rank < _FEW:
        collapse = (
            f"The embedding has collapsed: of its {d} dimensions, {rank:.2g} carry what differs "
            f"between the data."
        )
    return Spread(float(variance.sqrt()), relative, rank, d, collapse)
