"""How a module behaves for a while: without dropout, or with dropout that a seed decides."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def parts_of(module: nn.Module) -> list[nn.Module]:
    """What `module.modules()` gives, without the names that take most of its time."""
    found, seen = [module], {module}
    for part in found:
        for inner in part._modules.values():
            if inner is not None and inner not in seen:
                seen.add(inner)
                found.append(inner)
    return found


def named_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What `module.named_parameters()` gives, in a fraction of its time."""
    found: dict[nn.Parameter, str] = {}
    seen: set[nn.Module] = set()

    def look(part: nn.Module, prefix: str) -> None:
        if part in seen:
            return
        seen.add(part)
        for name, parameter in part._parameters.items():
            if parameter is not None:
                found.setdefault(parameter, prefix + name)
        for name, inner in part._modules.items():
            if inner is not None:
                look(inner, f"{prefix}{name}.")

    look(module, "")
    return [(name, parameter) for parameter, name in found.items()]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the former modes after: dropout must not blur an answer."""
    training = [part for part in parts_of(module) if part.training]
    if any(type(part).train is not nn.Module.train for part in training):
        module.eval()  # some part has something else to do then
    for part in training:
        object.__setattr__(part, "training", False)
    try:
        yield
    finally:
        for part in training:
            # A module's own way looks among its parameters first, for each part at every step.
            object.__setattr__(part, "training", True)


@contextmanager
def seeded(seed: int, module: nn.Module) -> Iterator[None]:
    """Layers that draw from torch's own generator draw from `seed` inside; it is put back after.

    Dropout takes no generator, so this is how one seed gives one result, and a resumed run the
    same.
    """
    parameters = (p for part in parts_of(module) for p in part._parameters.values())
    devices = {p.device.index for p in parameters if p is not None and p.device.type == "cuda"}
    sources = [torch.cuda.default_generators[index] for index in devices if index is not None]
    sources.append(torch.default_generator)
    before = [source.get_state() for source in sources]
    for source in sources:
        source.manual_seed(seed)
    try:
        yield
    finally:
        for source, state in zip(sources, before, strict=True):
            source.set_state(state)
