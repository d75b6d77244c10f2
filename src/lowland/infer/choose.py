"""Choose how to eliminate z by the energy's latent: exactly wherever an exact way exists."""

import math

import torch
from torch import Tensor

from lowland._border import check_x, check_y
from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland._shapes import all_finite, flatten_batch, require_finite
from lowland.capabilities import (
    DecodesByOperator,
    DecodesLinearly,
    GuessesCodes,
    LinearDecoder,
    SolvesCodes,
)
from lowland.energy import Energy, Reparametrized
from lowland.infer.closed_form import free_energy_linear, solve_linear
from lowland.infer.enumerate import best_codes, enumerable, log_sum
from lowland.infer.marginal import FindModes, Marginal, marginalize
from lowland.infer.operator import solve_operator
from lowland.infer.positions import solve_positions
from lowland.infer.proximal import solve_sparse
from lowland.infer.result import Inference
from lowland.infer.search import Search
from lowland.infer.smooth import energies_at, find_minima, solve_smooth
from lowland.latent import Codes, Continuous, Grid, Latent, NoLatent, Normal, OneHot, Sparse, Vector

MEASURES = ("mean", "sum")

# What a search for z must reach when its slopes are asked for next: their error is of the order of
# the certificate.
_TOLERANCE = {torch.float64: 1e-8}
# Starts of a search for modes to integrate around, for a z too long to find them all.
_MODES = 4


def infer(
    energy: Energy,
    y: Tensor,
    *,
    x: Tensor | None = None,
    start: Tensor | None = None,
    starts: int | None = None,
    steps: int = 1000,
    tolerance: float = 1e-6,
    generator: torch.Generator | None = None,
) -> Inference:
    r"""Find the best code of each item, exactly wherever an exact method exists.

    $$z^*(x, y) = \arg\min_z E(x, y, z)$$

    Finite latents are enumerated, a linear decoder with a quadratic penalty is one linear system,
    a sparse latent with a linear decoder is solved to a duality gap, and anything else is descended
    with a step for each item. Too many combinations of codes to enumerate (`Codes`) are guessed by
    the energy's encoder; a start is improved one position at a time, `steps` times round at most.
    The options are for searches; exact methods need none. A search without a generator starts at
    the same points at every call.

    Args:
        energy: any energy.
        y: `(*batch, *event)`.
        x: `(*batch, ...)`, or None for an unconditional energy.
        start: codes to start from, `(*batch, m)`, such as the last ones found.
        starts: how many points to start from; None chooses by the size of z.
        steps: the most steps an item may take.
        tolerance: the certificate that an item must reach to count as converged.
        generator: random starts; the same at every call if None.

    Returns:
        Inference: z, its energy and a certificate per item; nothing in it carries gradients.

    Raises:
        ShapeError: y, x or start has the wrong shape.
        DomainError: y lies outside the energy's domain, start is not finite, or an option is out
            of range.
        CapabilityError: no method here infers that latent.

    Example:
        >>> from lowland.energies import KMeans
        >>> energy = KMeans(torch.tensor([[0.0], [1.0]]))
        >>> infer(energy, torch.tensor([[0.8], [-2.0]])).z
        tensor([1, 0])
    """
    batch = check_y(energy, y)
    if steps < 1 or not tolerance >= 0 or (starts is not None and starts < 1):
        raise DomainError(
            f"infer needs steps and starts of at least 1 and a tolerance of at least 0. Got "
            f"steps={steps}, starts={starts}, tolerance={tolerance}."
        )
    if start is not None:
        energy.latent.check(start, batch)
        start = flatten_batch(start, batch)
        if start.is_floating_point() and not all_finite(start):
            bad = int(torch.nonzero(~start.isfinite().flatten(1).all(1))[0])
            raise DomainError(
                f"'start' of infer must be finite, and is not at item {bad}. Leave "
                f"it out, or give such items zeros."
            )
    flat_y, flat_x = flatten_batch(y, batch), flatten_condition(energy, x, batch)
    search = Search(start, starts, steps, tolerance, generator)
    with torch.no_grad():
        found = solve(energy, flat_y, flat_x, search)
    require_finite(found.energy, "The energy of the best code")
    z = None if found.z is None else found.z.reshape((*batch, *found.z.shape[1:]))
    return Inference(z, *[value.reshape(batch) for value in found[1:]])


def solve(energy: Energy, y: Tensor, x: Tensor | None, search: Search) -> Inference:
    """`infer` for items `(n, *event)`, without looking at the values."""
    latent = energy.latent
    if isinstance(energy, Reparametrized) and isinstance(latent, Continuous):
        # In other units the same z is best.
        found = solve(energy.energy, energy.inward(y), energy.condition_units(x), search)
        return found._replace(energy=energy.factor * found.energy)
    match latent:
        case NoLatent():
            return _exact(energy, y, x, None)
        case OneHot() | Grid():
            return _exact(energy, y, x, best_codes(energy, y, x))
        case Codes() if latent.enumerable:
            return _exact(energy, y, x, best_codes(energy, y, x))
        case Codes() if isinstance(energy, GuessesCodes):
            start = energy.guess_codes(y, x=x) if search.start is None else search.start
            # Each change of a code costs a look at all k, so that only a start that is given, which
            # asks for it, is improved.
            steps = 0 if search.start is None else search.steps
            return solve_positions(energy, latent, y, x, start, steps)
        case Continuous() if isinstance(energy, SolvesCodes):
            return _exact(energy, y, x, energy.solve_codes(y, x=x))
        case Normal() | Vector() if isinstance(energy, DecodesLinearly):
            return _exact(energy, y, x, solve_linear(latent, energy.linear_decoder(), y))
        case Sparse() if isinstance(energy, DecodesLinearly):
            return solve_sparse(latent, energy.linear_decoder(), y, search)
        case Sparse(penalty=penalty) if penalty > 0 and isinstance(energy, DecodesByOperator):
            if search.start is None and isinstance(energy, GuessesCodes):
                search = search._replace(start=energy.guess_codes(y, x=x))
            return solve_operator(latent, energy.linear_operator(), y, search)
        case Continuous():
            return solve_smooth(energy, latent, y, x, search)
        case _:
            raise CapabilityError(
                f"No inference is known for the latent {latent} of {type(energy).__name__}."
            )


def solve_decoder(latent: Latent, decoder: LinearDecoder, y: Tensor) -> Tensor:
    """The best z for a linear decoder by itself, such as some rows of an energy's, `(n, m)`.

    Raises:
        CapabilityError: the latent is not `Normal`, `Vector` or `Sparse`.
    """
    match latent:
        case Normal() | Vector():
            return solve_linear(latent, decoder, y)
        case Sparse():
            found = solve_sparse(latent, decoder, y, Search())
            return torch.zeros_like(y[:, :0]) if found.z is None else found.z
        case _:
            raise CapabilityError(f"The best z of {latent} for a linear decoder is not known.")


def _exact(energy: Energy, y: Tensor, x: Tensor | None, z: Tensor | None) -> Inference:
    value = energy(y, x=x, z=z)
    return Inference(
        z=z,
        energy=value,
        gap=torch.zeros_like(value),
        converged=torch.ones_like(value, dtype=torch.bool),
        steps=torch.zeros_like(value, dtype=torch.int64),
    )


def find_codes(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    *,
    start: Tensor | None = None,
    tolerance: float | None = None,
) -> Tensor | None:
    """z*(x, y) for items `(n, *event)`, unchecked; None if the energy has no latent.

    Args:
        energy: any energy.
        y: `(n, *event)`.
        x: `(n, ...)`, or None.
        start: codes to start a search from, `(n, m)`.
        tolerance: the certificate a search must reach; None is strict enough to take slopes.
    """
    match energy.latent:
        case NoLatent():
            return None
        case OneHot() | Grid():
            return best_codes(energy, y, x)
        case _:
            with torch.no_grad():
                search = _careful(y)._replace(start=start)
                if tolerance is not None:
                    search = search._replace(tolerance=tolerance)
                return solve(energy, y, x, search).z


def _careful(y: Tensor) -> Search:
    return Search(tolerance=_TOLERANCE.get(y.dtype, Search().tolerance))


def free_energy(
    energy: Energy,
    y: Tensor,
    *,
    x: Tensor | None = None,
    beta: float = math.inf,
    measure: str = "mean",
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Eliminate z: the free energy of each item, differentiable in y, x and the parameters.

    $$F_\infty(x, y) = \min_z E(x, y, z), \qquad
      F_\beta(x, y) = -\frac{1}{\beta} \log \int_Z e^{-\beta E(x, y, z)} \, dz$$

    With `measure="mean"` the integral is divided by the volume of Z, so that
    F_inf ≤ F_beta ≤ mean over z of E, F_0 is that mean, and F_beta falls as beta grows; for n codes
    F_beta ≤ F_inf + log(n) / beta. With `measure="sum"` it is not divided. Gradients of F_inf
    follow from the envelope theorem: z* is held fixed; those of F_beta are the mean of E's over
    the Gibbs distribution of z.

    Finite latents are summed, a linear decoder with a quadratic penalty has a closed form, a z of
    one or two elements is integrated by quadrature, and a longer one by importance sampling around
    the modes found, then by annealing where that is worth too little: `lowland.infer.estimate`
    says which, and how good it is.

    Args:
        energy: any energy; without a latent, F is E at every beta.
        y: `(*batch, *event)`.
        x: `(*batch, ...)`, or None.
        beta: inverse temperature, in [0, inf].
        measure: "mean" or "sum".
        generator: random draws, for a z so long that some are needed; the same at every call if
            None, so that F is a function of its input.

    Returns:
        `(*batch,)`.

    Raises:
        DomainError: beta or measure is not allowed, or y lies outside the domain.
        CapabilityError: `measure="mean"` was asked of a Z whose volume is infinite.
        DivergedError: a free energy is not finite.

    Reference:
        A Tutorial on Energy-Based Learning (LeCun et al., 2006),
        http://yann.lecun.com/exdb/publis/pdf/lecun-06.pdf

    Example:
        >>> from lowland.energies import KMeans
        >>> energy = KMeans(torch.tensor([[-1.0], [1.0]]))
        >>> free_energy(energy, torch.tensor([[0.0], [1.0]])).tolist()
        [1.0, 0.0]
        >>> free_energy(energy, torch.tensor([[0.0], [1.0]]), beta=0.0).tolist()
        [1.0, 2.0]
    """
    check_beta(beta, measure)
    batch = check_y(energy, y)
    flat_y, flat_x = flatten_batch(y, batch), flatten_condition(energy, x, batch)
    value = eliminate(energy, flat_y, flat_x, beta=beta, measure=measure, generator=generator)
    return require_finite(value.reshape(batch), "The free energy")


def check_beta(beta: float, measure: str = "mean") -> None:
    """Raise `DomainError` unless beta is in [0, inf] and the measure is known."""
    if measure not in MEASURES:
        raise DomainError(
            f"The 'measure' of free_energy must be one of {MEASURES}. Got {measure!r}."
        )
    if not isinstance(beta, int | float) or not beta >= 0:
        raise DomainError(
            f"'beta' must be an inverse temperature in [0, inf]. Got {beta!r}. "
            f"Use beta=math.inf for min over z."
        )
    if beta == 0 and measure == "sum":
        raise DomainError(
            "F_0 with measure 'sum' is -inf, for -log(volume)/beta has no limit at beta = 0. "
            "Use measure 'mean', whose limit is the mean energy, or a positive beta."
        )


def eliminate(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    *,
    beta: float,
    measure: str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`free_energy` for items `(n, *event)`, without looking at the values: for inner loops.

    Without a measure, where only differences of F count, it is "mean" if Z has a volume to divide
    by, else "sum".
    """
    return evaluate(energy, y, x, beta=beta, measure=measure, generator=generator).value


def evaluate(
    energy: Energy,
    y: Tensor,
    x: Tensor | None,
    *,
    beta: float,
    measure: str | None = None,
    generator: torch.Generator | None = None,
) -> Marginal:
    """`eliminate`, with how the values were found and how good they are."""
    latent = energy.latent
    if isinstance(latent, NoLatent):
        return _known(energy(y, x=x), "no latent")
    if math.isinf(beta):
        return _known(energy(y, x=x, z=find_codes(energy, y, x)), "minimum")
    endless = isinstance(latent, Continuous) and math.isinf(latent.log_volume())
    measure = measure or ("sum" if endless else "mean")
    if enumerable(latent):
        return _known(log_sum(energy, y, x, beta, measure), "log-sum")
    if measure == "mean" and endless:
        raise CapabilityError(
            f"F_beta with measure 'mean' divides by the volume of Z, and that of {latent} is "
            f"infinite. Use measure='sum'."
        )
    if isinstance(energy, Reparametrized) and isinstance(latent, Continuous):
        # a E at beta is a times E at a beta.
        inner, factor = energy.energy, energy.factor
        units = energy.inward(y), energy.condition_units(x)
        found = evaluate(inner, *units, beta=factor * beta, measure=measure, generator=generator)
        errors = factor * found.standard_error
        return found._replace(value=factor * found.value, standard_error=errors)
    match latent:
        case Normal() | Vector() if isinstance(energy, DecodesLinearly):
            least = energy(y, x=x, z=find_codes(energy, y, x))
            value = free_energy_linear(latent, energy.linear_decoder(), least, beta)
            return _known(value, "closed form")
        case Continuous():
            return marginalize(
                energy, latent, y, x, beta, measure, _modes(energy, latent, generator), generator
            )
        case Codes():
            raise CapabilityError(
                f"F_beta at a finite beta sums over all {latent.k}^{latent.positions} combinations "
                f"of codes of {type(energy).__name__}, too many to enumerate. Use beta=math.inf, "
                f"or fewer codes."
            )
        case _:
            raise CapabilityError(
                f"No free energy at a finite beta is known for the latent {latent} of "
                f"{type(energy).__name__}."
            )


def _known(value: Tensor, method: str) -> Marginal:
    exact = value.detach()
    return Marginal(
        value, torch.zeros_like(exact), torch.full_like(exact, math.inf), [method] * len(value)
    )


def _modes(energy: Energy, latent: Continuous, generator: torch.Generator | None) -> FindModes:
    def find(y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor]:
        if isinstance(
            energy, DecodesLinearly | DecodesByOperator | SolvesCodes
        ):  # one minimum, and a way to it
            z = solve(energy, y, x, _careful(y)).z
            if z is not None:
                return z.unsqueeze(1), energies_at(energy, y, x, z.unsqueeze(1))
        starts = None if latent.m <= _MODES else _MODES
        search = _careful(y)._replace(starts=starts, generator=generator)
        found = find_minima(energy, latent, y, x, search)
        return found.z, found.energy

    return find


def flatten_condition(energy: Energy, x: Tensor | None, batch: tuple[int, ...]) -> Tensor | None:
    """Check x of shape `(*batch, ...)` once at the border and turn it into `(n, ...)`.

    Raises:
        ShapeError: x does not begin with the batch of y.
        DomainError: x is not finite, or of another floating-point type than the energy.
    """
    if x is None:
        return None
    if not isinstance(x, Tensor) or tuple(x.shape[: len(batch)]) != batch:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(
            f"'x' must be a tensor with one condition for each y: expected a shape that begins "
            f"with {batch}. Got {got}."
        )
    if x.is_floating_point():
        check_x(energy, x)
    return flatten_batch(x, batch)
