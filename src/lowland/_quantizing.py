"""What an energy may offer whose code is made of vectors of a codebook."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Quantizes(Protocol):
    """Offers the parts of a code whose vectors are replaced by the nearest of a codebook."""

    def vectors(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """What the encoder says of items `(n, *event)`, `(n, positions, width)`."""
        ...

    def nearest_codes(self, vectors: Tensor) -> Tensor:
        """The index of the nearest vector of the codebook, `(n, positions)`."""
        ...

    def vectors_of(self, codes: Tensor) -> Tensor:
        """The codebook's vectors of the given indices, `(n, positions, width)`."""
        ...

    def decode_vectors(self, vectors: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The decoder on vectors, whether the codebook has them or not, `(n, *event)`."""
        ...

    def follow(
        self, vectors: Tensor, codes: Tensor, *, decay: float, generator: torch.Generator | None
    ) -> int:
        """Move the codebook towards a batch's vectors `(n, positions, width)` of the given codes.

        Running means keep `decay` in [0, 1). Returns how many unused codes began again.
        """
        ...
