"""From x to several y."""

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.ask.complete import Completion, complete
from lowland.energy import Energy


def predict(
    energy: Energy,
    x: Tensor,
    *,
    n: int = 5,
    starts: int | Tensor | None = None,
    steps: int = 200,
    distinct: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Completion:
    r"""Find the y that go with x: the lowest separate minima of F(x, ·).

    $$\hat y \in \arg\operatorname{loc\,min}_y F_\infty(x, y)$$

    A completion of which nothing but x is known; the options are those of `lowland.complete`.

    Args:
        energy: a conditional energy.
        x: `(items, ...)`.
        n: how many answers.
        starts: how many points to start from, or the points themselves.
        steps: the most evaluations that a descent may make.
        distinct: root mean square difference below which two answers are one, in scaled units.
        generator: the noise; torch's default generator if None.

    Returns:
        Completion: y `(items, n, *event)`, energy `(items, n)` and the count of answers.

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
    return complete(
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
