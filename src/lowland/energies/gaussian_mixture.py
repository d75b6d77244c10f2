"""A mixture of Gaussians as an energy: which component is the latent, how far is the cost."""

import math
from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import DivergedError, DomainError
from lowland._random import normal, uniform
from lowland._shapes import CHUNK_BYTES, chunks
from lowland.capabilities import SoftlySwept
from lowland.domain import Real
from lowland.energies._conditional import conditional_means
from lowland.energies._covariances import (
    at_least,
    below_diagonal,
    check_shapes,
    inverse_triangular,
    lower_triangular,
    whitening_of,
)
from lowland.energies._seeding import seed_prototypes
from lowland.energies._soft_moments import Components, SoftMoments
from lowland.energies.kmeans import KMeans
from lowland.energy import Energy
from lowland.latent import OneHot

COVARIANCES = ("full", "diagonal")
STARTS = ("k-means", "k-means++", "random")

# Lloyd's algorithm settles most codes in its first passes; EM does the rest.
_LLOYD_PASSES = 20


class GaussianMixture(Energy):
    r"""The negative log density of y and its component z.

    $$E(y, z) = -\log w_z - \log \mathcal N(y; \mu_z, \Sigma_z)$$

    F_1 with measure "sum" is −log density exactly; with measure "mean", the default, it is log k
    more. Parameters are free of constraints, for gradients to train: the logarithms of the weights
    up to a constant, the means, and W with Σ⁻¹ = Wᵀ W by the logarithm of its diagonal and by what
    lies below it. `ExpectationMaximization` solves for them; there, a component that holds less
    than two items keeps its covariance.

    Args:
        weights: w, positive, summing to 1, `(k,)`.
        means: μ, `(k, *event)`.
        covariances: Σ, `(k, d, d)` for events of d elements; or their diagonals, shaped like means.
        floor: the least eigenvalue, in squared units of y, that solving for the parameters gives a
            covariance: without one, a component that falls onto one item has infinite density. The
            covariances given here and gradients do not feel it.

    Raises:
        ShapeError: the shapes do not fit together.
        DomainError: a weight is not positive, they do not sum to 1, a covariance is not positive
            definite, or the floor is negative.

    Reference:
        Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird and Rubin,
        1977), https://doi.org/10.1111/j.2517-6161.1977.tb01600.x

    Example:
        >>> energy = GaussianMixture(
        ...     torch.tensor([0.5, 0.5]), torch.tensor([[0.0], [9.0]]), torch.ones(2, 1)
        ... )
        >>> y = torch.tensor([[0.0], [9.0]])
        >>> ll.free_energy(energy, y, beta=1.0, measure="sum").detach()
        tensor([1.6121, 1.6121])
    """

    def __init__(
        self, weights: Tensor, means: Tensor, covariances: Tensor, *, floor: float = 1e-6
    ) -> None:
        full = check_shapes(weights, means, covariances)
        if not (bool((weights > 0).all()) and abs(float(weights.sum()) - 1) <= 1e-4):
            raise DomainError(
                f"The 'weights' of GaussianMixture must be positive and sum to 1. Got values from "
                f"{float(weights.min()):.4g} and a sum of {float(weights.sum()):.6g}."
            )
        if not (math.isfinite(floor) and floor >= 0):
            raise DomainError(
                f"The 'floor' of GaussianMixture must be at least 0. Got {floor!r} instead."
            )
        super().__init__(tuple(means.shape[1:]), OneHot(len(means)))
        self.floor = float(floor)
        shaped = covariances.detach().double()
        shaped = shaped if full else shaped.flatten(1)
        whitening, singular = whitening_of(shaped)
        if bool(singular.any()):
            raise DomainError(
                f"The 'covariances' of GaussianMixture must be positive definite. That of "
                f"component {int(singular.nonzero()[0])} is not. Add a little to its diagonal."
            )
        self.logits = nn.Parameter(weights.detach().double().log().to(means.dtype))
        self.means = nn.Parameter(means.detach().clone())
        d = means[0].numel()
        self.log_diagonal = nn.Parameter(means.new_empty(len(means), d))
        self.off_diagonal = nn.Parameter(means.new_empty(len(means), d * (d - 1) // 2 * full))
        self.full = full
        self._keep(whitening)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        k: int = 8,
        *,
        x: Tensor | None = None,
        covariance: str = "full",
        start: str = "k-means",
        floor: float = 1e-6,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start k components on data.

        Args:
            y: the data, `(n, *event)`.
            k: how many components, at most n.
            x: not used; the energy is unconditional.
            covariance: "full" or "diagonal".
            start: "k-means" for the items of each K-means well; "k-means++" or "random" for the
                covariance of all the data around data points.
            floor: the least eigenvalue of a covariance, in squared units of y.
            generator: which points are drawn.

        Raises:
            DomainError: k is not between 1 and n, an option is unknown, or the data are not finite.
        """
        if covariance not in COVARIANCES or start not in STARTS:
            raise DomainError(
                f"GaussianMixture needs a 'covariance' out of {COVARIANCES} and a 'start' out of "
                f"{STARTS}. Got covariance={covariance!r}, start={start!r}."
            )
        Real().check(y)
        points = y.reshape(len(y), -1)
        seeding = "k-means++" if start == "k-means" else start
        seeds = seed_prototypes(points, k, seeding, generator)
        away = points.double() - points.double().mean(0)
        spread = away.square().mean(0) if covariance == "diagonal" else away.T @ away / len(y)
        # Constant elements have no spread; where no floor is wanted either, rounding is one.
        least = max(floor, float(torch.finfo(y.dtype).eps * spread.max()), 1e-30)
        spread = at_least(spread.unsqueeze(0), least).expand(k, *spread.shape)
        weights = torch.full((k,), 1 / k, dtype=torch.float64, device=y.device)
        shape = (k, *y.shape[1:])
        if covariance == "diagonal":
            spread = spread.reshape(shape)
        energy = cls(weights, seeds.reshape(shape), spread, floor=floor)
        if start == "k-means":
            energy._fill_wells(y)
        return energy

    @torch.no_grad()
    def _fill_wells(self, y: Tensor) -> None:
        wells = KMeans(self.means)
        sweep = wells.sweeper(y)
        for _ in range(_LLOYD_PASSES):
            swept = sweep()
            if swept.moved == 0:
                break
            wells.solve_parameters(swept.statistics)
        self.solve_parameters(self.statistics(y, wells.solve_codes(y)))

    @property
    def weights(self) -> Tensor:
        """W, `(k,)`."""
        return self.logits.softmax(0)

    @property
    def covariances(self) -> Tensor:
        """Σ, `(k, d, d)`, or their diagonals shaped like the means."""
        return self._covariances(self._whitening())

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments; weights and covariances in float64, to lose no digits."""
        with torch.no_grad():
            return {
                "weights": self.logits.double().softmax(0),
                "means": self.means,
                "covariances": self._covariances(self._whitening(torch.float64)),
                "floor": self.floor,
            }

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """−log w_z − log N(y; μ_z, Σ_z), `(*batch,)`."""
        difference = (y - self.means[self.given(z)]).flatten(-len(self.event))
        codes = self.given(z).expand(difference.shape[:-1])
        return self._constants()[codes] + self._half_squares(difference, codes)

    def tabulate(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The energy of every component, `(*batch, k)`."""
        points, whitening = y.flatten(-len(self.event)), self._whitening()
        flat = points.reshape(-1, points.shape[-1])
        halves = []
        for part in self._groups(flat):
            away = flat - self.means[part].flatten(1).unsqueeze(1)  # (components, n, d)
            white = away @ whitening[part].mT if self.full else away * whitening[part].unsqueeze(1)
            halves.append(white.square().sum(-1) / 2)
        table = torch.cat(halves).T + self._constants()
        return table.reshape(*points.shape[:-1], len(whitening))

    def statistics(
        self, y: Tensor, z: Tensor | None, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Number, sum and squares of the items of each component, about its present mean."""
        codes = self.given(z)
        order = codes.argsort(stable=True)
        sizes = torch.bincount(codes, minlength=len(self.means))
        sums, squares = self._no_moments()
        for j, items in enumerate(order.split(sizes.tolist())):
            away = y[items].flatten(1).double() - self.means[j].detach().flatten().double()
            sums[j] = away.sum(0)
            squares[j] = away.T @ away if self.full else away.square().sum(0)
        return {"counts": sizes.double(), "sums": sums, "squares": squares}

    @torch.no_grad()
    def soft_statistics(
        self, y: Tensor, weights: Tensor, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The same, each item counted for component j by `weights[:, j]`, `(n, k)`."""
        points, share = y.flatten(1).double(), weights.T.double().unsqueeze(-1)
        sums, squares = self._no_moments()
        for part in self._groups(points):
            away = points - self.means[part].flatten(1).double().unsqueeze(1)
            weighed = away * share[part]
            sums[part] = weighed.sum(1)
            squares[part] = weighed.mT @ away if self.full else (weighed * away).sum(1)
        return {"counts": share.sum((1, 2)), "sums": sums, "squares": squares}

    def soft_sweeper(self, y: Tensor, *, x: Tensor | None = None) -> Callable[[], SoftlySwept]:
        """Passes of expectation-maximisation over `(n, *event)`, two matrix products each."""
        moments = SoftMoments(y, len(self.means), full=self.full)

        def sweep() -> SoftlySwept:
            components = Components(
                self.logits.detach().double().log_softmax(0),
                self.means.detach().flatten(1).double(),
                self._whitening(torch.float64).detach(),
            )
            return moments(components)

        return sweep

    @torch.no_grad()
    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        """Set weights, means and covariances to the best ones above the floor.

        The statistics must have been taken with the means as they are.

        Raises:
            DivergedError: a covariance is singular.
        """
        counts, sums, squares = (statistics[name] for name in ("counts", "sums", "squares"))
        held = counts.clamp(min=torch.finfo(torch.float64).eps * float(counts.sum()))
        step = sums / held.unsqueeze(1)
        if self.full:
            covariances = squares / held[:, None, None] - step.unsqueeze(2) * step.unsqueeze(1)
            covariances = (covariances + covariances.mT) / 2
        else:
            covariances = squares / held.unsqueeze(1) - step.square()
        whitening, singular = whitening_of(at_least(covariances, self.floor))
        keeps = counts < 2
        if bool((singular & ~keeps).any()):
            raise DivergedError(
                f"the covariance of component {int((singular & ~keeps).nonzero()[0])} is singular. "
                f"Give GaussianMixture a larger 'floor' than {self.floor:.3g} (squared units of "
                f"y), scale the data, or ask for fewer components"
            )
        before = self._whitening(torch.float64)
        whitening[keeps] = before[keeps]
        self.logits.copy_((held / held.sum()).log())
        self.means.copy_(self.means.double() + step.reshape(self.means.shape))
        self._keep(whitening)

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The mean of component z, `(*batch, *event)`."""
        return self.means[z]

    def complete_codes(
        self, y: Tensor, observed: Tensor, z: Tensor, *, x: Tensor | None = None
    ) -> Tensor:
        r"""Y with its hidden part at its mean given the rest and the component.

        $$y_h = \mu_h + \Sigma_{ho} \Sigma_{oo}^{-1} (y_o - \mu_o)$$
        """
        means = self.means[z]
        away = torch.where(observed, y - means, torch.zeros_like(means))
        if self.full:
            split = -len(self.event)
            flat, mask = away.flatten(split), observed.expand(away.shape).flatten(split)
            d = flat.shape[-1]
            codes = z.expand(flat.shape[:-1]).reshape(-1)
            moved = conditional_means(
                flat.reshape(-1, d), mask.reshape(-1, d), codes, self._whitening()
            )
            away = moved.reshape(away.shape)
        return torch.where(observed, y, means + away)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The probability of each component given y, `(*batch, k)`."""
        return (-self.tabulate(y)).softmax(-1)

    @torch.no_grad()
    def sample_gibbs(
        self,
        n: int,
        *,
        beta: float,
        generator: torch.Generator | None,
        x: Tensor | None = None,
    ) -> Tensor:
        r"""Exact draws, `(n, *event)`, from a mixture again, of other weights and spread.

        $$e^{-\beta F_\beta} \propto \sum_z w_z^\beta \, |\Sigma_z|^{(1 - \beta) / 2} \,
          \mathcal N(y; \mu_z, \Sigma_z / \beta)$$
        """
        logits = beta * self.logits.double().log_softmax(0)
        logits = logits - (1 - beta) * self.log_diagonal.double().sum(1)
        ends = logits.softmax(0).cumsum(0)
        ends[-1] = 1.0
        codes = torch.searchsorted(ends, uniform((n,), generator, like=ends), right=True)
        noise = normal((n, self.log_diagonal.shape[1]), generator, like=self.means)
        spread = torch.empty_like(noise)
        whitening = self._whitening()
        order = codes.argsort(stable=True)
        sizes = torch.bincount(codes, minlength=len(whitening)).tolist()
        for j, items in enumerate(order.split(sizes)):
            if self.full:
                white = noise[items].T
                spread[items] = torch.linalg.solve_triangular(whitening[j], white, upper=False).T
            else:
                spread[items] = noise[items] / whitening[j]
        return self.means[codes] + spread.reshape(n, *self.event) / math.sqrt(beta)

    @torch.no_grad()
    def log_z(self, beta: float = 1.0) -> Tensor:
        """Log of the integral over y and the sum over z of exp(-beta E), 0 at beta = 1."""
        half = self.log_diagonal.shape[1] / 2
        logits = beta * self.logits.double().log_softmax(0)
        logits = logits - (1 - beta) * self.log_diagonal.double().sum(1)
        volume = half * ((1 - beta) * math.log(2 * math.pi) - math.log(beta))
        return torch.logsumexp(logits, 0) + volume

    def _whitening(self, dtype: torch.dtype | None = None) -> Tensor:
        """W, `(k, d, d)`, or its diagonal `(k, d)`."""
        diagonal = self.log_diagonal.to(dtype or self.log_diagonal.dtype).exp()
        if not self.full:
            return diagonal
        return lower_triangular(diagonal, self.off_diagonal.to(diagonal.dtype))

    @torch.no_grad()
    def _keep(self, whitening: Tensor) -> None:
        if self.full:
            self.off_diagonal.copy_(below_diagonal(whitening))
            whitening = whitening.diagonal(dim1=-2, dim2=-1)
        self.log_diagonal.copy_(whitening.log())

    def _covariances(self, whitening: Tensor) -> Tensor:
        if not self.full:
            return whitening.square().reciprocal().reshape(self.means.shape)
        factor = inverse_triangular(whitening)
        return factor @ factor.mT

    def _constants(self) -> Tensor:
        """What E(y, z) is at the mean of z, `(k,)`."""
        volume = self.log_diagonal.shape[1] / 2 * math.log(2 * math.pi)
        return volume - self.logits.log_softmax(0) - self.log_diagonal.sum(1)

    def _half_squares(self, difference: Tensor, codes: Tensor) -> Tensor:
        """Half the squared length of W_z (y − μ_z), `(*batch,)`."""
        whitening = self._whitening()
        if not self.full:
            return (whitening[codes] * difference).square().sum(-1) / 2
        d = difference.shape[-1]
        flat, flat_codes = difference.reshape(-1, d), codes.reshape(-1)
        halves = [
            (whitening[flat_codes[part]] @ flat[part].unsqueeze(-1)).square().sum((-2, -1)) / 2
            for part in chunks(len(flat), d * d * flat.element_size())
        ]
        return torch.cat(halves).reshape(codes.shape)

    def _groups(self, points: Tensor) -> Iterator[slice]:
        """Components whose differences from all points fit in memory together."""
        return chunks(len(self.means), 3 * points.numel() * points.element_size(), CHUNK_BYTES)

    def _no_moments(self) -> tuple[Tensor, Tensor]:
        k, d = self.log_diagonal.shape
        sums = torch.zeros(k, d, dtype=torch.float64, device=self.means.device)
        return sums, sums.new_zeros(k, d, d) if self.full else torch.zeros_like(sums)
