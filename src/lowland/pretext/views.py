"""Two views of one thing: images moved about, parts blanked, one change after another."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lowland._errors import DomainError, ShapeError
from lowland._random import uniform
from lowland.pretext.corrupt import Corruption, GaussianNoise, MaskingNoise
from lowland.pretext.task import Task


@dataclass(frozen=True)
class Moved(Corruption):
    r"""Images turned, shifted, zoomed and slanted at random, each by its own amount.

    $$\tilde y(p) = y(A p + b), \qquad
      A = s \, R(\theta) \begin{pmatrix} 1 & k \\ 0 & 1 \end{pmatrix}$$

    Between pixels it is interpolated, and the border goes on beyond the edge. A zoom s below 1
    crops the image, one above 1 makes it smaller.

    Args:
        turn: θ is uniform between ± so many degrees.
        shift: b is uniform between ± this share of each side.
        zoom: s is between 1 / (1 + zoom) and 1 + zoom, uniform in its logarithm.
        slant: k is uniform between ± this.

    Raises:
        DomainError: an amount is negative or not finite.

    Example:
        >>> y = torch.eye(3).reshape(1, 1, 3, 3)
        >>> torch.equal(Moved(turn=0, shift=0, zoom=0, slant=0).corrupt(y, None), y)
        True
    """

    turn: float = 15.0
    shift: float = 0.1
    zoom: float = 0.2
    slant: float = 0.2

    def __post_init__(self) -> None:
        for name in ("turn", "shift", "zoom", "slant"):
            amount = getattr(self, name)
            if not (math.isfinite(amount) and amount >= 0):
                raise DomainError(
                    f"The '{name}' of Moved must be finite and at least 0. Got {amount!r}."
                )

    def corrupt(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """Images `(n, channels, height, width)`, moved.

        Raises:
            ShapeError: y holds no images.
        """
        if y.dim() != 4:
            raise ShapeError(
                f"Moved needs images (n, channels, height, width). Got shape {tuple(y.shape)}."
            )
        drawn = 2 * uniform((len(y), 5), generator, like=y) - 1
        angle = math.radians(self.turn) * drawn[:, 0]
        size = (math.log1p(self.zoom) * drawn[:, 1]).exp()
        slant = self.slant * drawn[:, 2]
        # From -1 to 1 across a side, so that a share of it is twice as much.
        shift = 2 * self.shift * drawn[:, 3:]
        cosine, sine = size * angle.cos(), size * angle.sin()
        # Turns are of the picture, whose sides may differ.
        ratio = y.shape[2] / y.shape[3]
        rows = (
            torch.stack([cosine, (slant * cosine - sine) * ratio, shift[:, 0]], 1),
            torch.stack([sine / ratio, slant * sine + cosine, shift[:, 1]], 1),
        )
        grid = functional.affine_grid(torch.stack(rows, 1), list(y.shape), align_corners=False)
        return functional.grid_sample(y, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Blanked(Corruption):
    """What a pretext task hides, blanked.

    Args:
        task: draws what is hidden.
        value: what it becomes, in the energy's own (scaled) units.

    Raises:
        DomainError: the value is not finite.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> Blanked(ll.pretext.Masked(0.5, block=(2,))).corrupt(torch.ones(1, 6), g)
        tensor([[1., 1., 0., 0., 0., 0.]])
    """

    task: Task
    value: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise DomainError(f"The 'value' of Blanked must be finite. Got {self.value!r}.")

    def corrupt(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """Y with what the task hides at the value."""
        observed = self.task.observed(tuple(y.shape), generator, device=y.device)
        return torch.where(observed, y, torch.full_like(y, self.value))


@dataclass(frozen=True)
class Together(Corruption):
    """One change after another.

    Args:
        changes: in the order in which they are made.

    Raises:
        DomainError: there is none.

    Example:
        >>> Together((GaussianNoise(0.1), MaskingNoise(0.5))).corrupt(torch.ones(2, 3), None).shape
        torch.Size([2, 3])
    """

    changes: tuple[Corruption, ...]

    def __post_init__(self) -> None:
        if not self.changes or not all(isinstance(c, Corruption) for c in self.changes):
            raise DomainError(
                f"'changes' of Together must hold corruptions, at least one. Got {self.changes!r}."
            )

    def corrupt(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """Y after all changes."""
        for change in self.changes:
            y = change.corrupt(y, generator)
        return y


def usual_views(event: tuple[int, ...]) -> Corruption:
    """Changes that leave what a datum of this shape is about, in most cases.

    Images are moved; other data lose a quarter of their elements and get noise, which suits data
    in standard units.

    Example:
        >>> usual_views((1, 8, 8))
        Moved(turn=15.0, shift=0.1, zoom=0.2, slant=0.2)
    """
    if len(event) == 3:
        return Moved()
    return Together((GaussianNoise(0.3), MaskingNoise(0.25)))
