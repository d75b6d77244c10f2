"""Give me new ones."""

import math

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland._modes import evaluating
from lowland._shapes import flatten_batch
from lowland.capabilities import SamplesGibbs
from lowland.domain import Real
from lowland.energy import Energy
from lowland.infer import FreeEnergy, eliminate, flatten_condition
from lowland.latent import NoLatent
from lowland.sample import (
    HMC,
    MALA,
    NUTS,
    Diagnostics,
    Draws,
    KickedDescent,
    Langevin,
    RandomWalk,
    Sampler,
    Target,
    run,
    sampler_for,
)
from lowland.scaling import Scaling, model_units

# Samplers whose proposals are sums of real numbers, which would leave any other domain.
_OF_REALS = (HMC, MALA, NUTS, KickedDescent, Langevin, RandomWalk)


def sample(
    energy: Energy,
    start: int | Tensor,
    *,
    sampler: Sampler | None = None,
    steps: int | None = None,
    warmup: int | None = None,
    thin: int = 1,
    beta: float = 1.0,
    x: Tensor | None = None,
    observed: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Draws:
    r"""Draw from the Gibbs distribution of the energy.

    $$P(y \mid x) = e^{-\beta F_\beta(x, y)} \Big/ \int e^{-\beta F_\beta(x, y')} \, dy'$$

    Without a sampler and a start, an energy whose Gibbs distribution is known (`SamplesGibbs`)
    gives independent exact draws. Any other runs chains that tune themselves in a warm-up: `MALA`
    where there are slopes, else one element at a time (`SingleSite`). Look at the draws' verdicts:
    `print(draws)` says whether the chains have mixed.

    Args:
        energy: any energy; with a latent, z is eliminated at the same beta.
        start: how many chains, started at noise; or the points `(chains, *event)` to start from.
        sampler: how to move; None chooses as above.
        steps: steps of each chain after the warm-up, 500 if None; for exact draws, how many each
            chain holds, 1 if None.
        warmup: steps made first and not kept, in which the sampler tunes itself; None for as many
            as it names; not for exact draws.
        thin: keep every so many-th step; not for exact draws.
        beta: inverse temperature, positive and finite.
        x: the condition of each chain, `(chains, ...)`, or None.
        observed: bool, `event` or like start; True where y is given by start and stays, so that
            the rest is drawn given it. Needs points to start from.
        generator: all randomness; torch's default generator if None.

    Returns:
        Draws: y of shape `(chains, draws, *event)`, with diagnostics.

    Raises:
        DomainError: an option is out of range, or the start outside the domain.
        DivergedError: a chain cannot start, or none can move.

    Example:
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0], [9.0]]))
        >>> g = torch.Generator().manual_seed(0)
        >>> sample(energy, 4, beta=50.0, generator=g).last.shape
        torch.Size([4, 1])
    """
    if not (isinstance(beta, int | float) and math.isfinite(beta) and beta > 0):
        raise DomainError(f"'beta' of sample must be positive and finite. Got {beta!r}.")
    for name, count in (("steps", steps), ("thin", thin)):
        if count is not None and count < 1:
            raise DomainError(f"'{name}' of sample must be at least 1. Got {count!r}.")
    inner, scaling, condition = model_units(energy)
    with evaluating(energy):
        points = _points(energy, inner, start, scaling, generator)
        flat_x = flatten_condition(energy, x, (len(points),))
        flat_x = condition(flat_x) if condition is not None and flat_x is not None else flat_x
        if sampler is None and not isinstance(start, Tensor) and isinstance(inner, SamplesGibbs):
            if warmup or thin != 1 or observed is not None:
                raise DomainError(
                    f"{type(inner).__name__} is sampled exactly: 'warmup', 'thin' and 'observed' "
                    f"have no meaning. Leave them out, or choose a sampler."
                )
            draws = _exact(inner, len(points), steps or 1, beta, flat_x, generator)
        else:
            if observed is not None:
                observed = _mask(energy, start, observed)
            if isinstance(sampler, _OF_REALS) and not isinstance(inner.domain, Real):
                raise CapabilityError(
                    f"{type(sampler).__name__} moves real numbers, and {type(inner).__name__} "
                    f"lives on {inner.domain}. Leave 'sampler' out, or give one of that domain, "
                    f"such as SingleSite() or GibbsWithGradients()."
                )
            eliminated = (
                inner
                if isinstance(inner.latent, NoLatent)
                else FreeEnergy(inner, beta, measure=None).eval()
            )
            target = Target(eliminated, x=flat_x, observed=observed)
            sampler = sampler or sampler_for(target, points)
            draws = run(
                sampler,
                target,
                points,
                steps=500 if steps is None else steps,
                warmup=getattr(sampler, "warmup", 0) if warmup is None else warmup,
                thin=thin,
                beta=beta,
                generator=generator,
            )
    return draws._replace(y=scaling.inverse(draws.y))


def _points(
    energy: Energy,
    inner: Energy,
    start: int | Tensor,
    scaling: Scaling,
    generator: torch.Generator | None,
) -> Tensor:
    """Where the chains start, `(chains, *event)`, in model units."""
    if isinstance(start, Tensor):
        points = flatten_batch(start, check_y(energy, start, "start"))
        return scaling(points) if points.is_floating_point() else points
    if isinstance(start, bool) or start < 1:
        raise DomainError(f"'start' must be points or a number of chains. Got {start!r}.")
    like = torch.zeros((), dtype=energy.dtype or torch.get_default_dtype(), device=energy.device)
    return inner.domain.noise((start, *energy.event), generator=generator, like=like)


def _mask(energy: Energy, start: int | Tensor, observed: Tensor) -> Tensor:
    """The mask of what is given, for chains in one axis."""
    if not isinstance(start, Tensor):
        raise DomainError(
            "'observed' says which elements of 'start' are given, so 'start' must be points, not a "
            "number of chains."
        )
    if tuple(observed.shape) == energy.event:
        return observed
    if observed.shape != start.shape:
        raise ShapeError(
            f"'observed' must be shaped like the event {energy.event}, or like start "
            f"{tuple(start.shape)}. Got {tuple(observed.shape)}."
        )
    return observed.reshape(-1, *energy.event)


@torch.no_grad()
def _exact(
    energy: SamplesGibbs,
    chains: int,
    steps: int,
    beta: float,
    x: Tensor | None,
    generator: torch.Generator | None,
) -> Draws:
    repeated = None if x is None else x.repeat_interleave(steps, dim=0)
    flat = energy.sample_gibbs(chains * steps, beta=beta, generator=generator, x=repeated)
    if not isinstance(energy, Energy):
        raise CapabilityError("Only an energy can be sampled.")
    value = eliminate(energy, flat, repeated, beta=beta)
    y = flat.reshape(chains, steps, *flat.shape[1:])
    return Draws(y, Diagnostics.of_exact(y, value.reshape(chains, steps), beta))
