"""Steps of two usual optimizers without what is done around them, which takes longer than they do.

An optimizer sorts its parameters by kind, looks for hooks and tells a profiler. What it computes is
left to torch; whatever is out of the ordinary is left to the optimizer as a whole.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as module
from torch.optim.adam import adam

_HOOKS_OF_ALL = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
_HOOKS_OF_ONE = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()`, to the bit."""
    groups = optimizer.param_groups
    if _unobserved(optimizer):
        if type(optimizer) is torch.optim.SGD and all(map(_plain_descent, groups)):
            with torch.no_grad():
                for group in groups:
                    for parameter, gradient in _moved(group).items():
                        parameter.add_(gradient, alpha=-group["lr"])
            return
        if type(optimizer) is torch.optim.Adam and all(map(_plain_adam, groups)):
            moved = [_moved(group) for group in groups]
            if all(parameter in optimizer.state for group in moved for parameter in group):
                with torch.no_grad():
                    for group, parts in zip(groups, moved, strict=True):
                        _adam(group, parts, [optimizer.state[parameter] for parameter in parts])
                return
    optimizer.step()


def _unobserved(optimizer: torch.optim.Optimizer) -> bool:
    """Whether nobody has put another step for the optimizer's, or hooks around it."""
    # Names of torch's own; a release without them steps as it will.
    hooks = [getattr(module, name, None) for name in _HOOKS_OF_ALL]
    hooks += [getattr(optimizer, name, None) for name in _HOOKS_OF_ONE]
    if any(held is None or len(held) for held in hooks):
        return False
    # Schedules put another step there, loss scalers their scale.
    own = vars(optimizer)
    return not any(k in own for k in ("step", "grad_scale", "found_inf"))


def _plain_descent(group: dict[str, Any]) -> bool:
    special = ("momentum", "weight_decay", "maximize", "fused", "differentiable")
    return type(group["lr"]) is float and not any(group[name] for name in special)


def _plain_adam(group: dict[str, Any]) -> bool:
    special = ("amsgrad", "maximize", "foreach", "capturable", "decoupled_weight_decay")
    usual = type(group["lr"]) is float and bool(group["fused"])
    return usual and not any(group[name] for name in special)


def _moved(group: dict[str, Any]) -> dict[Tensor, Tensor]:
    """The parameters that have a gradient, and it."""
    return {part: part.grad for part in group["params"] if part.grad is not None}


def _adam(
    group: dict[str, Any], moved: dict[Tensor, Tensor], states: list[dict[str, Tensor]]
) -> None:
    beta1, beta2 = group["betas"]
    adam(
        list(moved),
        list(moved.values()),
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
