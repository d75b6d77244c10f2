"""What an energy may offer beyond its definition: protocols found by the methods a class has.

The definition, `forward`, always suffices. A capability is a faster or an exact path to the same
answer, and `lowland.testing.check_energy` asserts that it agrees with the definition.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from lowland._embedding import Embeds as Embeds
from lowland._errors import CapabilityError
from lowland._gibbs import Conditionals as Conditionals
from lowland._gibbs import NormalizesGibbs as NormalizesGibbs
from lowland._gibbs import ParameterSlopes as ParameterSlopes
from lowland._gibbs import RecentredSlopes as RecentredSlopes
from lowland._gibbs import Recentres as Recentres
from lowland._gibbs import RelaxesCategories as RelaxesCategories
from lowland._gibbs import SamplesConditionals as SamplesConditionals
from lowland._gibbs import SamplesGibbs as SamplesGibbs
from lowland._masks import Filled as Filled
from lowland._masks import Fills as Fills
from lowland._masks import GroupsElements as GroupsElements
from lowland._masks import ReadsCorrupted as ReadsCorrupted
from lowland._masks import ReadsMasks as ReadsMasks
from lowland._masks import SuggestsMasks as SuggestsMasks
from lowland._quantizing import Quantizes as Quantizes
from lowland._restarts import RestartsUnused as RestartsUnused
from lowland._restarts import SplitsCodes as SplitsCodes
from lowland._restarts import StatesPrior as StatesPrior


@runtime_checkable
class TabulatesCodes(Protocol):
    """Offers the energy of every code at once: `(*batch, k)`."""

    def tabulate(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """E(x, y, z) for every z, differentiable, `(*batch, k)`."""
        ...


@runtime_checkable
class SolvesCodes(Protocol):
    """Offers the exact best code: argmin over z of E(x, y, z)."""

    def solve_codes(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Z of least energy for each item, the first one on ties."""
        ...


@runtime_checkable
class SolvesParameters(Protocol):
    """Offers the best parameters for given codes, from sums over the data.

    The sums are additive over items, so they may be gathered in chunks or from many machines.
    """

    def statistics(
        self, y: Tensor, z: Tensor | None, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Sums over the items `(n, *event)` with codes `(n, ...)`, by name."""
        ...

    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        """Set the parameters, in place, to the minimum of the mean energy for these sums."""
        ...


class Swept(NamedTuple):
    """What one pass over the data found, for the parameters as they were.

    Attributes:
        codes: the best code of each item, `(n, ...)`, or None for an energy without a latent. The
            tensor belongs to the sweeper, whose next pass overwrites it.
        energy: the sum over the items of min over z of E(x, y, z), a float64 scalar.
        statistics: the sums of `SolvesParameters.statistics` for these codes.
        moved: how many items have another code than in the pass before; all n in the first.
        uses: how many items use each code, `(k,)` float64, where the pass has counted them.
    """

    codes: Tensor | None
    energy: Tensor
    statistics: dict[str, Tensor]
    moved: int
    uses: Tensor | None = None


@runtime_checkable
class Sweeps(Protocol):
    """Offers passes over fixed data that find codes, energy and sums together, in bounded memory.

    The definition is `sweeper_of` of `lowland.train`: codes by inference, then `forward`, then
    `SolvesParameters.statistics`, block by block.
    """

    def sweeper(self, y: Tensor, *, x: Tensor | None = None) -> Callable[[], Swept]:
        """A function that makes one pass over `(n, *event)` with the parameters of the moment."""
        ...


class SoftlySwept(NamedTuple):
    """What one pass over the data found with responsibilities in place of codes.

    Attributes:
        free_energy: the sum over the items of F_1 with measure "sum", a float64 scalar.
        energy: the sum over the items of F_inf, a float64 scalar.
        counts: the sum of the responsibilities of each code, `(k,)` float64.
        statistics: the sums of `SolvesSoftly.soft_statistics` for these responsibilities.
    """

    free_energy: Tensor
    energy: Tensor
    counts: Tensor
    statistics: dict[str, Tensor]


@runtime_checkable
class SolvesSoftly(Protocol):
    """Offers the best parameters where each item counts for every code of a `OneHot` latent.

    The sums are additive over items and linear in the weights; with one-hot weights they are those
    of `SolvesParameters.statistics`.
    """

    def soft_statistics(
        self, y: Tensor, weights: Tensor, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Sums over the items `(n, *event)`, each counted for code j by `weights[:, j]`."""
        ...

    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        """Set the parameters, in place, to the minimum of the weighted mean energy."""
        ...


@runtime_checkable
class SweepsSoftly(Protocol):
    """Offers passes over fixed data that find responsibilities and sums together.

    The definition is `soft_sweeper_of` of `lowland.train`: the table of codes, its softmax, then
    `SolvesSoftly.soft_statistics`, block by block.
    """

    def soft_sweeper(self, y: Tensor, *, x: Tensor | None = None) -> Callable[[], SoftlySwept]:
        """A function that makes one pass over `(n, *event)` with the parameters of the moment."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """Offers the way back to its allowed parameters, which an optimizer's step may have left."""

    def project_parameters(self) -> None:
        """Set the parameters, in place, to allowed ones near them."""


@runtime_checkable
class CompletesCodes(Protocol):
    """Offers the exact best hidden part of y for a given code."""

    def complete_codes(
        self, y: Tensor, observed: Tensor, z: Tensor, *, x: Tensor | None = None
    ) -> Tensor:
        """Y with its hidden elements replaced by argmin over them of E(x, y, z).

        Args:
            y: `(*batch, *event)`; hidden elements are not looked at and may be NaN.
            observed: bool, like y; True where y is given.
            z: codes, `(*batch,)`.
            x: `(*batch, ...)`, or None.
        """
        ...


class LinearOperator(NamedTuple):
    r"""A decoder that is linear in z, as what it does rather than as a matrix.

    $$E(x, y, z) = \tfrac12 \|t(y) - A z\|^2 + R(z)$$

    The functions take whatever floating-point type they are given.

    Attributes:
        target: t, what the decoder has to explain of items `(n, *event)`, `(n, d)`.
        apply: A, codes `(n, m)` to `(n, d)`.
        transpose: the transpose of A, `(n, d)` to `(n, m)`.
        curvature: at least the largest eigenvalue of AᵀA, positive.
    """

    target: Callable[[Tensor], Tensor]
    apply: Callable[[Tensor], Tensor]
    transpose: Callable[[Tensor], Tensor]
    curvature: float


class LinearDecoder(NamedTuple):
    r"""A decoder that is a matrix, and how a miss is charged.

    $$E(x, y, z) = \tfrac{p}{2} \|y - W z - b\|^2 + R(z)$$

    Attributes:
        weight: W, `(d, m)`, with y flattened to d elements.
        offset: b, `(d,)`.
        precision: p, positive.
    """

    weight: Tensor
    offset: Tensor
    precision: float

    def as_operator(self) -> LinearOperator:
        """The same decoder as an operator, with no gradients in the parameters."""
        scale = math.sqrt(self.precision)
        offset, weight = self.offset.detach().double(), scale * self.weight.detach().double()
        weights = {dtype: weight.to(dtype) for dtype in (torch.float32, torch.float64)}
        small = weight.T @ weight if weight.shape[1] <= weight.shape[0] else weight @ weight.T
        largest = float(torch.linalg.eigvalsh(small)[-1])
        return LinearOperator(
            target=lambda y: scale * (y.flatten(1).double() - offset),
            apply=lambda z: z @ weights[z.dtype].T,
            transpose=lambda residual: residual @ weights[residual.dtype],
            # Rounding must not make the curvature too small; atoms that are all zero have any.
            curvature=max((1 + 1e-6) * largest, torch.finfo(torch.float32).tiny),
        )


@runtime_checkable
class DecodesLinearly(Protocol):
    """Offers its decoder as a matrix, so that the best z has a closed form or a fast search."""

    def linear_decoder(self) -> LinearDecoder:
        """W, b and p, differentiable in the parameters."""
        ...


@runtime_checkable
class DecodesByOperator(Protocol):
    """Offers its decoder as a linear operator, where the matrix would be large."""

    def linear_operator(self) -> LinearOperator:
        """The operator, with no gradients in the parameters."""
        ...


@runtime_checkable
class GuessesCodes(Protocol):
    """Offers a cheap guess at the best z, from which a search starts."""

    def guess_codes(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Enc(y), `(n, m)`, for items `(n, *event)`."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """Offers y from z: the point of least energy that a code stands for."""

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Argmin over y of E(x, y, z), `(*batch, *event)`."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Offers features of y."""

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Features of each item, `(*batch, features)`."""
        ...


class NoisyCode(NamedTuple):
    """A code with independent normal elements: their means and log variances, `(*batch, m)`."""

    mean: Tensor
    log_variance: Tensor


@runtime_checkable
class EncodesNoisily(Protocol):
    """Offers a code with noise on it, which limits what the code can tell of y."""

    def noisy_code(self, y: Tensor, *, x: Tensor | None = None) -> NoisyCode:
        """The distribution of the code of each item."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """Offers a point near y that the energy finds more plausible, as an autoencoder does."""

    def reconstruct(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Dec(Enc(y)), `(*batch, *event)`."""
        ...


@runtime_checkable
class Slopes(Protocol):
    """Offers the energy and its gradient in y in closed form, for an energy without a latent.

    It may also have `gradient(y, *, x=None)`, the same gradient alone, where that is cheaper; and
    `kicker(push, *, x=None)` where a step is cheaper than a gradient: it returns a function of a
    velocity and y, both `(n, *event)`, that takes push, like one y, times the gradient at y from
    the velocity in place. If that adds (y - mean) times a matrix, it may have these as attributes
    `matrix` and `mean`, None for 0, for many such steps are then made in one call. All these are
    called where torch notes nothing for derivatives.
    """

    def slope(self, y: Tensor, *, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """E(x, y), `(n,)`, and its gradient in y, `(n, *event)`, of items `(n, *event)`."""
        ...


@runtime_checkable
class Curves(Protocol):
    """Offers its slopes and curvatures along directions, differentiable, without a latent."""

    def curve(
        self, y: Tensor, directions: Tensor | None = None, *, x: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The slopes along each direction, and the sum of the curvatures along them.

        Args:
            y: items `(n, *event)`.
            directions: `(m, n, *event)`, or None for the axes, one for each element of y.
            x: the conditions, or None.

        Returns:
            First derivatives `(m, n)` and summed second derivatives `(n,)`, which can be
            differentiated once in the parameters.
        """
        ...


@runtime_checkable
class MeasuresContraction(Protocol):
    """Offers, by a formula, how much its code changes with y."""

    def contraction(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The sum of the squared slopes of the code in y, differentiable, `(*batch,)`."""
        ...


CAPABILITIES: tuple[type, ...] = (
    TabulatesCodes,
    SolvesCodes,
    SolvesParameters,
    Sweeps,
    SolvesSoftly,
    SweepsSoftly,
    CompletesCodes,
    Constrained,
    Curves,
    RestartsUnused,
    SplitsCodes,
    StatesPrior,
    Decodes,
    DecodesByOperator,
    DecodesLinearly,
    Embeds,
    Encodes,
    EncodesNoisily,
    Fills,
    GroupsElements,
    GuessesCodes,
    MeasuresContraction,
    Quantizes,
    ReadsCorrupted,
    ReadsMasks,
    Reconstructs,
    Slopes,
    SuggestsMasks,
    SamplesGibbs,
    SamplesConditionals,
    NormalizesGibbs,
    Recentres,
    ParameterSlopes,
    RecentredSlopes,
    RelaxesCategories,
)


def offered(energy: object) -> tuple[str, ...]:
    """The names of the capabilities that an energy, or a class of energies, offers."""
    if isinstance(energy, type):
        return tuple(c.__name__ for c in CAPABILITIES if issubclass(energy, c))
    return tuple(c.__name__ for c in CAPABILITIES if isinstance(energy, c))


def refuse(energy: object, asker: str, needs: str, remedy: str) -> CapabilityError:
    """The sentence that names both parties: who asked, what is missing, and the way round it."""
    has = ", ".join(offered(energy)) or "none"
    return CapabilityError(
        f"{asker} needs {needs}. {type(energy).__name__} does not offer it (it offers: {has}). "
        f"{remedy}"
    )
