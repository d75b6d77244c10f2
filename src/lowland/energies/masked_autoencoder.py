"""A masked autoencoder as a conditional energy: the hidden elements, predicted from the visible."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError
from lowland.capabilities import Filled
from lowland.energies._layers import entering_narrowest_linear, perceptron
from lowland.energy import Energy

# The least standard deviation of a likelihood, so that elements that never vary cost finitely much.
_LEAST = 0.01


class MaskedAutoencoder(Energy):
    r"""How far the hidden elements of y are from what a network makes of the visible ones.

    $$E(x, y) = \sum_{i:\, x_i = 0} (y_i - \hat y_i)^2, \qquad
      \hat y = \mathrm{net}(x \odot y, \; x)$$

    The condition x is a mask, True where y is observed, as a pretext task draws it and as
    `lowland.complete` takes it; what y holds where x is False is judged, and not looked at. With
    `likelihood=True` the network also says how sure it is, and the energy is −log density up to a
    constant, so that elements that cannot be known cost little:

    $$E(x, y) = \sum_{i:\, x_i = 0} \tfrac12 \left( \frac{y_i - \hat y_i}{\sigma_i} \right)^2
      + \log \sigma_i, \qquad \sigma_i = 0.01 + \mathrm{softplus}(s_i)$$

    Without x the energy is that of the whole y: the elements are split into folds, once and for
    all, and each fold is hidden in turn and predicted from the others, which is summed.

    Args:
        net: any module, `(n, 2, *event)` to `(n, *event)`, or to `(n, 2, *event)` of means and s
            with `likelihood`. Its input holds the values, zero where hidden, and the mask as zeros
            and ones.
        event: the shape of one y: a row `(d,)`, a series `(times, variables)`, an image.
        likelihood: whether the network also gives s.
        folds: how many folds there are.
        block: the size, along the last axes of the event, of what is in one fold as a whole; `()`
            is each element for itself.

    Raises:
        DomainError: there are fewer than two folds, or x is not boolean.
        ShapeError: x is not shaped like y, or the network returns another shape (found at the first
            call).

    Reference:
        Extracting and Composing Robust Features with Denoising Autoencoders (Vincent et al., 2008),
        https://dl.acm.org/doi/10.1145/1390156.1390294; Masked Autoencoders Are Scalable Vision
        Learners (He et al., 2022), https://arxiv.org/abs/2111.06377

    Example:
        >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False)
        >>> energy = MaskedAutoencoder(torch.nn.Sequential(*layers), event=(2,))
        >>> _ = torch.nn.init.constant_(layers[1].weight, 1.0)  # values and mask, added up
        >>> ll.score(energy, torch.tensor([[2.0, 7.0]]), x=torch.tensor([[True, False]]))
        tensor([16.])
    """

    _folds: Tensor

    def __init__(
        self,
        net: nn.Module,
        event: Sequence[int],
        likelihood: bool = False,
        folds: int = 4,
        block: Sequence[int] = (),
    ) -> None:
        super().__init__(event)
        if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
            raise DomainError(
                f"The 'folds' of {type(self).__name__} must be a whole number of at least 2. Got "
                f"{folds!r}."
            )
        self.net = net
        self.likelihood = likelihood
        self.folds = folds
        self.block = tuple(block)
        # Derived from the arguments, so no part of the state.
        self.register_buffer("_folds", fold_masks(self.event, self.block, folds), persistent=False)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        hidden: Sequence[int] = (256, 256),
        likelihood: bool = False,
        folds: int = 4,
        block: Sequence[int] = (),
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a perceptron that fits the data: for rows of a table and for short series.

        Args:
            y: the data, `(n, *event)`.
            x: not used; masks are drawn by the strategy.
            hidden: sizes of the hidden layers.
            likelihood: whether the network also says how sure it is.
            folds: how many folds the elements are split into.
            block: the size of what is in one fold as a whole, such as a patch of a small image.
            generator: the start of the weights.
        """
        event = tuple(y.shape[1:])
        size = math.prod(event)
        outputs = (2, *event) if likelihood else event
        layers = perceptron([2 * size, *hidden, math.prod(outputs)], generator)
        net = nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, outputs))
        return cls(net, event, likelihood, folds, block).to(dtype=y.dtype, device=y.device)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """What the hidden elements cost, `(*batch,)`."""
        batch = y.shape[: y.dim() - len(self.event)]
        flat = y.reshape(-1, *self.event)
        if x is not None:
            return self._cost(flat, self.mask_of(x, y)).reshape(batch)
        costs = [self._cost(flat, ~fold.expand_as(flat)) for fold in self._folds]
        return torch.stack(costs).sum(0).reshape(batch)

    def hideable(self, y: Tensor) -> Tensor:
        """All elements of items `(n, *event)` may be hidden."""
        return torch.ones_like(y, dtype=torch.bool)

    def usual_mask(self) -> tuple[float, tuple[int, ...]]:
        """Half of the blocks, or of the elements."""
        return 0.5, self.block

    def fill(
        self,
        y: Tensor,
        observed: Tensor,
        *,
        n: int = 1,
        x: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Filled:
        """The one answer that the network gives for what is hidden: the least energy there is.

        Args:
            y: `(m, *event)`.
            observed: bool, like y.
            n: not used; there is one answer.
            x: bool, like y: what of the observed may be looked at; None is all.
            generator: not used; nothing is random here.
        """
        visible = observed if x is None else observed & self.mask_of(x, y)
        filled = torch.where(observed, y, self._predict(y, visible)[0])
        return Filled(filled.unsqueeze(1), self._cost(filled, visible).unsqueeze(1))

    def reconstruct(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Y with the elements that x hides predicted; without x each fold, from the others."""
        flat = y.reshape(-1, *self.event)
        if x is not None:
            observed = self.mask_of(x, y)
            return torch.where(observed, flat, self._predict(flat, observed)[0]).reshape(y.shape)
        rebuilt = flat
        for fold in self._folds:
            hidden = fold.expand_as(flat)
            rebuilt = torch.where(hidden, self._predict(flat, ~hidden)[0], rebuilt)
        return rebuilt.reshape(y.shape)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The code: what enters the narrowest linear layer of the network, `(*batch, features)`.

        Of layers alike it is the last, and never the first, whose inputs are the data. Without x it
        is the mean over the folds, each hidden in turn, for the network has learned from data that
        lack something.

        Raises:
            CapabilityError: the network has no linear layer.
        """
        batch = y.shape[: y.dim() - len(self.event)]
        flat = y.reshape(-1, *self.event)
        masks = [~fold.expand_as(flat) for fold in self._folds]
        entered = [
            entering_narrowest_linear(self.net, shown(flat, mask), "MaskedAutoencoder")
            for mask in (masks if x is None else [self.mask_of(x, y)])
        ]
        return torch.stack(entered).mean(0).reshape(*batch, -1)

    def mask_of(self, x: Tensor, y: Tensor) -> Tensor:
        """The condition as a mask of items `(n, *event)`."""
        if x.dtype != torch.bool:
            raise DomainError(
                f"'x' of {type(self).__name__} must be a boolean mask, True where y is observed. "
                f"Got {x.dtype}."
            )
        if x.shape != y.shape:
            raise ShapeError(
                f"'x' of {type(self).__name__} must be shaped like y, {tuple(y.shape)}. Got "
                f"{tuple(x.shape)}; one mask for all items is mask.expand_as(y)."
            )
        return x.reshape(-1, *self.event)

    def _predict(self, y: Tensor, observed: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means and, with a likelihood, standard deviations, each `(n, *event)`."""
        out: Tensor = self.net(shown(y, observed))
        expected = (len(y), 2, *self.event) if self.likelihood else tuple(y.shape)
        if tuple(out.shape) != expected:
            raise ShapeError(
                f"The 'net' of {type(self).__name__} must return {expected} for items of shape "
                f"{tuple(y.shape)}. Got {tuple(out.shape)}."
            )
        if not self.likelihood:
            return out, None
        return out[:, 0], _LEAST + nn.functional.softplus(out[:, 1])

    def _cost(self, y: Tensor, observed: Tensor) -> Tensor:
        mean, deviation = self._predict(y, observed)
        if deviation is None:
            cost = (y - mean).square()
        else:
            cost = 0.5 * ((y - mean) / deviation).square() + deviation.log()
        return torch.where(observed, torch.zeros_like(cost), cost).flatten(1).sum(1)


def shown(y: Tensor, observed: Tensor) -> Tensor:
    """What the network sees of items `(n, *event)`: the values and the mask, `(n, 2, *event)`."""
    return torch.stack([torch.where(observed, y, torch.zeros_like(y)), observed.to(y.dtype)], 1)


def fold_masks(event: tuple[int, ...], block: tuple[int, ...], folds: int) -> Tensor:
    """Which elements are in each fold, bool `(folds, *event)`; the same in every process."""
    sizes = (1,) * (len(event) - len(block)) + block
    # A block takes in all that comes before its axes, as in the task `Masked`.
    whole = event[: len(event) - len(block)] if block else ()
    counts = [
        1 if i < len(whole) else math.ceil(size / part)
        for i, (size, part) in enumerate(zip(event, sizes, strict=True))
    ]
    total = math.prod(counts)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    fold = (order % min(folds, total)).reshape(counts)
    for axis, (size, part) in enumerate(zip(event, sizes, strict=True)):
        times = size if axis < len(whole) else part
        fold = fold.repeat_interleave(times, dim=axis).narrow(axis, 0, size)
    return torch.stack([fold == k for k in range(min(folds, total))])
