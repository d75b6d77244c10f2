"""The same architecture with weights that have learned nothing: the control of every probe."""

from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import nn

from lowland._errors import CapabilityError
from lowland._modes import seeded
from lowland._random import integers, permutation

Module = TypeVar("Module", bound=nn.Module)


def restarted(module: Module, generator: torch.Generator | None = None) -> Module:
    """A copy of a network or an energy whose weights have learned nothing.

    Layers that know how to begin do so again (`reset_parameters`, as all of torch's have).
    Parameters that belong to no such layer, such as the prototypes of K-means, have their elements
    put in random order, which destroys what they hold and keeps how large they are. Buffers that no
    layer resets, such as the units of the data, stay.

    Args:
        module: what to copy; it is not changed.
        generator: the source of the new weights; torch's default generator if None.

    Raises:
        CapabilityError: it has no parameters, or it cannot be copied.

    Example:
        >>> net = torch.nn.Linear(3, 2)
        >>> again = restarted(net, torch.Generator().manual_seed(1))
        >>> again.weight.shape, torch.equal(again.weight, net.weight)
        (torch.Size([2, 3]), False)
    """
    if not any(True for _ in module.parameters()):
        raise CapabilityError(
            f"{type(module).__name__} has no parameters, so that there is nothing to draw again."
        )
    try:
        copy = deepcopy(module)
    except (RuntimeError, TypeError) as error:  # a tensor that is part of a graph, or a handle
        raise CapabilityError(
            f"{type(module).__name__} cannot be copied ({error}). Give the control yourself: "
            f"random=, the same architecture with fresh weights."
        ) from error
    first = next(copy.parameters())
    seed = int(integers(2**62, (), generator, like=first))
    with seeded(seed, copy):
        for part in copy.modules():
            _begin_again(part, generator)
    return copy


@torch.no_grad()
def _begin_again(part: nn.Module, generator: torch.Generator | None) -> None:
    own = list(part.parameters(recurse=False))
    reset: Any = getattr(part, "reset_parameters", None)
    if callable(reset):
        # Layers that share a tensor both begin again, and the last one to do so has its way.
        reset()
        return
    for parameter in own:
        order = permutation(parameter.numel(), generator, like=parameter)
        parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
