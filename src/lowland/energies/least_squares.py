"""Linear least squares as a conditional energy: the blurry yardstick."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland.energy import Energy


class LeastSquares(Energy):
    r"""The squared distance from y to the one prediction that x gives.

    $$E(x, y) = \|y - (W x + b)\|^2$$

    Without a latent variable there is one answer to every x: where several y are possible, the best
    one in this sense is their mean, which may itself be impossible. Other energies are measured
    against it.

    Args:
        weight: W, `(outputs, inputs)`, with x flattened to inputs and y to outputs.
        bias: b, `(outputs,)`.
        event: the shape of one y.
        centre: `(inputs,)`, a point near the x of the data, about which sums are taken so that
            values far from zero keep their digits; zeros if None. The energy does not feel it.

    Raises:
        ShapeError: the shapes do not fit one another.
        CapabilityError: it is called without x.

    Example:
        >>> energy = LeastSquares(torch.tensor([[2.0]]), torch.tensor([1.0]), event=(1,))
        >>> ll.score(energy, torch.tensor([[7.0]]), x=torch.tensor([[2.0]]))
        tensor([4.])
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, event: Sequence[int], centre: Tensor | None = None
    ) -> None:
        super().__init__(event)
        size = math.prod(self.event)
        if weight.dim() != 2 or weight.shape[0] != size or tuple(bias.shape) != (size,):
            raise ShapeError(
                f"LeastSquares with event {self.event} needs a weight of shape ({size}, inputs) "
                f"and a bias of shape ({size},). Got {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}."
            )
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        if centre is None:
            centre = weight.new_zeros(weight.shape[1])
        if tuple(centre.shape) != (weight.shape[1],):
            raise ShapeError(
                f"The 'centre' of LeastSquares must have shape ({weight.shape[1]},), one number "
                f"for each input. Got {tuple(centre.shape)}."
            )
        self.register_buffer("centre", centre.detach().clone())

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start at W = 0 and b = 0, with the mean of x as the centre.

        Args:
            y: `(n, *event)`.
            x: `(n, ...)`, what y is predicted from.
            generator: not used; nothing is random here.

        Raises:
            CapabilityError: x is missing.
        """
        if x is None:
            raise CapabilityError(
                "LeastSquares predicts y from x, and the data have no x. Split them first, for "
                "example with lowland.pretext.Given(observed) (on the command line: --given left)."
            )
        event = tuple(y.shape[1:])
        inputs, outputs = x[0].numel(), math.prod(event)
        zeros = torch.zeros(outputs, inputs, dtype=y.dtype, device=y.device)
        centre = x.reshape(len(x), -1).double().mean(0).to(y.dtype)
        return cls(zeros, zeros.new_zeros(outputs), event, centre)

    def reconstruct(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The prediction W x + b, whatever y is, `(*batch, *event)`."""
        batch = y.shape[: y.dim() - len(self.event)]
        return (self._inputs(x, len(batch)) @ self.weight.T + self.bias).reshape(y.shape)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The squared error of the prediction, `(*batch,)`."""
        difference = y - self.reconstruct(y, x=x)
        return difference.flatten(-len(self.event)).square().sum(-1)

    def statistics(
        self, y: Tensor, z: Tensor | None, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Second moments of (x, 1) with itself and with y: the normal equations."""
        inputs = self._inputs(x, 1) - self.get_buffer("centre")
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1).double()
        return {"inputs": inputs.T @ inputs, "outputs": inputs.T @ y.flatten(1).double()}

    @torch.no_grad()
    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        """Solve the normal equations, with the smallest solution where they leave a choice."""
        gram = statistics["inputs"]
        # In units of each input's size, so that small inputs are not taken for constant ones.
        size = gram.diagonal().sqrt()
        size = torch.where(size > 0, size, torch.ones_like(size))
        inverse = torch.linalg.pinv(gram / torch.outer(size, size), hermitian=True, rtol=1e-13)
        solution = inverse @ (statistics["outputs"] / size.unsqueeze(1)) / size.unsqueeze(1)
        weight, bias = solution[:-1].T, solution[-1]
        self.weight.copy_(weight)
        self.bias.copy_(bias - weight @ self.get_buffer("centre").double())

    def _inputs(self, x: Tensor | None, batch_axes: int) -> Tensor:
        if x is None:
            raise CapabilityError("LeastSquares predicts y from x: give x.")
        if not x.is_floating_point():
            raise DomainError(f"'x' of LeastSquares must be floating point. Got {x.dtype}.")
        inputs = x.flatten(batch_axes) if x.dim() > batch_axes else x.unsqueeze(-1)
        if inputs.shape[-1] != self.weight.shape[1]:
            raise ShapeError(
                f"'x' must have {self.weight.shape[1]} elements an item. Got {inputs.shape[-1]}."
            )
        return inputs
