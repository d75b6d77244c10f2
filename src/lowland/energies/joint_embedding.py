"""Joint embedding: two views of one thing agree if a network says the same of both."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError
from lowland.energies._layers import draw_weights, perceptron
from lowland.energies.masked_autoencoder import fold_masks
from lowland.energy import Energy

_GROUPS = 8


class JointEmbedding(Energy):
    r"""The squared distance between the embeddings of two views.

    $$E(x, y) = \|\mathrm{Pred}(\mathrm{Emb}(x)) - \mathrm{Emb}(y)\|^2, \qquad
      \mathrm{Emb} = \mathrm{Proj} \circ \mathrm{Enc}$$

    The condition x is another view of the datum, shaped like y: moved, damaged, or partly hidden.
    Nothing is reconstructed, so that the encoder may drop what cannot be known. Pushing the energy
    of pairs down alone makes all embeddings the same; `VarianceCovariance` and `SIGReg` keep them
    apart by their architecture, `InfoNCE` by contrast. With a predictor the energy has the form of
    a joint-embedding predictive architecture (JEPA).

    Without x the energy is the mean over folds of the datum's elements, split once and for all, of
    the energy with y lacking one fold as x: how far what is seen moves when a part is hidden.

    Args:
        encoder: any module, `(n, *event)` to `(n, features)`: what `lowland.encode` gives.
        event: the shape of one y.
        projector: any module, `(n, features)` to `(n, d)`, in whose output views are compared; None
            compares the features themselves.
        predictor: any module, `(n, d)` to `(n, d)`, from the embedding of x to that of y; None is
            the identity.
        folds: how many folds the elements are split into.

    Raises:
        DomainError: there are fewer than two folds.
        ShapeError: x is not shaped like y.

    Reference:
        A Path Towards Autonomous Machine Intelligence (LeCun, 2022),
        https://openreview.net/forum?id=BZ5a1r-kVsf; VICReg: Variance-Invariance-Covariance
        Regularization for Self-Supervised Learning (Bardes, Ponce and LeCun, 2022),
        https://arxiv.org/abs/2105.04906

    Example:
        >>> energy = JointEmbedding(torch.nn.Identity(), event=(2,))
        >>> energy(torch.tensor([[3.0, 4.0]]), x=torch.zeros(1, 2))
        tensor([25.])
    """

    _folds: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        event: Sequence[int],
        projector: nn.Module | None = None,
        predictor: nn.Module | None = None,
        folds: int = 4,
    ) -> None:
        super().__init__(event)
        if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
            raise DomainError(
                f"The 'folds' of JointEmbedding must be a whole number of at least 2. Got "
                f"{folds!r}."
            )
        self.encoder = encoder
        self.projector = projector
        self.predictor = predictor
        self.folds = folds
        self.register_buffer("_folds", fold_masks(self.event, (), folds), persistent=False)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        channels: Sequence[int] = (32, 64, 128),
        hidden: Sequence[int] = (256, 256),
        d: int = 64,
        predictor: int = 0,
        folds: int = 4,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build an encoder that fits the data: convolutions for images, else a perceptron.

        Args:
            y: the data, `(n, *event)`; `(n, channels, height, width)` are images.
            x: not used; views are drawn by the strategy, or are the x of the data.
            channels: of images, feature maps after each convolution, which halves the image.
            hidden: of other data, the sizes of the encoder's layers; the last is the features'.
            d: the size of the embedding.
            predictor: the size of the predictor's hidden layer; 0 for no predictor.
            folds: how many folds the elements are split into, where there is no x.
            generator: the start of the weights.
        """
        event = tuple(y.shape[1:])
        if len(event) == 3:
            layers, features = _convolutions(event, tuple(channels), generator)
        else:
            sizes = [math.prod(event), *hidden]
            layers, features = [nn.Flatten(), *perceptron(sizes, generator), nn.SiLU()], sizes[-1]
        projector = nn.Sequential(*perceptron([features, 2 * d, d], generator))
        predicting = nn.Sequential(*perceptron([d, predictor, d], generator)) if predictor else None
        energy = cls(nn.Sequential(*layers), event, projector, predicting, folds)
        return energy.to(dtype=y.dtype, device=y.device)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The squared distance between the embeddings, `(*batch,)`."""
        batch = y.shape[: y.dim() - len(self.event)]
        flat = y.reshape(-1, *self.event)
        embedded = self.embed(flat)
        if x is not None:
            if x.shape != y.shape or not x.is_floating_point():
                raise ShapeError(
                    f"'x' of JointEmbedding must be another view of y, of floating point and shape "
                    f"{tuple(y.shape)}. Got {x.dtype} of shape {tuple(x.shape)}."
                )
            return self.compare(self.embed(x.reshape(flat.shape)), embedded).reshape(batch)
        views = [torch.where(fold, torch.zeros_like(flat), flat) for fold in self._folds]
        values = [self.compare(self.embed(view), embedded) for view in views]
        return torch.stack(values).mean(0).reshape(batch)

    def embed(self, y: Tensor) -> Tensor:
        """Emb of views `(n, *event)`, `(n, d)`."""
        features: Tensor = self.encoder(y)
        embedded: Tensor = features if self.projector is None else self.projector(features)
        return embedded.flatten(1)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        """The squared distance between embeddings, from x by the predictor, `(n,)`."""
        predicted: Tensor = x if self.predictor is None else self.predictor(x)
        return (predicted - y).square().sum(1)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Enc(y), flattened to `(*batch, features)`; x is not looked at."""
        batch = y.shape[: y.dim() - len(self.event)]
        features: Tensor = self.encoder(y.reshape(-1, *self.event))
        return features.reshape(*batch, -1)


def _convolutions(
    event: tuple[int, ...], channels: tuple[int, ...], generator: torch.Generator | None
) -> tuple[list[nn.Module], int]:
    """Convolutions that halve the image, then the mean over what is left; and how many features."""
    if not channels or not all(isinstance(c, int) and c > 0 and c % _GROUPS == 0 for c in channels):
        raise DomainError(
            f"The 'channels' of JointEmbedding must be multiples of {_GROUPS}. Got {channels}."
        )
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([event[0], *channels]):
        conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, device="meta")
        layers += [
            draw_weights(conv, inputs * 9, generator),
            nn.GroupNorm(_GROUPS, outputs),
            nn.SiLU(),
        ]
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()], channels[-1]
