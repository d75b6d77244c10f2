"""Where chains may go: elements that are given and stay, and a box."""

import torch
from torch import Tensor

from lowland._errors import DomainError


class Constraint:
    """Elements of y that must not move, and bounds on the others.

    Args:
        observed: bool, `(*event)` or `(chains, *event)`, True where y is given; None for nowhere.
        bounds: the lowest and the highest value of each element, or None.

    Raises:
        DomainError: the mask is not boolean, or a lower bound is not below its upper one.

    Example:
        >>> Constraint(None, (0.0, 1.0)).reflect(torch.tensor([[-0.25, 1.5, 0.5]]))
        tensor([[0.2500, 0.5000, 0.5000]])
    """

    def __init__(
        self,
        observed: Tensor | None = None,
        bounds: tuple[float | Tensor, float | Tensor] | None = None,
    ) -> None:
        if observed is not None and observed.dtype != torch.bool:
            raise DomainError(
                f"'observed' must be a bool tensor, True where y is given. Got {observed.dtype}."
            )
        self.observed = observed
        self.low = self.high = torch.zeros(())
        self.bounded = bounds is not None
        if bounds is not None:
            self.low, self.high = (torch.as_tensor(bound) for bound in bounds)
            if not bool((self.low < self.high).all()):
                raise DomainError(
                    f"The lower bounds must be below the upper ones. Got {bounds[0]} and "
                    f"{bounds[1]}."
                )

    def __bool__(self) -> bool:
        """Whether there is any constraint."""
        return self.bounded or self.observed is not None

    def split(self, y: Tensor) -> tuple[Tensor | None, Tensor]:
        """Which items lie inside the bounds, `(n,)`, and a point inside to look at for each."""
        if not self.bounded:
            return None, y
        low, high = self.low.to(y), self.high.to(y)
        # NaN is not inside, and nothing of it remains in the point.
        inside = ((y >= low) & (y <= high)).flatten(1).all(1)
        return inside, torch.minimum(torch.maximum(y, low), high)

    def release(self, direction: Tensor) -> Tensor:
        """The direction with 0 where y is observed."""
        if self.observed is None:
            return direction
        return direction.masked_fill(self._mask(self.observed, direction), 0.0)

    def reflect(self, y: Tensor) -> Tensor:
        """Y mirrored at the bounds until it lies between them, and the same bits where it does."""
        low, high = self.low.to(y), self.high.to(y)
        floor, ceiling = torch.isfinite(low), torch.isfinite(high)
        both = floor & ceiling
        near, far = torch.where(floor, low, 0.0), torch.where(ceiling, high, 0.0)
        width = torch.where(both, far - near, 1.0)
        # Between two mirrors the images repeat with twice the width.
        folded = near + width - (torch.remainder(y - near, 2 * width) - width).abs()
        above = torch.where(floor, near + (y - near).abs(), y)
        image = torch.where(both, folded, torch.where(ceiling, far - (far - y).abs(), above))
        return torch.where((y >= low) & (y <= high), y, image)

    def dimension(self, y: Tensor) -> Tensor:
        """How many elements of each item may move, `(n,)`, in y's dtype."""
        if self.observed is None:
            size = y[0].numel() if len(y) else 0
            return torch.full((len(y),), float(size), dtype=y.dtype, device=y.device)
        mask = self._mask(self.observed, y).expand(y.shape)
        return (~mask).flatten(1).sum(1).to(y.dtype)

    def _mask(self, observed: Tensor, y: Tensor) -> Tensor:
        """The mask for a batch that may hold several blocks of all chains."""
        if observed.dim() < y.dim() or len(observed) in (1, len(y)):
            return observed
        return observed.repeat(len(y) // len(observed), *[1] * (y.dim() - 1))
