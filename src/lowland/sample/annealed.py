"""Annealed importance sampling: log Z, from a distribution whose log Z is known."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DivergedError, DomainError
from lowland._offers import offers
from lowland._random import integers
from lowland.capabilities import SamplesConditionals
from lowland.domain import Binary, Categorical, Real
from lowland.energy import Energy
from lowland.sample._path import ConditionalPath, GeometricPath, Path, log_mean_exp
from lowland.sample._run import Sampler
from lowland.sample.base import Base
from lowland.sample.gibbs import Gibbs
from lowland.sample.gibbs_with_gradients import GibbsWithGradients
from lowland.sample.mala import MALA
from lowland.sample.single_site import SingleSite
from lowland.sample.target import Potential, Target

_RESAMPLINGS = 1000


class Annealing(NamedTuple):
    r"""An estimate of log Z, and the chains behind it.

    Attributes:
        log_z: the estimate of $\log \int e^{-\beta F(y)} dy$, a float64 scalar.
        standard_error: of it, by the bootstrap over chains; float64 scalar. Where a few chains
            carry the weight it is too small.
        log_weights: log of the weight of each chain, `(chains,)`; the mean of the weights is the
            estimate of Z, or of 1 / Z where the chains run backwards.
        y: where the chains ended, `(chains, *event)`.
        effective_sample_size: how many equal chains they are worth, a scalar.
        temperatures: the places of the path, `(steps + 1,)`.
    """

    log_z: Tensor
    standard_error: Tensor
    log_weights: Tensor
    y: Tensor
    effective_sample_size: Tensor
    temperatures: Tensor


def annealed_importance_sampling(
    energy: Potential | Target,
    base: Base | Tensor,
    *,
    temperatures: int | Tensor = 1000,
    chains: int = 100,
    beta: float = 1.0,
    sampler: Sampler | None = None,
    moves: int = 1,
    backwards_from: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Annealing:
    r"""Lead chains from a known distribution to exp(-beta F), and weigh what they lose on the way.

    $$\log w = \log Z_0 - \sum_k \left[ U_{t_{k+1}}(y_k) - U_{t_k}(y_k) \right], \qquad
      \mathbb E[w] = Z$$

    The mean of w is an unbiased estimate of Z, so that its logarithm is too low on average. Run
    backwards from draws of exp(-beta F), the mean of the weights estimates 1 / Z, and the result is
    too high on average: together they are a bracket, if the draws are what they should be.

    Args:
        energy: F: an energy without a latent, any function from `(n, *event)` to `(n,)`, or a
            `Target`.
        base: where the path begins: means `(*event)` for an energy that `SamplesConditionals`, at
            beta = 1, whose path is of energies of its own kind; or a distribution with
            `sample(n, generator)` and `log_prob(y)`, whose path is geometric.
        temperatures: how many steps the path has, or its places, increasing from 0 to 1.
        chains: how many chains.
        beta: inverse temperature.
        sampler: how chains move on a geometric path; None is `MALA` for real y,
            `GibbsWithGradients` for binary and `SingleSite` for categorical y.
        moves: steps of the sampler at each temperature.
        backwards_from: draws from exp(-beta F), `(chains, *event)`, to run backwards from.
        generator: all randomness; torch's default generator if None.

    Raises:
        DomainError: an option is out of range.
        CapabilityError: means were given, and the energy has no conditionals at that beta.
        DivergedError: a weight is not finite.

    Reference:
        Annealed Importance Sampling (Neal, 2001), https://doi.org/10.1023/A:1008923215028;
        Accurate and Conservative Estimates of MRF Log-likelihood using Reverse Annealing (Burda,
        Grosse and Salakhutdinov, 2015), https://arxiv.org/abs/1412.8566

    Example:
        >>> from lowland.sample import annealed_importance_sampling
        >>> g = torch.Generator().manual_seed(0)
        >>> energy = ll.energies.RestrictedBoltzmann(torch.eye(3), torch.ones(3), torch.zeros(3))
        >>> found = annealed_importance_sampling(energy, torch.full((3,), 0.5), generator=g)
        >>> bool((found.log_z - energy.log_z()).abs() < 0.05)
        True
    """
    if chains < 2 or moves < 1:
        raise DomainError(
            f"Annealing needs chains of at least 2 and moves of at least 1. Got chains={chains}, "
            f"moves={moves}."
        )
    with torch.no_grad():
        places = _places(temperatures, conditional=isinstance(base, Tensor))
        path = path_to(energy, base, beta, sampler, generator)
        if backwards_from is None:
            return _forward(path, places, chains, moves, generator)
        return _backward(path, places, backwards_from, moves, generator)


def _forward(
    path: Path, places: Tensor, chains: int, moves: int, generator: torch.Generator | None
) -> Annealing:
    here = path.begin(chains, generator)
    log_weights = path.log_z.double().expand(chains).clone()
    for t, following in pairwise(places.tolist()):
        log_weights -= path.rise(here, t, following).double()
        here = path.move(here, following, moves, generator)
    return summary(log_weights, here.y, places, generator)


def _backward(
    path: Path, places: Tensor, start: Tensor, moves: int, generator: torch.Generator | None
) -> Annealing:
    here = path.at(start)
    log_weights = -path.log_z.double().expand(len(start)).clone()
    for t, following in pairwise(places.flip(0).tolist()):
        log_weights -= path.rise(here, t, following).double()
        here = path.move(here, following, moves, generator)
    found = summary(log_weights, here.y, places, generator)
    return found._replace(log_z=-found.log_z)


def summary(
    log_weights: Tensor, y: Tensor, places: Tensor, generator: torch.Generator | None
) -> Annealing:
    """The estimate, and its error by the bootstrap.

    Raises:
        DivergedError: a weight is not finite.
    """
    if not bool(torch.isfinite(log_weights).all()):
        bad = int((~torch.isfinite(log_weights)).nonzero()[0])
        raise DivergedError(
            f"The weight of chain {bad} of {len(log_weights)} is {float(log_weights[bad].exp())}: "
            f"the energy is not finite where the path leads, or its Gibbs distribution does not "
            f"exist."
        )
    n = len(log_weights)
    drawn = integers(n, (n, _RESAMPLINGS), generator, like=log_weights)
    spread = log_mean_exp(log_weights[drawn]).std()
    share = torch.softmax(log_weights, 0)
    return Annealing(
        log_mean_exp(log_weights), spread, log_weights, y, 1 / share.square().sum(), places
    )


def path_to(
    energy: Potential | Target,
    base: Base | Tensor,
    beta: float,
    sampler: Sampler | None,
    generator: torch.Generator | None,
) -> Path:
    """The path from a base to an energy.

    Raises:
        DomainError: beta is not positive and finite.
        CapabilityError: means were given for an energy without conditionals.
    """
    if not (math.isfinite(beta) and beta > 0):
        raise DomainError(f"'beta' of annealing must be positive and finite. Got {beta!r}.")
    if isinstance(base, Tensor):
        if not isinstance(energy, SamplesConditionals) or beta != 1:
            raise CapabilityError(
                f"Means as a base need an energy that SamplesConditionals, at beta = 1. Got "
                f"{type(energy).__name__} at beta {beta:g}. Give a base distribution, such as "
                f"lowland.sample.NormalBase.from_data(y) or BitsBase.from_data(y)."
            )
        return ConditionalPath(energy, base)
    target = energy if isinstance(energy, Target) else Target(energy)
    if sampler is None:
        # Between the ends the energy is a blend, which has no conditionals of its own.
        sampler = _of_domain(target, base.sample(1, generator))
    return GeometricPath(target, base, beta, sampler, generator)


def sampler_for(target: Target, y: Tensor) -> Sampler:
    """The sampler that suits a target whose points are like y.

    `Gibbs` where there are conditionals, `MALA` for real y, `GibbsWithGradients` for binary and
    `SingleSite` for categorical y.

    Raises:
        DomainError: y is of whole numbers, and nothing says how many classes there are.
    """
    if offers(target.potential, SamplesConditionals) and not target.constraint.bounded:
        return Gibbs()
    return _of_domain(target, y)


def _of_domain(target: Target, y: Tensor) -> Sampler:
    domain = target.potential.domain if isinstance(target.potential, Energy) else Real()
    if isinstance(domain, Categorical):
        return SingleSite(domain.n)
    if isinstance(domain, Binary):
        return GibbsWithGradients()
    if not y.is_floating_point():
        raise DomainError(
            "A function of int64 does not say how many classes there are. Give a sampler: "
            "SingleSite(classes)."
        )
    return MALA()


def _places(temperatures: int | Tensor, *, conditional: bool) -> Tensor:
    if isinstance(temperatures, Tensor):
        t = temperatures.double().flatten()
        if len(t) < 2 or t[0] != 0 or t[-1] != 1 or not bool((t.diff() > 0).all()):
            raise DomainError(
                f"'temperatures' must increase from 0 to 1. Got {len(t)} from "
                f"{t[:1].tolist()} to {t[-1:].tolist()}."
            )
        return t
    if isinstance(temperatures, bool) or temperatures < 1:
        raise DomainError(f"'temperatures' must be at least 1. Got {temperatures!r}.")
    if conditional:
        return salakhutdinov_murray(temperatures)
    # The density changes fastest where it leaves the base.
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).square()


def salakhutdinov_murray(steps: int = 14_500) -> Tensor:
    """The temperatures of Salakhutdinov and Murray, `(steps + 1,)` float64.

    Of 14,500 steps 500 lead to 0.5, 4,000 on to 0.9 and 10,000 on to 1, evenly in each part; with
    another number the parts keep their shares.

    Args:
        steps: how many, at least 1.

    Raises:
        DomainError: steps is not positive.

    Reference:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008),
        https://doi.org/10.1145/1390156.1390266

    Example:
        >>> from lowland.sample import salakhutdinov_murray
        >>> salakhutdinov_murray(29)[:3]
        tensor([0.0000, 0.5000, 0.5500], dtype=torch.float64)
    """
    if steps < 1:
        raise DomainError(f"'steps' must be at least 1. Got {steps!r}.")
    at = torch.linspace(0, 14_500, steps + 1, dtype=torch.float64)
    first = at / 1000
    second = 0.5 + (at - 500) / 10_000
    third = 0.9 + (at - 4500) / 100_000
    t = torch.where(at <= 500, first, torch.where(at <= 4500, second, third))
    t[-1] = 1.0
    return t
