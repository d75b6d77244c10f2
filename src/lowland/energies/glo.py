"""Generative latent optimization: a decoder and a code in a ball, no encoder and no adversary."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError
from lowland.energies._layers import perceptron
from lowland.energies._pyramid import laplacian_pyramid
from lowland.energies.pca import PCA
from lowland.energy import Energy
from lowland.latent import Ball

COSTS = ("squared", "laplacian")
STARTS = ("pca", "random")

# This share of the data's codes starts within the ball; longer ones start on its surface.
_INSIDE = 0.9


class GLO(Energy):
    r"""The cost of reaching y by a decoder, from a code in a ball.

    $$E(x, y, z) = C(y, \mathrm{Dec}(z, x)), \qquad \|z\| \le r$$

    The cost is the squared error, or the difference of two Laplacian pyramids,
    $$C(y, \hat y) = \sum_j 4^j \|L_j(y) - L_j(\hat y)\|_1$$
    with j = 0 the finest band, which charges an edge out of place for its sharpness, not its area.
    The ball limits the volume of low energy.
    `LearnedCodes` trains it as the paper does, with a code that is kept for each datum;
    `GradientDescent` finds the codes anew for each batch, from the encoder's guess.

    Args:
        decoder: any module, codes `(n, m)` to `(n, *event)`; with `conditional`, codes and x.
        event: the shape of one y.
        m: how many elements a code has.
        radius: r, positive.
        cost: "squared", or "laplacian" for images `(channels, height, width)`.
        encoder: where the search for a code starts, `(n, *event)` to `(n, m)`; None starts at 0.
            It changes how soon a code is found, and which of several; not the energy.
        conditional: whether the decoder takes x too.

    Raises:
        DomainError: an option is not allowed, or x is missing.
        ShapeError: the decoder's output is not shaped like y (found at the first call).

    Reference:
        Optimizing the Latent Space of Generative Networks (Bojanowski et al., 2017),
        https://arxiv.org/abs/1707.05776

    Example:
        >>> energy = GLO(torch.nn.Linear(2, 3), event=(3,), m=2)
        >>> energy(energy.decode(torch.zeros(5, 2)), z=torch.zeros(5, 2)).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        decoder: nn.Module,
        event: Sequence[int],
        m: int,
        radius: float = 1.0,
        cost: str = "squared",
        encoder: nn.Module | None = None,
        conditional: bool = False,
    ) -> None:
        if cost not in COSTS:
            raise DomainError(f"The 'cost' of GLO must be one of {COSTS}. Got {cost!r}.")
        if cost == "laplacian" and len(tuple(event)) != 3:
            raise DomainError(
                f"The Laplacian cost of GLO compares images, event (channels, height, width). Got "
                f"event {tuple(event)}. Use cost='squared'."
            )
        super().__init__(event, Ball(m, radius))
        self.decoder = decoder
        self.m = m
        self.radius = float(radius)
        self.cost = cost
        self.encoder = encoder
        self.conditional = conditional

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        m: int = 32,
        radius: float = 1.0,
        hidden: Sequence[int] = (256, 512),
        cost: str = "squared",
        start: str = "pca",
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a perceptron as decoder, whose codes start at the principal components.

        Args:
            y: the data, `(n, *event)`.
            x: not used; give a conditional decoder to the constructor.
            m: how many elements a code has; with "pca" at most the number of elements of y.
            radius: the radius of the ball.
            hidden: sizes of the decoder's hidden layers.
            cost: "squared" or "laplacian".
            start: "pca", or "random" for codes that start at a fixed random projection of y.
            generator: the start of the weights.

        Raises:
            DomainError: an option is not allowed.
        """
        if start not in STARTS:
            raise DomainError(f"The 'start' of GLO must be one of {STARTS}. Got {start!r}.")
        event = tuple(y.shape[1:])
        layers = perceptron([m, *hidden, math.prod(event)], generator)
        decoder = nn.Sequential(*layers, nn.Unflatten(1, event))
        encoder = linear_encoder(y, m, radius, start, generator)
        return cls(decoder, event, m, radius, cost, encoder).to(dtype=y.dtype, device=y.device)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The cost of the decoded code, `(*batch,)`."""
        difference = y - self.decode(self.given(z), x=x)
        if self.cost == "squared":
            return difference.flatten(-len(self.event)).square().sum(-1)
        batch = difference.shape[: -len(self.event)]
        bands = laplacian_pyramid(difference.reshape(-1, *self.event))
        costs = [4**j * band.abs().flatten(1).sum(1) for j, band in enumerate(bands)]
        return torch.stack(costs).sum(0).reshape(batch)

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Dec(z, x), `(*batch, *event)`."""
        batch = z.shape[:-1]
        flat = z.reshape(-1, self.m)
        if not self.conditional:
            decoded = self.decoder(flat)
        elif x is None:
            raise DomainError("The decoder of this GLO is conditional: give 'x', one for each y.")
        else:
            decoded = self.decoder(flat, x.reshape(len(flat), *x.shape[len(batch) :]))
        if tuple(decoded.shape) != (len(flat), *self.event):
            raise ShapeError(
                f"The decoder of GLO must return the shape of y, {(len(flat), *self.event)}. Got "
                f"{tuple(decoded.shape)}."
            )
        shaped: Tensor = decoded.reshape(*batch, *self.event)
        return shaped

    def guess_codes(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Where the search for the codes of items `(n, *event)` starts, `(n, m)`."""
        if self.encoder is None:
            return torch.zeros(len(y), self.m, dtype=y.dtype, device=y.device)
        guessed: Tensor = self.encoder(y)
        return Ball(self.m, self.radius).proximal(guessed, torch.zeros_like(guessed[:, 0]))


def linear_encoder(
    y: Tensor, m: int, radius: float, start: str, generator: torch.Generator | None
) -> nn.Module:
    """A fixed linear map of the data `(n, *event)` to codes of about the size of the ball."""
    flat = y.detach().flatten(1)
    if start == "pca":
        plane = PCA.from_data(flat, m=m)
        weight, centre = plane.components.detach(), plane.mean.detach()
    else:
        drawn = torch.randn(m, flat.shape[1], generator=generator)
        weight, centre = drawn.to(flat), flat.mean(0)
    length = ((flat - centre) @ weight.T).norm(dim=1).quantile(_INSIDE)
    weight = weight * radius / length.clamp(min=torch.finfo(flat.dtype).tiny)
    linear = nn.Linear(flat.shape[1], m).to(flat)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(-weight @ centre)
    return nn.Sequential(nn.Flatten(), linear.requires_grad_(False))
