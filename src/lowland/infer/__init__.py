"""Eliminate z: `infer` finds the best code, `free_energy` its energy or the log-sum over all.

`choose` picks by the energy's latent and capabilities: `enumerate` is exact for finite latents,
`closed_form` for linear decoders with a quadratic penalty, `proximal` certifies sparse codes,
`operator` too where the decoder is no matrix, and `smooth` descends for anything else, from an
encoder's guess (`amortized`) if there is one. For F_beta of a continuous z `marginal` chooses
`quadrature`, `importance` or `annealed`, and `estimate` tells how good the value is. `descent`
minimises any function for a batch, and `FreeEnergy` is F_beta as an energy.
"""

from lowland.capabilities import GuessesCodes
from lowland.infer.amortized import guess, shortfall
from lowland.infer.choose import (
    MEASURES,
    check_beta,
    eliminate,
    find_codes,
    flatten_condition,
    free_energy,
    infer,
    solve,
    solve_decoder,
)
from lowland.infer.descent import Descent, descend, minimize, value_and_gradient
from lowland.infer.eliminated import FreeEnergy
from lowland.infer.enumerate import enumerable, every_code, log_mean, table_of_codes
from lowland.infer.estimate import FreeEnergyEstimate, estimate
from lowland.infer.implicit import implicit
from lowland.infer.lasso import duality_gap
from lowland.infer.operator import solve_operator
from lowland.infer.result import Inference
from lowland.infer.search import Search
from lowland.infer.shrinkage import FISTA, ISTA, CyclicCoordinateDescent, Path, follow
from lowland.infer.variational import bound, unbounded, variational_free_energy

__all__ = [
    "FISTA",
    "ISTA",
    "MEASURES",
    "CyclicCoordinateDescent",
    "Descent",
    "FreeEnergy",
    "FreeEnergyEstimate",
    "GuessesCodes",
    "Inference",
    "Path",
    "Search",
    "bound",
    "check_beta",
    "descend",
    "duality_gap",
    "eliminate",
    "enumerable",
    "estimate",
    "every_code",
    "find_codes",
    "flatten_condition",
    "follow",
    "free_energy",
    "guess",
    "implicit",
    "infer",
    "log_mean",
    "minimize",
    "shortfall",
    "solve",
    "solve_decoder",
    "solve_operator",
    "table_of_codes",
    "unbounded",
    "value_and_gradient",
    "variational_free_energy",
]
