"""A contrastive loss of two halves, where chains begin at the data that the first one looks at.

The energy of the data, its slope in y and that in the parameters take one way through the network
and one back, which the chains and the loss then share.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lowland._modes import evaluating, parts_of
from lowland._offers import offers
from lowland.capabilities import ParameterSlopes, Recentres
from lowland.energy import Energy
from lowland.latent import NoLatent
from lowland.train.recorded import recorded

Gradients = dict[str, Tensor | None]


class Begun(NamedTuple):
    """The surface at the points that chains start from, as it is for chains.

    Attributes:
        energy: `(n,)`.
        slope: in y, `(n, *event)`.
    """

    energy: Tensor
    slope: Tensor


class Half(NamedTuple):
    """What one half of the loss is made of.

    Attributes:
        energy: the mean energy, a scalar without a graph.
        gradients: those of the sum of the energies in the parameters, by name.
        begun: for chains from there, if it was asked for, is at hand, and is finite.
    """

    energy: Tensor
    gradients: Gradients
    begun: Begun | None


def separable(energy: Energy) -> bool:
    """Whether the loss can be made of halves, the first of which chains can begin with.

    Not where slopes have a closed form, where the energy is moved to the data before the loss, or
    where energies depend on the other items of the batch.
    """
    if not isinstance(energy.latent, NoLatent) or getattr(energy, "slope", None) is not None:
        return False
    if offers(energy, ParameterSlopes) or offers(energy, Recentres):
        return False
    return not any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
        for part in parts_of(energy)
    )


def half(energy: Energy, y: Tensor, x: Tensor | None, *, begins: bool = False) -> Half:
    """The energies of points `(n, *event)` and their slopes in the parameters.

    Args:
        energy: what is trained, in whichever mode it is.
        y: the points.
        x: the conditions, or None.
        begins: whether chains are to begin there. They see the energy in evaluation mode; where
            that is the same function, a recording finds what they need on its way.
    """

    def both(y: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """The sum in the mode of the moment, and what chains begin with."""
        x = given[0] if given else None
        total = energy(y, x=x).sum()
        if not begins:
            return (total,)
        with evaluating(energy):
            start = y.detach().requires_grad_()
            seen = energy(start, x=x)
            whole = seen.sum()
            (slope,) = torch.autograd.grad(whole, start)
        return total, whole, seen, slope

    inputs = (y,) if x is None else (y, x)
    found = recorded(energy, ("half", begins), both, *inputs)
    if found is None:
        total = energy(y, x=x).sum()
        trained = {name: part for name, part in energy.named_parameters() if part.requires_grad}
        slopes = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        return Half(total.detach() / len(y), dict(zip(trained, slopes, strict=True)), None)
    total, *rest = found.values
    # Where one is not finite, it is for the chains to say which.
    begun = Begun(*rest[1:]) if begins and math.isfinite(float(rest[0])) else None
    return Half(total / len(y), found.gradients, begun)


def difference(down: Half, up: Half, n: int) -> Gradients:
    """The slopes in the parameters of the mean of n energies less that of n others."""
    return {name: _less(slope, up.gradients[name], n) for name, slope in down.gradients.items()}


def _less(down: Tensor | None, up: Tensor | None, n: int) -> Tensor | None:
    # Nothing is written over: an automatic derivative may be one tensor for several parameters.
    if down is None:
        return None if up is None else up / -n
    return down / n if up is None else (down - up).div_(n)
