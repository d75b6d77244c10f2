"""Predict the masked from the visible: elements, spans, patches or groups, at random."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lowland._errors import DomainError, ShapeError
from lowland._random import uniform
from lowland.pretext.task import Task, check_axes, check_share


@dataclass(frozen=True)
class Masked(Task):
    r"""Hide a share of the blocks of each datum, chosen at random without replacement.

    $$x = y_{\text{observed}}, \qquad
      \#\{\text{hidden blocks}\} = \mathrm{round}(r \cdot \#\{\text{blocks}\})$$

    A block covers so many places along the last axes, and all of what comes before them: `(3,)` are
    spans of three tokens, `(4, 4)` are patches of an image with all their channels, `()` is each
    element for itself. Blocks at the far edge are cut off where the sizes do not divide.

    Args:
        rate: r, the share of blocks that are hidden, in (0, 1); at least one is hidden and one is
            shown.
        block: the size of a block along the last axes.

    Raises:
        DomainError: the rate is not in (0, 1), or a size is not a positive whole number.

    Reference:
        BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al., 2019),
        https://arxiv.org/abs/1810.04805; Masked Autoencoders Are Scalable Vision Learners (He et
        al., 2022), https://arxiv.org/abs/2111.06377

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> Masked(0.5, block=(2,)).view(torch.arange(8).reshape(1, 8), g).x
        tensor([[ 0,  1,  2,  3, -1, -1, -1, -1]])
    """

    rate: float = 0.15
    block: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_share(self.rate, "rate", "Masked")
        sizes = self.block
        if not all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sizes):
            raise DomainError(f"'block' of Masked must hold positive whole numbers. Got {sizes!r}.")

    def observed(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        *,
        device: torch.device | None = None,
    ) -> Tensor:
        """Masks for data of shape `(n, *event)`, bool."""
        check_axes(shape, max(1, len(self.block)), "Masked")
        n, event = shape[0], shape[1:]
        axes = len(self.block)
        blocked = event[len(event) - axes :] if axes else event
        counts = tuple(
            math.ceil(size / block)
            for size, block in zip(blocked, self.block or (1,) * len(event), strict=True)
        )
        total = math.prod(counts)
        if total < 2:
            raise ShapeError(
                f"Masked hides some blocks and shows some, and data of shape {shape} have "
                f"{total} of size {self.block}. Use a smaller block."
            )
        hidden = hidden_first(
            self.rate, uniform((n, total), generator, like=torch.zeros((), device=device))
        )
        mask = ~hidden.reshape(n, *counts)
        for axis, (size, block) in enumerate(zip(blocked, self.block, strict=False), start=1):
            mask = mask.repeat_interleave(block, dim=axis).narrow(axis, 0, size)
        return mask.reshape(n, *[1] * (len(event) - len(blocked)), *blocked).expand(shape)

    def observed_groups(self, groups: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Hide whole groups, such as the tokens of a word, until the share is reached.

        Args:
            groups: int64, `(n, places)`, the number of the group of each place, from 0; places with
                a negative number are always shown.
            generator: the source of randomness.

        Returns:
            Bool, `(n, places)`, True where observed: at least one group is hidden, if there is one.
        """
        if groups.dim() != 2 or groups.dtype != torch.int64:
            raise ShapeError(
                f"'groups' must be int64 of shape (n, places). Got {groups.dtype} of shape "
                f"{tuple(groups.shape)}."
            )
        known = groups >= 0
        most = int(groups.max()) + 1 if groups.numel() else 0
        if most < 1:
            return torch.ones_like(known)
        order = uniform((len(groups), most), generator, like=groups)
        index = groups.clamp(min=0)
        sizes = torch.zeros_like(order).scatter_add_(1, index, known.to(order.dtype))
        order = torch.where(sizes > 0, order, torch.inf)
        ranked = order.argsort(1)
        before = sizes.gather(1, ranked).cumsum(1) - sizes.gather(1, ranked)
        wanted = self.rate * sizes.sum(1, keepdim=True)
        chosen = (before < wanted.clamp(min=0.5)) & (sizes.gather(1, ranked) > 0)
        hidden = torch.zeros_like(chosen).scatter_(1, ranked, chosen)
        return ~(hidden.gather(1, index) & known)


def hidden_first(rate: float, keys: Tensor) -> Tensor:
    """Which places `(n, total)` have one of the lowest keys: a share `rate`, at least one, not all.

    Example:
        >>> hidden_first(0.5, torch.tensor([[0.3, 0.1, 0.9, 0.2]]))
        tensor([[False,  True, False,  True]])
    """
    total = keys.shape[1]
    count = min(max(1, round(rate * total)), total - 1)
    chosen = keys.topk(count, dim=1, largest=False).indices
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, chosen, value=True)
