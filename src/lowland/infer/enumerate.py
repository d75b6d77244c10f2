"""Exact inference for latents that can be enumerated: look at every code."""

import math

import torch
from torch import Tensor

from lowland._errors import CapabilityError
from lowland._shapes import chunks
from lowland.capabilities import SolvesCodes, TabulatesCodes
from lowland.energy import Energy
from lowland.latent import Codes, Grid, Latent, OneHot


def enumerable(latent: Latent) -> bool:
    """Whether every code of this latent can be looked at."""
    return isinstance(latent, OneHot | Grid) or (isinstance(latent, Codes) and latent.enumerable)


def every_code(latent: Latent, like: Tensor) -> Tensor:
    """All codes of a finite latent: `(k,)` int64 for `OneHot`, `(k, m)` for `Codes` and `Grid`.

    Raises:
        CapabilityError: the latent cannot be enumerated.
    """
    match latent:
        case OneHot():
            return latent.codes(like.device)
        case Codes() if latent.enumerable:
            return latent.codes(like.device)
        case Grid():
            return latent.codes(like)
        case _:
            raise CapabilityError(f"The codes of {latent} cannot be enumerated.")


def table_of_codes(energy: Energy, y: Tensor, x: Tensor | None) -> Tensor:
    """E(x, y, z) for every z, differentiable: by the capability, else by the definition.

    Args:
        energy: an energy whose latent is finite, with k codes.
        y: `(n, *event)`.
        x: `(n, ...)` or None.

    Returns:
        `(n, k)`.

    Example:
        >>> from lowland.energies import KMeans
        >>> energy = KMeans(torch.tensor([[0.0], [1.0]]))
        >>> table_of_codes(energy, torch.tensor([[3.0]]), None).tolist()
        [[9.0, 4.0]]
    """
    codes = every_code(energy.latent, y)
    parts = []
    for part in chunks(len(y), _bytes_per_item(energy, codes, y)):
        y_part, x_part = y[part], None if x is None else x[part]
        if isinstance(energy, TabulatesCodes):
            parts.append(energy.tabulate(y_part, x=x_part))
        else:
            parts.append(_by_definition(energy, codes, y_part, x_part))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _bytes_per_item(energy: Energy, codes: Tensor, y: Tensor) -> int:
    per_code = 1 if isinstance(energy, TabulatesCodes) else 1 + y[0].numel()
    return len(codes) * y.element_size() * per_code


def _by_definition(energy: Energy, codes: Tensor, y: Tensor, x: Tensor | None) -> Tensor:
    k = len(codes)
    z = codes.expand(len(y), *codes.shape)
    return energy(_repeat(y, k), x=None if x is None else _repeat(x, k), z=z)


def _repeat(tensor: Tensor, k: int) -> Tensor:
    """`(n, ...)` seen as `(n, k, ...)`, without a copy."""
    return tensor.unsqueeze(1).expand(len(tensor), k, *tensor.shape[1:])


@torch.no_grad()
def best_codes(energy: Energy, y: Tensor, x: Tensor | None) -> Tensor:
    """argmin over z of E(x, y, z), `(n,)` or `(n, m)`, the first on ties; memory is bounded."""
    if isinstance(energy, SolvesCodes):
        return energy.solve_codes(y, x=x)
    codes = every_code(energy.latent, y)
    best = torch.empty(len(y), dtype=torch.int64, device=y.device)
    for part in chunks(len(y), _bytes_per_item(energy, codes, y)):
        table = table_of_codes(energy, y[part], None if x is None else x[part])
        best[part] = table.argmin(-1)
    return codes[best]


def log_mean(table: Tensor, beta: float) -> Tensor:
    r"""$-\frac{1}{\beta} \log \frac{1}{k} \sum_z e^{-\beta E_z}$ of energies `(n, k)`, `(n,)`."""
    if beta == 0:
        return table.mean(-1)
    # From the least energy up, so that neither a small beta nor a large energy costs digits.
    least = table.detach().amin(-1)
    above = torch.expm1(-beta * (table - least.unsqueeze(-1))).mean(-1)
    return least - torch.log1p(above) / beta


def log_sum(energy: Energy, y: Tensor, x: Tensor | None, beta: float, measure: str) -> Tensor:
    """F_beta over all codes, `(n,)`; for a `Grid` the midpoint rule for the integral."""
    table = table_of_codes(energy, y, x)
    value = log_mean(table, beta)
    if measure == "mean" or beta == 0:
        return value
    # Each of k codes counts for one, each point of a grid for its cell.
    latent = energy.latent
    log_volume = latent.log_volume() if isinstance(latent, Grid) else math.log(table.shape[-1])
    return value - log_volume / beta
