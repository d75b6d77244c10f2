"""How a module behaves for a while: without dropout, or with dropout that a seed decides."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the former modes after: dropout must not blur an answer."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def seeded(seed: int, module: nn.Module) -> Iterator[None]:
    """Layers that draw from torch's own generator draw from `seed` inside; it is put back after.

    Dropout takes no generator, so this is how one seed gives one result, and a resumed run the
    same.
    """
    devices = {p.device.index for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=[index for index in devices if index is not None]):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            if index is not None:
                torch.cuda.default_generators[index].manual_seed(seed)
        yield
