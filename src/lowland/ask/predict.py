"""From x to several y."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.ask._border import asked
from lowland.ask._codes import charges
from lowland.ask.complete import Completion, complete
from lowland.capabilities import Decodes
from lowland.energy import Energy
from lowland.infer import table_of_codes
from lowland.latent import OneHot


@dataclass(frozen=True)
class Prediction(Completion):
    """Answers to x → y, best first.

    Attributes:
        y: `(items, n, *event)`; NaN where an item has fewer distinct answers.
        energy: the free energy of each answer, `(items, n)`, increasing; inf where there is none.
        count: how many answers each item has, `(items,)` int64.
        weight: how likely each answer is beside the others, `(items, n)`, summing to 1; 0 where
            there is none.
    """

    weight: Tensor


def predict(
    energy: Energy,
    x: Tensor,
    *,
    n: int = 5,
    starts: int | Tensor | None = None,
    steps: int = 200,
    distinct: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Prediction:
    r"""Find the y that go with x: the lowest separate minima of F(x, ·).

    $$\hat y \in \arg\operatorname{loc\,min}_y F_\infty(x, y)$$

    A completion of which nothing but x is known; the options are those of `lowland.complete`.

    Each answer has a weight. Where codes decode, the mass of each code, exp(−E) where it decodes
    to, goes to the answers by how well that code explains them,

    $$w_i \propto \sum_z e^{-E(x, \mathrm{Dec}(z), z)}
      \frac{e^{-E(x, \hat y_i, z)}}{\sum_j e^{-E(x, \hat y_j, z)}}$$

    so that codes that say the same add up: for a mixture, how likely each future is. Elsewhere the
    weights are those of the Gibbs densities at the answers, exp(−F).

    Args:
        energy: a conditional energy.
        x: `(items, ...)`.
        n: how many answers.
        starts: how many points to start from, or the points themselves.
        steps: the most evaluations that a descent may make.
        distinct: root mean square difference below which two answers are one, in scaled units.
        generator: the noise; torch's default generator if None.

    Returns:
        Prediction: y `(items, n, *event)`, energy and weight `(items, n)`, and the count.

    Raises:
        DomainError: x is empty, or an option is out of range.

    Example:
        >>> energy = ll.energies.LeastSquares(
        ...     torch.tensor([[2.0]]), torch.tensor([1.0]), event=(1,)
        ... )
        >>> predict(energy, torch.tensor([[3.0]]), n=1).y.squeeze()
        tensor(7.)
    """
    if not isinstance(x, Tensor) or x.dim() < 1 or len(x) == 0:
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise DomainError(
            f"'x' must be a tensor of at least one condition, (items, ...). Got {got}."
        )
    dtype = energy.dtype or torch.get_default_dtype()
    unknown = torch.zeros(len(x), *energy.event, dtype=dtype, device=x.device)
    nothing = torch.zeros(energy.event, dtype=torch.bool, device=x.device)
    found = complete(
        energy,
        unknown,
        observed=nothing,
        n=n,
        x=x,
        starts=starts,
        steps=steps,
        distinct=distinct,
        generator=generator,
    )
    return Prediction(found.y, found.energy, found.count, _weights(energy, x, found))


def _weights(energy: Energy, x: Tensor, found: Completion) -> Tensor:
    """How likely each answer is beside the others, `(items, n)`."""
    there = torch.isfinite(found.energy)
    if not isinstance(energy.latent, OneHot) or not isinstance(energy, Decodes):
        return (-found.energy).softmax(1)
    items, n = there.shape
    blanks = there.reshape(items, n, *[1] * len(energy.event))
    answers = torch.where(blanks, found.y, torch.zeros_like(found.y))
    # The answers of an item as a batch axis, so that its x is looked at once.
    wide = x.unsqueeze(1).expand(items, n, *x.shape[1:])
    with asked(energy, answers, wide) as a, asked(energy, answers[:, 0], x) as b:
        explained = table_of_codes(a.energy, a.y, a.x).reshape(items, n, -1)
        explained = torch.where(there.unsqueeze(2), explained, torch.inf)
        mass = (-charges(b.energy, energy.latent, x if b.x is None else b.x)).softmax(1)
        return torch.einsum("ik,ink->in", mass, (-explained).softmax(1))
