"""Plain networks that the energies build for data, and applying any network to any batch shape."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError

_SMOOTH: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


def perceptron(
    sizes: Sequence[int],
    generator: torch.Generator | None,
    *,
    activation: type[nn.Module] = nn.SiLU,
) -> list[nn.Module]:
    """Linear layers of the given sizes with smooth activations between them.

    The weights are drawn from `generator`: uniform within 1 / sqrt(inputs), as torch's own start.

    Raises:
        DomainError: a size is not a positive whole number.
    """
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise DomainError(f"Layer sizes must be positive whole numbers. Got {list(sizes)}.")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs, device="meta")
        layers += [draw_weights(linear, inputs, generator), activation()]
    return layers[:-1]


def draw_weights(layer: nn.Module, inputs: int, generator: torch.Generator | None) -> nn.Module:
    """The layer, made on the meta device, with weights uniform within 1 / sqrt(inputs)."""
    layer = layer.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in layer.parameters():
            uniform = torch.rand(parameter.shape, generator=generator)
            parameter.copy_((2 * uniform - 1) / inputs**0.5)
    return layer


def smooth(activation: str) -> type[nn.Module]:
    """The class of a smooth activation by its name.

    Raises:
        DomainError: the name is not known.
    """
    if activation not in _SMOOTH:
        raise DomainError(f"'activation' must be one of {tuple(_SMOOTH)}. Got {activation!r}.")
    return _SMOOTH[activation]


def apply_network(net: nn.Module, y: Tensor, event: tuple[int, ...]) -> Tensor:
    """`net` on `(*batch, *event)`, though networks know one batch axis: `(*batch, ...)`."""
    batch = y.shape[: y.dim() - len(event)]
    if len(batch) == 1:
        out: Tensor = net(y)
        return out
    out = net(y.reshape(-1, *event))
    return out.reshape(*batch, *out.shape[1:])


def entering_last_linear(net: nn.Module, inputs: Tensor, owner: str) -> Tensor:
    """What enters the last linear layer of `net` for these inputs.

    Raises:
        CapabilityError: the network has no linear layer.
    """
    return _entering(_linear_layers(net, owner)[-1], net, inputs)


def entering_narrowest_linear(net: nn.Module, inputs: Tensor, owner: str) -> Tensor:
    """The code of an autoencoder: what enters the linear layer with the fewest inputs.

    The last of several; never the first layer, whose inputs are the data.

    Raises:
        CapabilityError: the network has no linear layer.
    """
    linear = _linear_layers(net, owner)
    within = linear[1:] or linear
    fewest = min(layer.in_features for layer in within)
    return _entering([x for x in within if x.in_features == fewest][-1], net, inputs)


def _linear_layers(net: nn.Module, owner: str) -> list[nn.Linear]:
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise CapabilityError(
            f"Features of a {owner} are what enters one of its torch.nn.Linear, and this one has "
            f"none. Add a linear head, or write encode(y) in a subclass."
        )
    return linear


def _entering(layer: nn.Linear, net: nn.Module, inputs: Tensor) -> Tensor:
    entered: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    try:
        net(inputs)
    finally:
        hook.remove()
    return entered[-1]
