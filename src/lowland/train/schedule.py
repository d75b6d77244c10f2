"""A learning rate that rises and falls over a run, as part of the optimizer."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from lowland._errors import DomainError

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def one_cycle(
    make: MakeOptimizer, steps: int, *, warmup: float = 0.1, final: float = 0.0
) -> MakeOptimizer:
    r"""Let the learning rate rise in a line, then fall along a cosine.

    $$\eta_t = \eta \cdot \begin{cases} t / wT & t \le wT \\
      f + (1 - f) \tfrac12 (1 + \cos \pi \frac{t - wT}{T - wT}) & \text{else} \end{cases}$$

    The number of steps made is kept with the optimizer's state, so that a run resumes exactly.

    Args:
        make: makes the optimizer, whose own learning rate is η, the highest.
        steps: T, how many steps the run will make; after them the rate stays at its lowest.
        warmup: w, the share of them in which the rate rises, in [0, 1).
        final: f, the last rate as a share of the highest, in [0, 1].

    Raises:
        DomainError: an option is out of range.

    Reference:
        Super-Convergence (Smith and Topin, 2018), https://arxiv.org/abs/1708.07120

    Example:
        >>> from functools import partial
        >>> maker = one_cycle(partial(torch.optim.AdamW, lr=2e-3), steps=1000)
        >>> maker([torch.nn.Parameter(torch.zeros(2))]).param_groups[0]["lr"]
        2e-05
    """
    if steps < 1 or not 0 <= warmup < 1 or not 0 <= final <= 1:
        raise DomainError(
            f"one_cycle needs steps of at least 1, warmup in [0, 1) and final in [0, 1]. Got "
            f"steps={steps!r}, warmup={warmup!r}, final={final!r}."
        )

    def share(made: int) -> float:
        rise = warmup * steps
        if made < rise:
            return made / rise
        fall = min(1.0, (made - rise) / max(1.0, steps - rise))
        return final + (1 - final) * (1 + math.cos(math.pi * fall)) / 2

    def advance(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        for group in optimizer.param_groups:
            group["made"] += 1
            group["lr"] = group["peak"] * share(group["made"])

    def scheduled(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = make(parameters)
        for group in optimizer.param_groups:
            group["peak"], group["made"] = group["lr"], 0
            group["lr"] = group["peak"] * share(1)
        optimizer.register_step_pre_hook(advance)
        return optimizer

    return scheduled
