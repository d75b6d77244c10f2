"""The capabilities of energies whose Gibbs distribution can be drawn from or normalised in parts.

They are part of `lowland.capabilities`, where to import them from.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class SamplesGibbs(Protocol):
    """Offers independent exact draws from exp(-beta F_beta) / Z."""

    def sample_gibbs(
        self,
        n: int,
        *,
        beta: float,
        generator: torch.Generator | None,
        x: Tensor | None = None,
    ) -> Tensor:
        """Independent draws, `(n, *event)`."""
        ...


@runtime_checkable
class Conditionals(Protocol):
    r"""The conditionals of y and binary hidden units h, at one place of a path of temperatures.

    $$U(y) = -\log \sum_h e^{-E_t(y, h)}, \qquad
      E_t(y, h) = \beta E(y, h) + (1 - \beta) E_0(y)$$

    E_0 is the energy of independent elements of given means, and is left out where none is given.
    The drive of y, what it says to each hidden unit, does not depend on beta: it is computed once
    and serves both `potential` and `sample_hidden`.
    """

    def drive(self, y: Tensor) -> Tensor:
        """What y says to the hidden units, `(n, m)`, for items `(n, *event)`."""
        ...

    def potential(self, y: Tensor, drive: Tensor) -> Tensor:
        """U(y), `(n,)`, given the drive of y."""
        ...

    def sample_hidden(self, drive: Tensor, generator: torch.Generator | None) -> Tensor:
        """H given the drive of y, `(n, m)` of 0 and 1."""
        ...

    def sample_visible(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        """Y given h, `(n, *event)`."""
        ...


@runtime_checkable
class SamplesConditionals(Protocol):
    r"""Offers block Gibbs sampling: y given hidden units, and hidden units given y.

    The energy is what remains when the hidden units are summed out,
    $F(y) = -\log \sum_h e^{-E(y, h)}$.
    """

    def conditionals(self, beta: float = 1.0, base: Tensor | None = None) -> Conditionals:
        """The conditionals at inverse temperature beta, with no gradients.

        Args:
            beta: positive; in [0, 1] if there is a base.
            base: the means of the distribution of independent elements that the path begins with
                at beta = 0, `(*event)`; None for no such part.
        """
        ...

    def base_log_z(self, base: Tensor) -> Tensor:
        """Log of the sum over y and h of exp(-E_0(y)), a scalar."""
        ...


@runtime_checkable
class Recentres(Protocol):
    """Offers to move the offsets of its parameters to the data, which leaves the energy as it is.

    Gradients with respect to centred parameters are better conditioned; a strategy calls this once
    a step, before its loss.
    """

    def recentre(self, y: Tensor, *, x: Tensor | None = None) -> None:
        """Move the offsets towards the means at the items `(n, *event)`."""
        ...


@runtime_checkable
class ParameterSlopes(Protocol):
    """Offers the gradient of a weighted sum of energies in the parameters, in closed form.

    Contrastive strategies push some energies down and others up by it, where automatic derivatives
    would pass over the parameters more often.
    """

    def parameter_slopes(
        self, *y: Tensor, x: Tensor | None = None
    ) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
        """E(x, y) of items `(n, *event)`, `(n,)`, and the gradient of their sum weighted by `(n,)`.

        The items come in one batch or in several, which count as one after another. The second is a
        function of the weights; it returns one tensor for each of `named_parameters`. Neither has a
        graph.
        """
        ...


@runtime_checkable
class RecentredSlopes(Protocol):
    """Offers `Recentres` and `ParameterSlopes` at once: what both compute is computed once."""

    def recentred_slopes(
        self, *y: Tensor, x: Tensor | None = None, conditionals: Any = None
    ) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
        """Recentre to the first batch; then what `parameter_slopes` gives.

        The `conditionals` are what the energy's own method of that name has returned at beta = 1
        since its parameters were last changed; None where they are not at hand.
        """
        ...


@runtime_checkable
class RelaxesCategories(Protocol):
    """Offers its energy for weighted classes, so that classes have slopes."""

    def relax(self, weights: Tensor, *, x: Tensor | None = None) -> Tensor:
        """A differentiable function of `(n, *event, k)` that is E(x, y) at one-hot y, `(n,)`."""
        ...


@runtime_checkable
class NormalizesGibbs(Protocol):
    """Offers the log partition function of its Gibbs distribution."""

    def log_z(self, beta: float = 1.0) -> Tensor:
        r"""The logarithm of the integral of $e^{-\beta E(y, z)}$ over y and z, a scalar.

        Infinite where there is no Gibbs distribution.

        Raises:
            CapabilityError: it would take too long.
        """
        ...
