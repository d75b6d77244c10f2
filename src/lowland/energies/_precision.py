"""Which precision trains a network faster on this machine: measured, not assumed."""

import time
from collections.abc import Callable

import torch
from torch import nn

PRECISIONS = ("float32", "bfloat16", "auto")
# The lower precision must be worth its rounding.
_GAIN = 1.15
_ROWS, _REPEATS = 1024, 5
_KNOWN: dict[tuple[str, int, int], str] = {}


def faster_precision(network: nn.Module) -> str:
    """Whichever of "float32" and "bfloat16" multiplies matrices of this network's size faster.

    A product and the two of its way back are timed a few times, and the least times compared. What
    was found is kept for the life of the process.
    """
    layer = max(
        (part for part in network.modules() if isinstance(part, nn.Linear)),
        key=lambda part: part.weight.numel(),
    )
    device = layer.weight.device
    key = (device.type, layer.in_features, layer.out_features)
    if key not in _KNOWN:
        times = {
            kind: _least(_products(layer, device, kind)) for kind in (torch.float32, torch.bfloat16)
        }
        gain = times[torch.float32] / times[torch.bfloat16]
        _KNOWN[key] = "bfloat16" if gain > _GAIN else "float32"
    return _KNOWN[key]


def _products(layer: nn.Linear, device: torch.device, kind: torch.dtype) -> Callable[[], None]:
    """Both conversions and the three products of one training step of a layer."""
    inputs = torch.zeros(_ROWS, layer.in_features, device=device)
    slopes = torch.zeros(_ROWS, layer.out_features, device=device)
    weight = torch.zeros(layer.out_features, layer.in_features, device=device)

    def once() -> None:
        x, g, w = inputs.to(kind), slopes.to(kind), weight.to(kind)
        for product in (x @ w.T, g @ w, g.T @ x):
            product.to(torch.float32)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return once


def _least(run: Callable[[], None]) -> float:
    run()
    least = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least
