"""Steps of plain gradient descent without what an optimizer does around them."""

import torch
from torch.optim import optimizer as module


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()`, to the bit.

    Gradient descent that remembers nothing adds to each parameter in one operation. To sort
    parameters by kind and to look for hooks takes longer, so that it is done only where it matters.
    """
    if not _plain(optimizer):
        optimizer.step()
        return
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])


def _plain(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is torch's own gradient descent, with a step that nobody has put another for."""
    if type(optimizer) is not torch.optim.SGD or "step" in vars(optimizer):
        return False
    hooks = (
        module._global_optimizer_pre_hooks,
        module._global_optimizer_post_hooks,
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
    )
    return not any(hooks) and all(
        type(group["lr"]) is float
        and not (group["momentum"] or group["weight_decay"])
        and not (group["maximize"] or group["fused"] or group["differentiable"])
        for group in optimizer.param_groups
    )
