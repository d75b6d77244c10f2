"""Minimise a function for a whole batch at once, each item with a step of its own."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._errors import DivergedError

# Constants of the line search, as in the paper below: how many past values a step may climb back
# to, the fraction of the promised decrease it must keep, and the shrinkage of a refused step.
MEMORY = 10
SUFFICIENT = 1e-4
SHRINK = 0.25
STEP_RANGE = (1e-12, 1e12)
# An item whose lowest value has not fallen for so many evaluations has come down to rounding.
PATIENCE = 3 * MEMORY
# The share of a batch that must still move for it to be carried along whole.
CROWDED = 0.75

Function = Callable[[Tensor], Tensor]


class Descent(NamedTuple):
    """Where each item of a batch ended.

    Attributes:
        y: the best points seen, `(n, *event)`.
        value: their values, `(n,)`.
        gradient_norm: the largest entry of the projected gradient there, `(n,)`.
        converged: whether that is within the tolerance, `(n,)` bool.
        steps: how many evaluations were made.
        taken: after how many of them each item stood still, `(n,)` int64.
    """

    y: Tensor
    value: Tensor
    gradient_norm: Tensor
    converged: Tensor
    steps: int
    taken: Tensor


def minimize(
    function: Function,
    start: Tensor,
    *,
    project: Function | None = None,
    steps: int = 200,
    tolerance: float = 1e-5,
) -> Descent:
    r"""Spectral projected gradient descent, in lock step over the batch.

    $$y \leftarrow P(y - \alpha \nabla f(y)), \qquad
      \alpha = \frac{\langle s, s \rangle}{\langle s, \Delta g \rangle}$$

    One evaluation of the function and its gradient a step; items do not influence one another, as
    they would in `torch.optim.LBFGS`.

    Args:
        function: maps `(n, *event)` to `(n,)`, differentiable, items independent.
        start: `(n, *event)`.
        project: maps points to the nearest allowed ones; None allows all.
        steps: the most evaluations to make.
        tolerance: largest entry of the projected gradient that counts as zero; one below the
            rounding of the values is taken as that rounding.

    Returns:
        Descent: the best point that each item saw.

    Raises:
        DivergedError: the function or its gradient is not finite at the start.

    Reference:
        Nonmonotone Spectral Projected Gradient Methods on Convex Sets (Birgin, Martínez and
        Raydan, 2000), https://doi.org/10.1137/S1052623497330963

    Example:
        >>> found = minimize(lambda y: (y - 3).square().sum(-1), torch.zeros(2, 1))
        >>> found.y
        tensor([[3.],
                [3.]])
    """

    def proximal(y: Tensor, step: Tensor) -> Tensor:
        return y if project is None else project(y)

    return descend(
        lambda rows: function,
        start,
        proximal=proximal,
        steps=steps,
        tolerance=tolerance,
        whole=True,
    )


def descend(
    within: Callable[[Tensor], Function],
    start: Tensor,
    *,
    proximal: Callable[[Tensor, Tensor], Tensor],
    kinks: Function | None = None,
    steps: int,
    tolerance: float,
    whole: bool = False,
) -> Descent:
    r"""Spectral proximal gradient descent on f + h, f smooth and h with kinks.

    $$y \leftarrow \mathrm{prox}_{\alpha h}(y - \alpha \nabla f(y))$$

    Items that have converged leave the batch, so that a few slow ones do not cost the whole of it.

    Args:
        within: gives f for the items `rows` of the batch, `(r, *event)` to `(r,)`.
        start: `(n, *event)`.
        proximal: maps points and a step `(r,)` to the minimum of h + ‖· − y‖² / (2 step).
        kinks: h, `(r, *event)` to `(r,)`; None if the proximal map is a projection.
        steps: the most evaluations an item may take.
        tolerance: largest entry of prox(y − ∇f) − y that counts as zero.
        whole: keep the batch whole, for an f that knows no rows.

    Returns:
        Descent: the best point that each item saw.

    Raises:
        DivergedError: f or its gradient is not finite at the start.

    Reference:
        Sparse Reconstruction by Separable Approximation (Wright, Nowak and Figueiredo, 2009),
        https://doi.org/10.1109/TSP.2009.2016892

    Example:
        >>> target = torch.tensor([[3.0], [-4.0]])
        >>> found = descend(
        ...     lambda rows: lambda z: (z - target[rows]).square().sum(-1) / 2,
        ...     torch.zeros(2, 1),
        ...     proximal=ll.Sparse(1, penalty=1.0).proximal,
        ...     kinks=ll.Sparse(1, penalty=1.0).kinks,
        ...     steps=100,
        ...     tolerance=1e-6,
        ... )
        >>> found.y.flatten().tolist()
        [2.0, -3.0]
    """
    problem = _Problem(proximal, kinks)
    walk = _begin(problem, within(torch.arange(len(start), device=start.device)), start)
    ended = (
        walk.best_y.clone(),
        walk.best_value.clone(),
        walk.best_residual.clone(),
        walk.taken.clone(),
    )
    function = within(walk.rows)
    made = 1
    while made < steps:
        moving = ~_done(walk, tolerance)
        count = int(moving.sum())
        if count == 0:
            break
        if not whole and count <= CROWDED * len(moving):
            _keep(ended, walk)
            walk = _Walk(*[part[moving] for part in walk])
            function = within(walk.rows)
            moving = moving[moving]
        made += 1
        walk = _advance(problem, function, walk, moving, made)
    _keep(ended, walk)
    y, value, residual, taken = ended
    return Descent(y, value, residual, residual <= _limit(value, tolerance), made, taken)


class _Problem(NamedTuple):
    """What is known of h."""

    proximal: Callable[[Tensor, Tensor], Tensor]
    kinks: Function | None

    def penalty(self, y: Tensor, value: Tensor) -> Tensor:
        return torch.zeros_like(value) if self.kinks is None else self.kinks(y)

    def residual(self, y: Tensor, gradient: Tensor) -> Tensor:
        one = torch.ones(len(y), dtype=y.dtype, device=y.device)
        return _largest(self.proximal(y - gradient, one) - y)


class _Walk(NamedTuple):
    """The items on their way, each tensor with an entry for each."""

    rows: Tensor
    y: Tensor
    value: Tensor
    penalty: Tensor
    gradient: Tensor
    step: Tensor
    recent: Tensor
    best_y: Tensor
    best_value: Tensor
    best_residual: Tensor
    idle: Tensor
    taken: Tensor


def _begin(problem: _Problem, function: Function, start: Tensor) -> _Walk:
    n = len(start)
    still = torch.zeros(n, dtype=start.dtype, device=start.device)
    y = problem.proximal(start.detach().clone(), still)
    smooth, gradient = value_and_gradient(function, y)
    penalty = problem.penalty(y, smooth)
    value = smooth + penalty
    if not bool(torch.isfinite(value).all() & torch.isfinite(gradient).all()):
        bad = int(torch.nonzero(~torch.isfinite(value + _sum(gradient)))[0])
        raise DivergedError(
            f"The search cannot start: the energy or its gradient is not finite at start {bad} of "
            f"{n} (energy {value[bad].item()}). Give other starts or look at the energy."
        )
    step = 1 / _largest(gradient).clamp(min=1e-6)
    idle = torch.zeros(n, dtype=torch.int64, device=y.device)
    return _Walk(
        rows=torch.arange(n, device=y.device),
        y=y,
        value=value,
        penalty=penalty,
        gradient=gradient,
        step=step,
        recent=value.unsqueeze(1).repeat(1, MEMORY),
        best_y=y,
        best_value=value,
        best_residual=problem.residual(y, gradient),
        idle=idle,
        taken=torch.ones_like(idle),
    )


def _advance(
    problem: _Problem, function: Function, walk: _Walk, moving: Tensor, made: int
) -> _Walk:
    """Try one step of every item; those that do not move stay to the bit."""
    trial = problem.proximal(walk.y - _like(walk.step, walk.y) * walk.gradient, walk.step)
    smooth, gradient = value_and_gradient(function, trial)
    penalty = problem.penalty(trial, smooth)
    value = smooth + penalty
    moved = trial - walk.y
    promised = _sum(walk.gradient * moved) + penalty - walk.penalty
    rounding = 4 * torch.finfo(value.dtype).eps * walk.value.abs()
    finite = torch.isfinite(value) & torch.isfinite(_sum(gradient))
    accept = moving & finite & (value <= walk.recent.amax(1) + SUFFICIENT * promised + rounding)
    curvature = _sum(moved * (gradient - walk.gradient))
    spectral = torch.where(curvature > 0, _sum(moved * moved) / curvature, walk.step * 2)
    step = torch.where(accept, spectral, walk.step * SHRINK).clamp(*STEP_RANGE)
    y = torch.where(_like(accept, trial), trial, walk.y)
    value = torch.where(accept, value, walk.value)
    gradient = torch.where(_like(accept, trial), gradient, walk.gradient)
    recent = walk.recent.clone()
    recent[:, made % MEMORY] = value
    residual = problem.residual(y, gradient)
    # Where values differ by rounding alone, the smaller gradient tells which point is lower.
    level = (value <= walk.best_value + rounding) & (residual < walk.best_residual)
    better = accept & ((value < walk.best_value) | level)
    fell = accept & (value < walk.best_value - rounding / 4)
    return _Walk(
        rows=walk.rows,
        y=y,
        value=value,
        penalty=torch.where(accept, penalty, walk.penalty),
        gradient=gradient,
        step=torch.where(moving, step, walk.step),
        recent=recent,
        best_y=torch.where(_like(better, y), y, walk.best_y),
        best_value=torch.where(better, value, walk.best_value),
        best_residual=torch.where(better, residual, walk.best_residual),
        idle=torch.where(fell | ~moving, torch.zeros_like(walk.idle), walk.idle + 1)
        + torch.where(moving, 0, walk.idle),
        taken=torch.where(moving, made, walk.taken),
    )


def _done(walk: _Walk, tolerance: float) -> Tensor:
    close = walk.best_residual <= _limit(walk.best_value, tolerance)
    return close | (walk.idle >= PATIENCE)


def _limit(value: Tensor, tolerance: float) -> Tensor:
    return (8 * torch.finfo(value.dtype).eps * (1 + value.abs())).clamp(min=tolerance)


def _keep(ended: tuple[Tensor, Tensor, Tensor, Tensor], walk: _Walk) -> None:
    now = walk.best_y, walk.best_value, walk.best_residual, walk.taken
    for whole, part in zip(ended, now, strict=True):
        whole[walk.rows] = part


def value_and_gradient(function: Function, y: Tensor) -> tuple[Tensor, Tensor]:
    """f(y) and its gradient, item by item, detached: `(n,)` and `(n, *event)`."""
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        value = function(y)
        if not value.requires_grad:
            return value, torch.zeros_like(y)
        (gradient,) = torch.autograd.grad(value.sum(), y, allow_unused=True)
    return value.detach(), torch.zeros_like(y) if gradient is None else gradient


def _sum(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)


def _largest(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).abs().amax(1)


def _like(per_item: Tensor, y: Tensor) -> Tensor:
    return per_item.reshape(-1, *[1] * (y.dim() - 1))
