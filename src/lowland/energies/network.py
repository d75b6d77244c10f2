"""Any network with a scalar head as an energy."""

import math
from collections.abc import Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

from lowland._errors import ShapeError
from lowland.energies._jets import carried, carries
from lowland.energies._layers import apply_network, entering_last_linear, perceptron, smooth
from lowland.energy import Energy


class Network(Energy):
    r"""The scalar that a network returns.

    $$E(y) = \mathrm{net}(y)$$

    Smooth activations (SiLU, softplus, tanh) give a surface with a usable gradient; with ReLU its
    curvature is zero almost everywhere, which score matching cannot train.

    Args:
        net: any module, `(n, *event)` to `(n,)` or `(n, 1)`.
        event: the shape of one y.

    Raises:
        ShapeError: the network returns another shape (found at the first call).

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
        >>> Network(net, event=(2,))(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, net: nn.Module, event: Sequence[int]) -> None:
        super().__init__(event)
        self.net = net
        if carries(net):  # on the instance, for the class cannot know its net
            self.curve = self._curve

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        hidden: Sequence[int] = (256, 256),
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a perceptron with smooth activations that fits the data.

        Args:
            y: the data, `(n, *event)`.
            x: not used; the energy is unconditional.
            hidden: sizes of the hidden layers.
            activation: "silu", "softplus", "gelu" or "tanh".
            generator: the start of the weights.
        """
        event = tuple(y.shape[1:])
        sizes = [math.prod(event), *hidden, 1]
        layers = perceptron(sizes, generator, activation=smooth(activation))
        net = nn.Sequential(nn.Flatten(), *layers)
        return cls(net, event).to(dtype=y.dtype, device=y.device)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The network's scalar, `(*batch,)`."""
        batch = y.shape[: y.dim() - len(self.event)]
        value = apply_network(self.net, y, self.event)
        if value.shape[len(batch) :] not in ((), (1,)):
            raise ShapeError(
                f"The 'net' of Network must return one scalar per item, (n,) or (n, 1). Got "
                f"{tuple(value.shape)} for a batch of {tuple(batch)}."
            )
        return value.reshape(batch)

    def _curve(
        self, y: Tensor, directions: Tensor | None = None, *, x: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The slopes along directions `(m, n)`, and the sum of the curvatures along them `(n,)`."""
        flat = None if directions is None else directions.flatten(2)
        return carried(cast(nn.Sequential, self.net), y.flatten(1), flat)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """What enters the last linear layer, `(*batch, features)`.

        Raises:
            CapabilityError: the network has no linear layer.
        """
        batch = y.shape[: y.dim() - len(self.event)]
        features = entering_last_linear(self.net, y.reshape(-1, *self.event), "Network")
        return features.reshape(*batch, -1)
