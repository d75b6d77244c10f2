"""The restricted Boltzmann machine: binary hidden units summed out, in centred parameters."""

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland._random import normal
from lowland._shapes import chunks
from lowland.domain import Binary, Real
from lowland.energies._binary_units import Units, log_odds
from lowland.energy import Energy

# So many states are summed, of the hidden or of the visible units.
MOST_STATES = 2**20
# The share of a batch's means in the offsets of the next step.
_RATE = 0.01
# So many rows are added up at a time.
_PART = 4096


class RestrictedBoltzmann(Energy):
    r"""Binary hidden units that see y and not one another, summed out.

    $$F(y) = -\log \sum_{h \in \{0,1\}^m} e^{-E(y, h)}, \qquad
      E(y, h) = -(y - \mu)^\top b - (h - \lambda)^\top c - (y - \mu)^\top W (h - \lambda)$$

    up to a constant. With a `noise` σ the elements of y are real: the first term becomes
    ‖y − b‖² / 2σ², and y − μ is divided by σ² in the last. The sum over h has a closed form, and F
    is this energy: it has no latent. Sampling goes back and forth between h and y
    (`SamplesConditionals`), exactly so at beta = 1.

    μ and λ are offsets. Moving them, and the biases with them, changes the parameters but not F;
    near the means of y and h the gradient is better conditioned. `recentre` does that, and
    strategies that know it call it at every step; with `centred=False` it does nothing.

    Args:
        weights: W, one item shaped like y for each hidden unit, `(m, *event)`.
        visible_bias: b, `(*event)`.
        hidden_bias: c, `(m,)`.
        visible_offset: μ, `(*event)`; 0 if None.
        hidden_offset: λ, `(m,)`; 0 if None.
        centred: whether `recentre` moves the offsets.
        noise: σ, positive, a number or `(*event)`, for real y; None for binary y.

    Raises:
        ShapeError: the shapes do not fit.
        DomainError: the weights are not floating point, or the noise is not positive.

    Reference:
        How to Center Deep Boltzmann Machines (Melchior, Fischer and Wiskott, 2016),
        https://www.jmlr.org/papers/v17/14-237.html; A Practical Guide to Training Restricted
        Boltzmann Machines (Hinton, 2012), https://doi.org/10.1007/978-3-642-35289-8_32

    Example:
        >>> energy = RestrictedBoltzmann(torch.eye(2), torch.zeros(2), torch.zeros(2))
        >>> energy(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).detach()
        tensor([-1.3863, -2.6265])
    """

    visible_offset: Tensor
    hidden_offset: Tensor
    noise: Tensor | None

    def __init__(
        self,
        weights: Tensor,
        visible_bias: Tensor,
        hidden_bias: Tensor,
        *,
        visible_offset: Tensor | None = None,
        hidden_offset: Tensor | None = None,
        centred: bool = True,
        noise: float | Tensor | None = None,
    ) -> None:
        if visible_offset is None:
            visible_offset = torch.zeros_like(visible_bias)
        if hidden_offset is None:
            hidden_offset = torch.zeros_like(hidden_bias)
        _check(weights, (visible_bias, visible_offset), (hidden_bias, hidden_offset))
        spread = None if noise is None else torch.as_tensor(noise).to(visible_bias)
        if spread is not None:
            spread = spread.expand_as(visible_bias).clone()
            if not bool((torch.isfinite(spread) & (spread > 0)).all()):
                raise DomainError(
                    f"The 'noise' of RestrictedBoltzmann must be positive. Got {noise!r}."
                )
        domain = Binary() if spread is None else Real()
        super().__init__(tuple(visible_bias.shape), domain=domain)
        self.weights = nn.Parameter(weights.detach().clone())
        self.visible_bias = nn.Parameter(visible_bias.detach().clone())
        self.hidden_bias = nn.Parameter(hidden_bias.detach().clone())
        self.register_buffer("visible_offset", visible_offset.detach().clone())
        self.register_buffer("hidden_offset", hidden_offset.detach().clone())
        self.register_buffer("noise", spread)
        self.centred = centred

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        hidden: int = 128,
        *,
        x: Tensor | None = None,
        centred: bool = True,
        noise: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start at independent elements with the means of the data, and small weights.

        Args:
            y: the data, `(n, *event)`, of 0 and 1 unless there is noise.
            hidden: how many hidden units.
            x: not used; the energy is unconditional.
            centred: whether gradients are centred.
            noise: σ, for real y, 1 for data of unit variance; None for binary y.
            generator: the start of the weights.

        Raises:
            DomainError: there is no hidden unit, or the data lie outside the domain.
        """
        if isinstance(hidden, bool) or hidden < 1:
            raise DomainError(
                f"RestrictedBoltzmann needs at least 1 'hidden' unit. Got {hidden!r}."
            )
        (Binary() if noise is None else Real()).check(y)
        # Part by part, added up in double: much less to convert than all of y.
        sums = [len(part) * _mean(part.flatten(1)).double() for part in y.split(_PART)]
        mean = (torch.stack(sums).sum(0) / len(y)).reshape(y.shape[1:]).to(y)
        weights = 0.01 * normal((hidden, *y.shape[1:]), generator, like=y)
        offsets = (mean, y.new_full((hidden,), 0.5)) if centred else (None, None)
        return cls(
            weights,
            log_odds(mean) if noise is None else mean,
            y.new_zeros(hidden),
            visible_offset=offsets[0],
            hidden_offset=offsets[1],
            centred=centred,
            noise=noise,
        )

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """F(y), `(*batch,)`."""
        weights, visible, hidden, variance = self._plain()
        flat = y.flatten(-len(self.event))
        drive = linear(flat if variance is None else flat / variance, weights, hidden)
        if variance is None:
            return -(flat @ visible) - softplus(drive).sum(-1)
        return ((flat - visible).square() / variance).sum(-1) / 2 - softplus(drive).sum(-1)

    def slope(self, y: Tensor, *, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """F, `(n,)`, and its gradient in y; of binary y, that of the formula between 0 and 1."""
        weights, visible, hidden, variance = self._plain()
        flat = y.flatten(1)
        drive = linear(flat if variance is None else flat / variance, weights, hidden)
        pull = torch.sigmoid(drive) @ weights
        free = softplus(drive).sum(-1)
        if variance is None:
            return -(flat @ visible) - free, -(visible + pull).reshape(y.shape)
        away = flat - visible
        energy = (away.square() / variance).sum(-1) / 2 - free
        return energy, ((away - pull) / variance).reshape(y.shape)

    @torch.no_grad()
    def parameter_slopes(
        self, *y: Tensor, x: Tensor | None = None
    ) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
        """F, `(n,)`, and the gradient of its weighted sum in W, b and c, in centred form."""
        return self._slopes(y, self.conditionals(), recentred=False)

    @torch.no_grad()
    def recentred_slopes(
        self, *y: Tensor, x: Tensor | None = None, conditionals: Units | None = None
    ) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
        """`recentre` to the first batch, then `parameter_slopes`: what y says is computed once."""
        units = self.conditionals() if conditionals is None else conditionals
        return self._slopes(y, units, recentred=self.centred)

    def _slopes(
        self, y: Sequence[Tensor], units: Units, *, recentred: bool
    ) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
        weights, visible, variance = units.weights, units.visible, units.variance
        flat = [part.flatten(1) for part in y]
        sizes = [len(part) for part in flat]
        seen = flat if variance is None else [part / variance for part in flat]
        drive = torch.cat([linear(part, weights, units.hidden) for part in seen])
        if variance is None:
            own = [torch.mv(part, visible) for part in flat]
        else:
            own = [((part - visible).square() / variance).sum(1) / -2 for part in flat]
        value = -torch.cat(own).add_(softplus(drive).sum(1))
        on = drive.sigmoid_()
        if recentred:  # which leaves F, and so all of the above, as it is
            self._recentre(_mean(flat[0]), _mean(on[: sizes[0]]))

        def weighted(each: Tensor) -> dict[str, Tensor]:
            offset = self.visible_offset.flatten()
            total = torch.mv(on.T, each)
            against = each.neg()
            push = torch.sub(on, self.hidden_offset).mul_(against.unsqueeze(1))
            slope, down = torch.empty_like(weights), torch.empty_like(visible)
            pairs = zip(push.split(sizes), against.split(sizes), seen, strict=True)
            for i, (some, share, part) in enumerate(pairs):
                slope.addmm_(some.T, part, beta=min(i, 1))  # the first overwrites
                down.addmv_(part.T, share, beta=min(i, 1))
            slope.addr_(total, offset if variance is None else offset / variance)
            if variance is not None:
                rest = each.sum() * visible / variance
                slope.addr_(self.hidden_offset, rest, alpha=-1)
                down += rest
            return {
                "weights": slope.reshape(self.weights.shape),
                "visible_bias": down.reshape(self.event),
                "hidden_bias": -total,
            }

        return value, weighted

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The probability that each hidden unit is on, `(*batch, m)`."""
        weights, _, hidden, variance = self._plain()
        flat = y.flatten(-len(self.event))
        return torch.sigmoid(linear(flat if variance is None else flat / variance, weights, hidden))

    def reconstruct(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The mean of y given the probabilities of its hidden units, `(*batch, *event)`."""
        weights, visible, _, variance = self._plain()
        mean = visible + self.encode(y) @ weights
        return (torch.sigmoid(mean) if variance is None else mean).reshape(y.shape)

    @torch.no_grad()
    def recentre(self, y: Tensor, *, x: Tensor | None = None) -> None:
        """Move μ and λ a hundredth of the way to the means at `(n, *event)`; F stays as it is."""
        if self.centred:
            self._recentre(_mean(y.flatten(1)), _mean(self.encode(y)))

    def _recentre(self, seen: Tensor, on: Tensor) -> None:
        """Move them towards these means, `(d,)` and `(m,)`."""
        weights = self.weights.flatten(1)
        shift = torch.sub(on, self.hidden_offset).mul_(_RATE)
        self.visible_bias.add_(torch.mv(weights.T, shift).reshape(self.event))
        self.hidden_offset.add_(shift)
        move = torch.sub(seen.reshape(self.event), self.visible_offset).mul_(_RATE)
        self.visible_offset.add_(move)
        step = move if self.noise is None else move / self.noise.square()
        self.hidden_bias.addmv_(weights, step.flatten())

    @torch.no_grad()
    def conditionals(self, beta: float = 1.0, base: Tensor | None = None) -> Units:
        """The conditionals of y and h, at any place of a path from independent elements.

        Args:
            beta: positive; in [0, 1] if there is a base.
            base: the means of the independent elements at beta = 0, `(*event)`.
        """
        weights, visible, hidden, variance = self._plain()
        if base is not None:
            base = base.flatten() if variance is not None else log_odds(base).flatten()
        # Two-dimensional weights come back as the parameter itself, graph and all.
        return Units(self.event, weights.detach(), visible, hidden, variance, beta, base)

    @torch.no_grad()
    def base_log_z(self, base: Tensor) -> Tensor:
        """Log of the sum over y and h at beta = 0 of the path, a scalar."""
        free = len(self.hidden_bias) * math.log(2)
        if self.noise is None:
            return softplus(log_odds(base)).sum() + free
        return (self.noise.log() + math.log(2 * math.pi) / 2).sum() + free

    @torch.no_grad()
    def log_z(self, beta: float = 1.0) -> Tensor:
        """Log of the partition function of F, by summing over all states, a float64 scalar.

        The hidden states at beta = 1, or the visible ones, if there are at most 2^20.

        Raises:
            CapabilityError: there are more.
        """
        m, d = len(self.hidden_bias), self.visible_bias.numel()
        sizes = [m] if beta == 1 else []
        if isinstance(self.domain, Binary):
            sizes.append(d)
        if not sizes or 2 ** min(sizes) > MOST_STATES:
            raise CapabilityError(
                f"The log Z of RestrictedBoltzmann with {d} visible and {m} hidden units at beta "
                f"{beta:g} is a sum of more than 2^20 states. Estimate it by annealed importance "
                f"sampling: lowland.likelihood(energy, y, method='annealing')."
            )
        over_hidden = min(sizes) == m and beta == 1
        bits = m if over_hidden else d
        parts = []
        for part in chunks(2**bits, 8 * (m + d)):
            states = Binary().points((bits,), part, like=self.hidden_bias.double())
            value = self._of_hidden(states) if over_hidden else -beta * self._of_visible(states)
            parts.append(torch.logsumexp(value, 0))
        return torch.logsumexp(torch.stack(parts), 0)

    def _of_hidden(self, hidden: Tensor) -> Tensor:
        """Log of the integral over y of exp(-E(y, h)), for h `(n, m)` float64."""
        weights, visible, bias = (part.double() for part in self._plain()[:3])
        mean = visible + hidden @ weights
        if self.noise is None:
            return hidden @ bias + softplus(mean).sum(1)
        variance = self.noise.double().flatten().square()
        gain = ((mean.square() - visible.square()) / variance).sum(1) / 2
        return hidden @ bias + gain + (2 * math.pi * variance).log().sum() / 2

    def _of_visible(self, visible: Tensor) -> Tensor:
        y = visible.to(self.weights.dtype).reshape(-1, *self.event)
        return self.forward(y).double()

    def _plain(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """W `(m, d)`, the biases as they are without offsets, `(d,)` and `(m,)`, and σ²."""
        weights = self.weights.flatten(1)
        visible = torch.addmv(self.visible_bias.flatten(), weights.T, self.hidden_offset, alpha=-1)
        variance = None if self.noise is None else self.noise.flatten().square()
        offset = self.visible_offset.flatten()
        scaled = offset if variance is None else offset / variance
        return weights, visible, torch.addmv(self.hidden_bias, weights, scaled, alpha=-1), variance


def _mean(rows: Tensor) -> Tensor:
    """The mean of rows, as a product, which takes a fifth of the time of `mean(0)`."""
    return torch.mv(rows.T, rows.new_full((len(rows),), 1 / len(rows)))


def _check(weights: Tensor, visible: Sequence[Tensor], hidden: Sequence[Tensor]) -> None:
    event = tuple(visible[0].shape)
    fits = weights.dim() >= 2 and len(weights) > 0 and tuple(weights.shape[1:]) == event
    fits = fits and all(tuple(part.shape) == event for part in visible)
    if not (fits and all(tuple(part.shape) == (len(weights),) for part in hidden)):
        raise ShapeError(
            f"RestrictedBoltzmann needs 'weights' (m, *event), a visible bias and offset (*event), "
            f"and a hidden bias and offset (m,). Got {tuple(weights.shape)}, "
            f"{[tuple(part.shape) for part in visible]} and "
            f"{[tuple(part.shape) for part in hidden]}."
        )
    if not all(part.dtype == weights.dtype for part in (*visible, *hidden)) or not (
        weights.is_floating_point()
    ):
        raise DomainError(
            f"The 'weights' and biases of RestrictedBoltzmann must have one floating-point type. "
            f"Got {weights.dtype}, {visible[0].dtype} and {hidden[0].dtype}."
        )
