"""InfoNCE: the two views of a datum must find each other among those of the other data."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from lowland._embedding import Embeds
from lowland._errors import DomainError
from lowland.train.views import TwoViews


@dataclass(frozen=True)
class InfoNCE(TwoViews):
    r"""Push down the energy of the views of one datum, push up that of views of different data.

    $$L = \frac{1}{2 n} \sum_i D_i(a, b) + D_i(b, a), \qquad
      D_i(a, b) = \frac{\|a_i - b_i\|^2}{2 \tau}
      + \log \sum_j e^{-\|a_i - b_j\|^2 / 2 \tau}$$

    a and b are the embeddings of the two views, scaled to length 1: a softmax with temperature τ of
    minus the energy over the batch, whose other items are the negatives. The larger the batch, the
    better; the pull is felt by near negatives most if τ is small.

    Args:
        views: makes the two views of each datum; None are `lowland.pretext.usual_views`. Data with
            an x of their own bring their pairs.
        temperature: τ.

    Raises:
        DomainError: the temperature is not positive and finite.

    Reference:
        Representation Learning with Contrastive Predictive Coding (van den Oord, Li and Vinyals,
        2018), https://arxiv.org/abs/1807.03748; A Simple Framework for Contrastive Learning of
        Visual Representations (Chen et al., 2020), https://arxiv.org/abs/2002.05709

    Example:
        >>> InfoNCE(temperature=0.2).kind
        'contrastive'
    """

    temperature: float = 0.2

    kind: ClassVar[str] = "contrastive"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise DomainError(
                f"The 'temperature' of InfoNCE must be positive. Got {self.temperature!r}."
            )

    def cost(self, energy: Embeds, a: Tensor, b: Tensor, generator: torch.Generator) -> Tensor:
        """The two cross-entropies of finding the other view."""
        # For unit vectors ‖a − b‖² / 2 is 1 − a · b, and the one cancels.
        similarity = functional.normalize(a) @ functional.normalize(b).T / self.temperature
        own = torch.arange(len(a), device=a.device)
        there = functional.cross_entropy(similarity, own)
        return (there + functional.cross_entropy(similarity.T, own)) / 2
