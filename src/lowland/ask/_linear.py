"""The hidden part where the decoder is a matrix: one convex problem on the observed rows."""

import torch
from torch import Tensor

from lowland.capabilities import DecodesLinearly, LinearDecoder
from lowland.energy import Energy
from lowland.infer import solve_decoder
from lowland.latent import Normal, Sparse, Vector


def is_linear(energy: Energy) -> bool:
    """Whether the best hidden part follows from the best z for the observed rows alone."""
    return isinstance(energy, DecodesLinearly) and isinstance(
        energy.latent, Normal | Sparse | Vector
    )


def complete_linear(energy: DecodesLinearly, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    r"""The lowest answer of each item `(n, *event)`, and the z that gives it.

    $$\min_{y_2, z} \tfrac{p}{2} \|y_1 - W_1 z - b_1\|^2
      + \tfrac{p}{2} \|y_2 - W_2 z - b_2\|^2 + R(z)$$

    The second term is zero at y2 = W2 z + b2 whatever z is, so z answers to the observed rows.
    """
    if not isinstance(energy, Energy):
        raise TypeError(f"{type(energy).__name__} is not an energy.")
    decoder = energy.linear_decoder()
    flat, shown = y.flatten(1), mask.flatten(1)
    answer = flat.clone()
    codes = flat.new_zeros(len(flat), decoder.weight.shape[1])
    masks, group = torch.unique(shown, dim=0, return_inverse=True)
    for i, seen in enumerate(masks):
        rows = torch.nonzero(group == i).flatten()
        if bool(seen.any()):
            part = LinearDecoder(decoder.weight[seen], decoder.offset[seen], decoder.precision)
            codes[rows] = solve_decoder(energy.latent, part, flat[rows][:, seen])
        hidden = ~seen
        said = codes[rows] @ decoder.weight[hidden].T + decoder.offset[hidden]
        answer[rows.unsqueeze(1), torch.nonzero(hidden).flatten()] = said
    return answer.reshape(y.shape), codes
