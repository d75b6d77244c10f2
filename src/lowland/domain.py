"""Where y lives: the set on which an energy is defined."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland._random import integers, normal

# So many elements are looked at at a time: temporaries of that size stay in cache.
_PART = 2**17


@dataclass(frozen=True)
class Domain:
    """Base of the sets in which each element of y lies."""

    def check(self, y: Tensor, argument: str = "y") -> None:
        """Raise `DomainError` unless every element of `y` lies in the domain."""
        raise NotImplementedError

    def noise(
        self, shape: tuple[int, ...], *, generator: torch.Generator | None, like: Tensor
    ) -> Tensor:
        """Points that know nothing of any energy, to start a chain or a search from."""
        raise NotImplementedError

    def count(self, event: tuple[int, ...]) -> int | None:
        """How many points there are of this shape; None if they cannot be counted."""
        return None

    def points(self, event: tuple[int, ...], part: slice, *, like: Tensor) -> Tensor:
        """Some of all points of this shape, `(stop - start, *event)`, in the order of their digits.

        Args:
            event: the shape of one point.
            part: which of `count(event)`, with a start and a stop.
            like: the device, and the floating-point type where elements are such.

        Raises:
            DomainError: the points of this domain cannot be counted.
        """
        raise DomainError(f"The points of {self} cannot be counted.")


@dataclass(frozen=True)
class Real(Domain):
    """Real numbers: floating point, finite.

    Example:
        >>> Real().check(torch.tensor([0.5, -2.0]))
    """

    def check(self, y: Tensor, argument: str = "y") -> None:
        """Raise unless `y` is floating point and finite."""
        if not y.is_floating_point():
            raise DomainError(
                f"'{argument}' must be floating point, for the energy's domain is Real(). "
                f"Got {y.dtype}. Convert it with {argument}.float()."
            )
        # A sum is finite only if its terms are, and costs a small part of looking at each.
        if bool(torch.isfinite(y.detach().sum())):
            return
        finite = torch.isfinite(y)
        if not bool(finite.all()):
            bad = torch.nonzero(~finite)
            raise DomainError(
                f"'{argument}' must be finite. Got {len(bad)} NaN or infinite value(s), the first "
                f"at index {tuple(bad[0].tolist())}. Remove or complete those rows first."
            )

    def noise(
        self, shape: tuple[int, ...], *, generator: torch.Generator | None, like: Tensor
    ) -> Tensor:
        """Standard normal points."""
        return normal(shape, generator, like=like)


@dataclass(frozen=True)
class Binary(Domain):
    """Zeros and ones, held in a floating-point tensor so that energies can multiply them.

    Example:
        >>> Binary().check(torch.tensor([0.0, 1.0]))
    """

    def check(self, y: Tensor, argument: str = "y") -> None:
        """Raise unless every element of `y` is 0 or 1."""
        if not y.is_floating_point():
            raise DomainError(
                f"'{argument}' must hold 0.0 and 1.0 as floating point, for the energy's domain "
                f"is Binary(). Got {y.dtype}. Convert it with {argument}.float()."
            )
        # No other number is its own square, and NaN and infinity leave NaN. Part by part, in cache.
        parts = y.detach().flatten().split(_PART)
        if any(float(part.addcmul(part, part, value=-1).abs_().sum()) != 0 for part in parts):
            bad = y[(y != 0) & (y != 1)].flatten()[0].item()
            raise DomainError(
                f"'{argument}' must hold only 0 and 1, for the energy's domain is Binary(). "
                f"Got {bad}. Threshold it first, for example ({argument} > 0.5).float()."
            )

    def noise(
        self, shape: tuple[int, ...], *, generator: torch.Generator | None, like: Tensor
    ) -> Tensor:
        """Fair coin flips."""
        return integers(2, shape, generator, like=like).to(like.dtype)

    def count(self, event: tuple[int, ...]) -> int:
        """2 to the number of elements."""
        return int(2 ** math.prod(event))

    def points(self, event: tuple[int, ...], part: slice, *, like: Tensor) -> Tensor:
        """The binary numbers from `part.start`, the first element the lowest digit."""
        return _digits(2, event, part, like).to(like.dtype)


@dataclass(frozen=True)
class Categorical(Domain):
    """One of n classes, as an int64 index: tokens, for example.

    Args:
        n: how many classes there are, at least 2.

    Raises:
        DomainError: n is not a whole number of at least 2.

    Example:
        >>> Categorical(4).check(torch.tensor([0, 3]))
    """

    n: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 2:
            raise DomainError(
                f"The 'n' of Categorical must be a whole number of at least 2. Got {self.n!r}."
            )

    def check(self, y: Tensor, argument: str = "y") -> None:
        """Raise unless every element of `y` is an int64 index in [0, n)."""
        if y.dtype != torch.int64:
            raise DomainError(
                f"'{argument}' must be class indices of torch.int64, for the energy's domain is "
                f"Categorical({self.n}). Got {y.dtype}. Convert it with {argument}.long()."
            )
        if y.numel() and (int(y.min()) < 0 or int(y.max()) >= self.n):
            raise DomainError(
                f"'{argument}' must lie in [0, {self.n}), for the energy's domain is "
                f"Categorical({self.n}). Got values from {int(y.min())} to {int(y.max())}."
            )

    def noise(
        self, shape: tuple[int, ...], *, generator: torch.Generator | None, like: Tensor
    ) -> Tensor:
        """Uniform classes."""
        return integers(self.n, shape, generator, like=like)

    def count(self, event: tuple[int, ...]) -> int:
        """N to the number of elements."""
        return int(self.n ** math.prod(event))

    def points(self, event: tuple[int, ...], part: slice, *, like: Tensor) -> Tensor:
        """The numbers in base n from `part.start`, the first element the lowest digit."""
        return _digits(self.n, event, part, like)


def _digits(base: int, event: tuple[int, ...], part: slice, like: Tensor) -> Tensor:
    numbers = torch.arange(part.start, part.stop, device=like.device).unsqueeze(1)
    weights = [base**i for i in range(math.prod(event))]
    digits = numbers // torch.tensor(weights, device=like.device) % base
    return digits.reshape(-1, *event)
