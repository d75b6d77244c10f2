"""Give me features."""

import math
from typing import cast

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland._shapes import require_finite
from lowland.ask._border import asked
from lowland.capabilities import Encodes
from lowland.domain import Real
from lowland.energy import Energy
from lowland.infer import Search, eliminate, solve, table_of_codes, value_and_gradient
from lowland.latent import Continuous, OneHot


def encode(energy: Energy, y: Tensor, *, x: Tensor | None = None) -> Tensor:
    """Features of each item, for a supervised task to use.

    An energy that offers an encoder (`Encodes`) gives its code. Otherwise a finite latent gives how
    much lower than average the energy of each code is, max(0, mean over z of E − E_z), a continuous
    latent gives the best z, and an energy without a latent its value and slope at y, (F, ∇F).

    Args:
        energy: any energy.
        y: `(*batch, *event)`.
        x: `(*batch, ...)`, or None.

    Returns:
        `(*batch, features)`.

    Raises:
        ShapeError: y or x has the wrong shape.
        DomainError: y lies outside the energy's domain.
        CapabilityError: the energy offers no encoder and its domain has no slopes.

    Reference:
        An Analysis of Single-Layer Networks in Unsupervised Feature Learning (Coates, Ng and Lee,
        2011), https://proceedings.mlr.press/v15/coates11a.html

    Example:
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0], [4.0]]))
        >>> encode(energy, torch.tensor([[1.0]]))
        tensor([[1., 0.]])
    """
    with asked(energy, y, x) as a:
        if isinstance(a.energy, Encodes):
            features = a.energy.encode(a.y, x=a.x)
        elif isinstance(a.energy.latent, OneHot):
            table = table_of_codes(a.energy, a.y, a.x)
            features = (table.mean(-1, keepdim=True) - table).clamp(min=0)
        elif isinstance(a.energy.latent, Continuous):
            # A search for a continuous latent always returns one.
            features = cast(Tensor, solve(a.energy, a.y, a.x, Search()).z)
        elif isinstance(a.energy.domain, Real):
            features = _slope(a.energy, a.y, a.x)
        else:
            raise CapabilityError(
                f"{type(a.energy).__name__} offers no encoder, and its domain {a.energy.domain} "
                f"has no slopes to use instead. Write encode(y, *, x=None) on it."
            )
        features = features.reshape(*a.batch, -1)
        return require_finite(features, "A feature")


def _slope(energy: Energy, y: Tensor, x: Tensor | None) -> Tensor:
    value, gradient = value_and_gradient(
        lambda points: eliminate(energy, points, x, beta=math.inf), y
    )
    return torch.cat([value.unsqueeze(1), gradient.flatten(1)], 1)
