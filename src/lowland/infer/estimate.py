"""F_beta with how it was found, and how good it is."""

from typing import NamedTuple

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._shapes import flatten_batch, require_finite
from lowland.energy import Energy
from lowland.infer.choose import check_beta, evaluate, flatten_condition


class FreeEnergyEstimate(NamedTuple):
    """The free energy of each item, and what it rests on.

    Attributes:
        value: F_beta, `(*batch,)`, differentiable as that of `free_energy`.
        standard_error: of the value, `(*batch,)`; 0 for exact methods, the change at the last
            halving for quadrature.
        effective_sample_size: how many independent draws it rests on, `(*batch,)`; inf where
            nothing was drawn.
        method: "minimum", "log-sum", "closed form", "quadrature", "importance", "annealed
            importance" or "no latent"; where items needed different ones, with their numbers.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    method: str


def estimate(
    energy: Energy,
    y: Tensor,
    *,
    x: Tensor | None = None,
    beta: float = 1.0,
    measure: str = "mean",
    generator: torch.Generator | None = None,
) -> FreeEnergyEstimate:
    """`free_energy`, together with its standard error, effective sample size and method.

    Args:
        energy: any energy.
        y: `(*batch, *event)`.
        x: `(*batch, ...)`, or None.
        beta: inverse temperature, in [0, inf].
        measure: "mean" or "sum".
        generator: random draws; the same at every call if None.

    Raises:
        DomainError: beta or measure is not allowed, or y lies outside the domain.
        CapabilityError: `measure="mean"` was asked of a Z whose volume is infinite.
        DivergedError: a free energy is not finite.

    Example:
        >>> from lowland.energies import KMeans
        >>> energy = KMeans(torch.tensor([[0.0], [1.0]]))
        >>> estimate(energy, torch.tensor([[0.5]])).method
        'log-sum'
    """
    check_beta(beta, measure)
    batch = check_y(energy, y)
    flat_y, flat_x = flatten_batch(y, batch), flatten_condition(energy, x, batch)
    found = evaluate(energy, flat_y, flat_x, beta=beta, measure=measure, generator=generator)
    value = require_finite(found.value.reshape(batch), "The free energy")
    kinds = sorted(set(found.methods))
    method = kinds[0]
    if len(kinds) > 1:
        method = ", ".join(f"{kind} ({found.methods.count(kind)})" for kind in kinds)
    return FreeEnergyEstimate(
        value,
        found.standard_error.reshape(batch),
        found.effective_sample_size.reshape(batch),
        method,
    )
