"""An autoencoder as an energy: how far a point is from its own reconstruction."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import ShapeError
from lowland.energies._layers import apply_network, perceptron
from lowland.energy import Energy


class Autoencoder(Energy):
    r"""The squared distance from y to its reconstruction.

    $$E(y) = \|y - \mathrm{Dec}(\mathrm{Enc}(y))\|^2$$

    Trained by `Denoising`, the energy grows like the squared distance outside the data manifold.
    It has spurious zeros too, where the reconstruction has nowhere to go: at the centre of a circle
    of data, for example, and in general on the medial axis. Trained by plain reconstruction with
    a code as wide as y, it is zero everywhere.

    Args:
        encoder: any module, `(n, *event)` to `(n, ...)`.
        decoder: any module, the encoder's output to `(n, *event)`.
        event: the shape of one y.

    Raises:
        ShapeError: the decoder's output is not shaped like y (found at the first call).

    Reference:
        Extracting and Composing Robust Features with Denoising Autoencoders (Vincent et al., 2008),
        https://dl.acm.org/doi/10.1145/1390156.1390294

    Example:
        >>> energy = Autoencoder(torch.nn.Identity(), torch.nn.Identity(), event=(2,))
        >>> energy(torch.ones(3, 2))
        tensor([0., 0., 0.])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, event: Sequence[int]) -> None:
        super().__init__(event)
        self.encoder = encoder
        self.decoder = decoder

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        hidden: Sequence[int] = (512,),
        code: int = 128,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build perceptrons that fit the data.

        Args:
            y: the data, `(n, *event)`.
            x: not used; the energy is unconditional.
            hidden: sizes of the encoder's hidden layers, mirrored in the decoder.
            code: size of the code.
            generator: the start of the weights.
        """
        event = tuple(y.shape[1:])
        size = math.prod(event)
        encoder = nn.Sequential(nn.Flatten(), *perceptron([size, *hidden, code], generator))
        decoder = nn.Sequential(
            nn.SiLU(),
            *perceptron([code, *reversed(hidden), size], generator),
            nn.Unflatten(1, event),
        )
        return cls(encoder, decoder, event).to(dtype=y.dtype, device=y.device)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The squared reconstruction error, `(*batch,)`."""
        difference = y - self.reconstruct(y)
        return difference.flatten(-len(self.event)).square().sum(-1)

    def reconstruct(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Dec(Enc(y)), `(*batch, *event)`; after denoising training, the denoised y."""
        flat = y.reshape(-1, *self.event)
        rebuilt: Tensor = self.decoder(self.encoder(flat))
        if rebuilt.shape != flat.shape:
            raise ShapeError(
                f"The decoder of Autoencoder must return the shape of y, {tuple(flat.shape)}. Got "
                f"{tuple(rebuilt.shape)}."
            )
        return rebuilt.reshape(y.shape)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Enc(y), flattened to `(*batch, features)`."""
        code = apply_network(self.encoder, y, self.event)
        return code.flatten(y.dim() - len(self.event))
