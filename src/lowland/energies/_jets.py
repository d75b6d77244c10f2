"""First and second derivatives of a perceptron along directions, carried forward with its values.

The forward Laplacian (Li et al., 2024, https://doi.org/10.1038/s42256-024-00794-x): beside each
layer's values a go their derivatives along m directions, J, and the sum of the second derivatives
along them, L. A linear layer maps all three alike, and an activation φ makes of them

$$\\phi(a), \\qquad \\phi'(a) J_i, \\qquad \\phi'(a) L + \\phi''(a) \\sum_i J_i^2$$
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# φ and its first three derivatives at a.
Derivatives = tuple[Tensor, Tensor, Tensor, Tensor]


def _silu(a: Tensor) -> Derivatives:
    s = torch.sigmoid(a)
    slope, tilt = s * (1 - s), 1 - 2 * s
    third = slope * (3 * tilt + a * (tilt * tilt - 2 * slope))
    return a * s, s + a * slope, slope * (2 + a * tilt), third


def _softplus(a: Tensor) -> Derivatives:
    s = torch.sigmoid(a)
    slope, tilt = s * (1 - s), 1 - 2 * s
    return nn.functional.softplus(a), s, slope, slope * tilt


def _tanh(a: Tensor) -> Derivatives:
    t = torch.tanh(a)
    slope = 1 - t * t
    return t, slope, -2 * t * slope, slope * (6 * t * t - 2)


def _gelu(a: Tensor) -> Derivatives:
    density = torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(a)
    square = a * a
    return a * below, below + a * density, density * (2 - square), a * density * (square - 4)


def _derivatives_of(layer: nn.Module) -> Callable[[Tensor], Derivatives] | None:
    """The derivatives of an activation as it is set; None if they are not known."""
    kind = type(layer)
    if kind is nn.SiLU:
        return _silu
    if kind is nn.Tanh:
        return _tanh
    if isinstance(layer, nn.Softplus) and kind is nn.Softplus and layer.beta == 1:
        return _softplus
    if isinstance(layer, nn.GELU) and kind is nn.GELU and layer.approximate == "none":
        return _gelu
    return None


class _Activation(torch.autograd.Function):
    """What an activation makes of a `(n, k)`, J `(m, n, k)` and L `(n, k)`."""

    @staticmethod
    def forward(
        ctx: Any, derivatives: Callable[[Tensor], Derivatives], a: Tensor, j: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        value, f1, f2, f3 = derivatives(a)
        squares = j.square().sum(0)
        ctx.save_for_backward(f1, f2, f3, j, second, squares)
        return value, j * f1, torch.addcmul(second * f1, f2, squares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        of_value, of_j, of_second = upstream
        f1, f2, f3, j, second, squares = ctx.saved_tensors
        bent = of_second * f2
        to_a = torch.addcmul(of_value * f1, (of_j * j).sum(0), f2)
        to_a.addcmul_(bent, second).addcmul_(of_second * f3, squares)
        return None, to_a, torch.addcmul(of_j * f1, j, bent, value=2), of_second * f1


def carries(net: nn.Module) -> bool:
    """Whether the derivatives of a network are known: linear layers and smooth activations."""
    if type(net) is not nn.Sequential:
        return False
    layers = [layer for layer in net if type(layer) is not nn.Flatten]
    flat = all(type(layer) is not nn.Flatten for layer in list(net)[1:])
    if not (flat and layers and type(layers[0]) is nn.Linear):
        return False
    if not all(type(one) is nn.Linear or _derivatives_of(one) is not None for one in layers):
        return False
    head = layers[-1]
    return isinstance(head, nn.Linear) and head.out_features == 1


def carried(net: nn.Sequential, y: Tensor, directions: Tensor | None) -> tuple[Tensor, Tensor]:
    """The slopes of a network along directions, and the sum of its curvatures along them.

    Args:
        net: one that `carries`.
        y: `(n, d)`.
        directions: `(m, n, d)`, or None for the d axes.

    Returns:
        The slopes `(m, n)` and the sum of the second derivatives `(n,)`, both differentiable once.
    """
    layers = iter(layer for layer in net if type(layer) is not nn.Flatten)
    first = cast(nn.Linear, next(layers))
    a = nn.functional.linear(y, first.weight, first.bias)
    if directions is None:
        j = first.weight.T.unsqueeze(1).expand(-1, len(y), -1)
    else:
        j = nn.functional.linear(directions, first.weight)
    second = torch.zeros_like(a)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            both = torch.cat([a.unsqueeze(0), j, second.unsqueeze(0)]) @ layer.weight.T
            a, j, second = both[0], both[1:-1], both[-1]
            a = a if layer.bias is None else a + layer.bias
        else:
            a, j, second = _Activation.apply(_derivatives_of(layer), a, j, second)  # type: ignore[no-untyped-call]
    return j.squeeze(-1), second.squeeze(-1)
