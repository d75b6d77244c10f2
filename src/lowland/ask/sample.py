"""Give me new ones."""

import math

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._errors import CapabilityError, DomainError
from lowland._modes import evaluating
from lowland._shapes import flatten_batch
from lowland.capabilities import SamplesGibbs
from lowland.domain import Real
from lowland.energy import Energy
from lowland.infer import eliminate, flatten_condition
from lowland.sample import Diagnostics, Draws, Langevin, Sampler, run
from lowland.scaling import model_units


def sample(
    energy: Energy,
    start: int | Tensor,
    *,
    sampler: Sampler | None = None,
    steps: int | None = None,
    warmup: int = 0,
    thin: int = 1,
    beta: float = 1.0,
    x: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Draws:
    r"""Draw from the Gibbs distribution of the energy.

    $$P(y \mid x) = e^{-\beta F_\beta(x, y)} \Big/ \int e^{-\beta F_\beta(x, y')} \, dy'$$

    Without a sampler and a start, an energy whose Gibbs distribution is known (`SamplesGibbs`)
    gives independent exact draws; any other runs Langevin chains, whose last draws are the ones to
    use.

    Args:
        energy: any energy; with a latent, z is eliminated at the same beta.
        start: how many chains, started at noise; or the points `(chains, *event)` to start from.
        sampler: how to move; None chooses as above, `Langevin(0.01)` where a chain is needed.
        steps: steps of each chain after the warm-up, 500 if None; for exact draws, how many each
            chain holds, 1 if None.
        warmup: steps made first and not kept; not for exact draws.
        thin: keep every so many-th step; not for exact draws.
        beta: inverse temperature, positive and finite.
        x: the condition of each chain, `(chains, ...)`, or None.
        generator: all randomness; torch's default generator if None.

    Returns:
        Draws: y of shape `(chains, draws, *event)`, with diagnostics.

    Raises:
        DomainError: an option is out of range, or the start outside the domain.
        CapabilityError: the sampler needs slopes, and the domain has none.
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
        if isinstance(start, Tensor):
            points = flatten_batch(start, check_y(energy, start, "start"))
            points = scaling(points) if points.is_floating_point() else points
        else:
            if isinstance(start, bool) or start < 1:
                raise DomainError(f"'start' must be points or a number of chains. Got {start!r}.")
            like = torch.zeros(
                (), dtype=energy.dtype or torch.get_default_dtype(), device=energy.device
            )
            points = inner.domain.noise((start, *energy.event), generator=generator, like=like)
        flat_x = flatten_condition(energy, x, (len(points),))
        flat_x = condition(flat_x) if condition is not None and flat_x is not None else flat_x
        if sampler is None and not isinstance(start, Tensor) and isinstance(inner, SamplesGibbs):
            if warmup or thin != 1:
                raise DomainError(
                    f"{type(inner).__name__} is sampled exactly: 'warmup' and 'thin' have no "
                    f"meaning. Leave them out, or choose a sampler."
                )
            draws = _exact(inner, len(points), steps or 1, beta, flat_x, generator)
        else:
            if not isinstance(inner.domain, Real):
                raise CapabilityError(
                    f"Langevin needs slopes in y, and {type(energy).__name__} lives on "
                    f"{inner.domain}. Give a sampler for that domain."
                )

            def potential(y: Tensor) -> Tensor:
                return eliminate(inner, y, flat_x, beta=beta)

            draws = run(
                sampler or Langevin(),
                potential,
                points,
                steps=500 if steps is None else steps,
                warmup=warmup,
                thin=thin,
                beta=beta,
                generator=generator,
            )
    return draws._replace(y=scaling.inverse(draws.y))


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
    none = torch.zeros(chains, dtype=torch.int64, device=flat.device)
    diagnostics = Diagnostics(
        value.reshape(chains, steps), torch.ones_like(value[:chains]), none, exact=True
    )
    return Draws(flat.reshape(chains, steps, *flat.shape[1:]), diagnostics)
