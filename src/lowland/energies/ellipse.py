"""The two-parameter ellipse: the smallest latent-variable energy worth drawing."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError
from lowland.energies._nearest import nearest
from lowland.energy import Energy
from lowland.latent import OneHot


class Ellipse(Energy):
    r"""The squared distance from y to the point of an ellipse at the angle that z selects.

    $$E(y, z) = (y_1 - w_1 \cos \theta_z)^2 + (y_2 - w_2 \sin \theta_z)^2,
      \qquad \theta_z = 2 \pi z / k$$

    A bounded one-dimensional latent and two parameters. `CoordinateDescent` finds them in a few
    steps, for given angles the best half-axes being a ratio of sums.

    Args:
        axes: the half-axes w, `(2,)`.
        codes: k, how many angles z may take.

    Raises:
        ShapeError: `axes` does not hold two numbers.
        DomainError: `codes` is not positive.

    Example:
        >>> ellipse = Ellipse(torch.tensor([2.0, 1.5]), codes=48)
        >>> ll.score(ellipse, torch.tensor([[0.0, 1.0]]))
        tensor([0.2500])
    """

    def __init__(self, axes: Tensor | Sequence[float] = (1.0, 1.0), codes: int = 48) -> None:
        axes = torch.as_tensor(axes)
        axes = axes if axes.is_floating_point() else axes.to(torch.get_default_dtype())
        if tuple(axes.shape) != (2,):
            raise ShapeError(f"The 'axes' of Ellipse must be two numbers. Got {tuple(axes.shape)}.")
        super().__init__((2,), OneHot(codes))
        self.axes = nn.Parameter(axes.detach().clone())
        self.codes = codes

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        codes: int = 48,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start at the circle whose radius is the largest coordinate of the data `(n, 2)`.

        Args:
            y: the data, `(n, 2)`.
            x: not used; the energy is unconditional.
            codes: how many angles z may take.
            generator: not used; nothing is random here.

        Raises:
            DomainError: the data are all zero.
        """
        radius = y.abs().amax()
        if not float(radius) > 0:
            raise DomainError("Ellipse needs data that are not all zero. Got only zeros in 'y'.")
        return cls(radius.expand(2), codes)

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The point of the ellipse at angle z, `(*batch, 2)`."""
        return self.axes * self._unit(z)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The squared distance to the point at angle z, `(*batch,)`."""
        return (y - self.decode(self.given(z))).square().sum(-1)

    def solve_codes(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The angle of the nearest point, `(*batch,)` int64."""
        points = self.decode(torch.arange(self.codes, device=y.device)).detach()
        return nearest(y.reshape(-1, 2).detach(), points).reshape(y.shape[:-1])

    def statistics(
        self, y: Tensor, z: Tensor | None, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Sums of y times the unit circle, and of its squares."""
        unit = self._unit(self.given(z))
        return {"products": (y * unit).sum(0), "squares": unit.square().sum(0)}

    @torch.no_grad()
    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        """The half-axes of least mean energy; one that no angle speaks for stays."""
        squares = statistics["squares"]
        best = statistics["products"] / squares.clamp(min=torch.finfo(squares.dtype).tiny)
        self.axes.copy_(torch.where(squares > 0, best, self.axes.to(best)))

    def _unit(self, z: Tensor) -> Tensor:
        angle = z.to(self.axes.dtype) * (2 * math.pi / self.codes)
        return torch.stack([angle.cos(), angle.sin()], -1)
