"""Where is the nearest plausible point?"""

import math

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland._shapes import require_finite
from lowland.ask._border import Asked, asked
from lowland.capabilities import Decodes, Reconstructs
from lowland.domain import Real
from lowland.energy import Energy
from lowland.infer import (
    check_beta,
    eliminate,
    find_codes,
    minimize,
    table_of_codes,
    value_and_gradient,
)
from lowland.latent import NoLatent, OneHot

# Of the way from F(y) down to the bottom of y's valley, how much may be left when it counts as on
# the manifold; the pulls towards y, from strong to weak in units of the valley's curvature; and how
# often the stretch between two of them is halved.
_REMAINDER = 0.05
_PULLS = (*(10 ** (2 - i / 2) for i in range(13)), 1e-7, 1e-12)
_HALVINGS = 8


def project(
    energy: Energy,
    y: Tensor,
    *,
    x: Tensor | None = None,
    beta: float = math.inf,
    level: float | None = None,
    steps: int = 100,
) -> Tensor:
    r"""Move each item to the closest point on the manifold that the energy has learned.

    An energy that decodes gives Dec(z*(y)), or at a finite beta the mean of Dec(z) over
    exp(-beta E), which has the least expected squared error. One that reconstructs gives
    Dec(Enc(y)). Any other is descended under a constraint:

    $$\min_{y'} \|y' - y\|^2 \quad \text{with} \quad F(x, y') \le \text{level}$$

    Args:
        energy: any energy.
        y: `(*batch, *event)`.
        x: `(*batch, ...)`, or None.
        beta: inverse temperature, for energies that decode a finite latent; elsewhere leave it inf.
        level: the free energy that counts as on the manifold, for energies that neither decode nor
            reconstruct; None takes a twentieth of the way up from the bottom of y's own valley.
        steps: the most evaluations of one descent.

    Returns:
        `(*batch, *event)`.

    Raises:
        ShapeError: y or x has the wrong shape.
        DomainError: y lies outside the energy's domain, or an option does not apply.
        CapabilityError: the energy neither decodes nor reconstructs, and its domain has no slopes.

    Example:
        >>> energy = ll.energies.KMeans(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
        >>> project(energy, torch.tensor([[3.0, 1.0]]))
        tensor([[4., 0.]])
        >>> project(ll.energies.Ring(), torch.tensor([[0.0, 3.0]]), level=1e-9).round(decimals=3)
        tensor([[0., 1.]])
    """
    check_beta(beta)
    if isinstance(steps, bool) or steps < 1:
        raise DomainError(f"'steps' of project must be at least 1. Got {steps!r}.")
    if level is not None and not math.isfinite(level):
        raise DomainError(f"'level' of project must be finite. Got {level!r}.")
    with asked(energy, y, x) as a:
        inner = a.energy
        decodes = isinstance(inner, Decodes) and not isinstance(inner.latent, NoLatent)
        if not math.isinf(beta) and not (decodes and isinstance(inner.latent, OneHot)):
            raise DomainError(
                f"'beta' applies to energies that decode a finite latent. {type(inner).__name__} "
                f"does not: leave it out."
            )
        if level is not None and (decodes or isinstance(inner, Reconstructs)):
            raise DomainError(
                f"'level' applies to energies that neither decode nor reconstruct. "
                f"{type(inner).__name__} does: leave it out."
            )
        if decodes:
            nearest = _decoded(inner, a.y, a.x, beta)
        elif isinstance(inner, Reconstructs):
            nearest = inner.reconstruct(a.y, x=a.x)
        elif isinstance(inner.domain, Real):
            nearest = _constrained(a, level, steps)
        else:
            raise CapabilityError(
                f"project decodes, reconstructs or descends; {type(inner).__name__} on "
                f"{inner.domain} allows none of them. Write reconstruct(y, *, x=None) on it."
            )
        return require_finite(a.answer(nearest), "The projection")


def _decoded(energy: Energy, y: Tensor, x: Tensor | None, beta: float) -> Tensor:
    if not isinstance(energy, Decodes):
        raise CapabilityError(f"{type(energy).__name__} does not decode.")
    if math.isinf(beta):
        z = find_codes(energy, y, x)
        if z is None:
            raise CapabilityError(f"{type(energy).__name__} has no latent variable to decode.")
        return energy.decode(z, x=x)
    if not isinstance(energy.latent, OneHot):
        raise CapabilityError(f"The latent {energy.latent} cannot be averaged over.")
    codes = energy.latent.codes(y.device)
    weights = torch.softmax(-beta * table_of_codes(energy, y, x), dim=-1)
    if x is None:
        mixed: Tensor = torch.tensordot(weights, energy.decode(codes), dims=1)
        return mixed
    k = energy.latent.k
    decoded = energy.decode(
        codes.expand(len(y), k), x=x.unsqueeze(1).expand(len(x), k, *x.shape[1:])
    )
    shares = weights.reshape(*weights.shape, *[1] * len(energy.event))
    mean: Tensor = (shares * decoded).sum(1)
    return mean


def _constrained(a: Asked, level: float | None, steps: int) -> Tensor:
    """The closest point below the level, found by letting go of a pull towards y step by step.

    As the pull weakens, its minimum moves from y down into y's own valley; the first place that
    lies below the level is the closest one, and halving the last stretch sharpens it.
    """

    def potential(points: Tensor) -> Tensor:
        return eliminate(a.energy, points, a.x, beta=math.inf)

    def pulled(pull: Tensor | float, start: Tensor) -> tuple[Tensor, Tensor]:
        def function(points: Tensor) -> Tensor:
            distance = (points - a.y).flatten(1).square().sum(1)
            return potential(points) / curvature + pull / 2 * distance

        points = minimize(function, start, steps=steps).y
        return points, potential(points)

    at_y, slope = value_and_gradient(potential, a.y)
    require_finite(at_y, "The energy of y")
    steepness = slope.flatten(1).square().sum(1)
    # All in units of the valley: another temperature of the same energy has the same answer.
    unit = torch.where(steepness > 0, steepness.sqrt(), torch.ones_like(steepness))
    bottom = minimize(lambda points: potential(points) / unit, a.y, steps=steps).value * unit
    fall = at_y - bottom
    # The curvature of a parabola with this slope and this depth.
    curvature = steepness / (2 * fall).clamp(min=torch.finfo(at_y.dtype).tiny)
    curvature = torch.where((fall > 0) & (steepness > 0), curvature, unit)
    places, values = [a.y], [at_y]
    for pull in _PULLS:
        place, value = pulled(pull, places[-1])
        places.append(place)
        values.append(value)
    path = torch.stack(values)
    if level is None:
        limit = path.amin(0) + _REMAINDER * (at_y - path.amin(0))
    else:
        limit = torch.full_like(at_y, level)
        low = path.amin(0)
        if bool((low > limit).any()):
            bad = int(torch.nonzero(low > limit)[0])
            raise DomainError(
                f"'level' is {level}, but the descent from item {bad} comes no lower than "
                f"{low[bad].item():.6g}. Give a higher level, or None."
            )
    first = (path <= limit).to(torch.int64).argmax(0)
    rows = torch.arange(len(a.y), device=a.y.device)
    stack = torch.stack(places)
    best, outside = stack[first, rows], stack[(first - 1).clamp(min=0), rows]
    pulls = torch.tensor([_PULLS[0] * _PULLS[0] / _PULLS[1], *_PULLS], dtype=at_y.dtype)
    pulls = pulls.to(at_y.device).log()
    high, low_pull = pulls[(first - 1).clamp(min=0)], pulls[first]
    for _ in range(_HALVINGS):
        middle = (high + low_pull) / 2
        place, value = pulled(middle.exp(), outside)
        fits = value <= limit
        column = fits.reshape(-1, *[1] * (place.dim() - 1))
        best, outside = torch.where(column, place, best), torch.where(column, outside, place)
        low_pull, high = torch.where(fits, middle, low_pull), torch.where(fits, high, middle)
    stays = (first == 0).reshape(-1, *[1] * (best.dim() - 1))
    return torch.where(stays, a.y, best)
