"""Several predictions in the space of a joint embedding, told apart by a latent variable."""

import copy
import math
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland._random import normal_like
from lowland.energies._layers import perceptron
from lowland.energies.joint_embedding import JointEmbedding
from lowland.energies.next_frame import APART, Heads
from lowland.energy import Energy
from lowland.latent import OneHot

# The noise at the start, as a share of the variance of the embedding.
_SHARE = 0.02


class JointFutures(Energy):
    r"""How far the embedding of y is from one of k predictions made from that of x.

    $$E(x, y, z) = \frac{\|\mathrm{Pred}_z(\mathrm{Emb}(x)) - \mathrm{Emb}(y)\|^2}{2 \sigma^2}
      - \log \pi_z(\mathrm{Emb}(x)), \qquad \sum_z \pi_z = 1$$

    Where x leaves several y possible, one prediction answers with the mean of their embeddings,
    which is that of none of them. Here z says which it is: the predictor has a head for each code,
    and a mass π, its share. It is a joint-embedding predictive architecture (JEPA) with a latent,
    as `NextFrame` is a decoder with one; `FreeEnergyDescent` trains it, on pairs (x, y) such as the
    past and the future.

    The embedding stays as it is, and has been trained before, by `VarianceCovariance`, say. Trained
    along with the predictor it may drop the very thing that z tells, which makes y easier to
    predict, too.

    Args:
        embedding: of both views; it is copied, and its weights are not trained.
        predictor: any module, `(n, d)` to `(n, k · (d + 1))`: of each code d numbers of its
            prediction, and one that its mass is the softmax of.
        k: how many predictions.
        noise: σ, positive, in units of the embedding: how alike two embeddings must be to count as
            one future; it is not trained.

    Raises:
        DomainError: k is not a positive whole number, or the noise not positive.
        ShapeError: the predictor returns another shape (found at the first call), or x is not
            shaped like y.

    Reference:
        A Path Towards Autonomous Machine Intelligence (LeCun, 2022), section 4.4,
        https://openreview.net/forum?id=BZ5a1r-kVsf; Mixture Density Networks (Bishop, 1994),
        https://publications.aston.ac.uk/id/eprint/373/

    Example:
        >>> heads = torch.nn.Linear(1, 4)  # two predictions of one number, each with its mass
        >>> _ = torch.nn.init.zeros_(heads.weight)
        >>> heads.bias.data = torch.tensor([3.0, 0.0, -3.0, 0.0])
        >>> plain = ll.energies.JointEmbedding(torch.nn.Identity(), event=(1,))
        >>> energy = JointFutures(plain, heads, k=2)
        >>> found = ll.infer(energy, torch.tensor([[-2.0]]), x=torch.zeros(1, 1))
        >>> found.z, found.energy  # the second, 1 away, and log 2 for its mass
        (tensor([1]), tensor([1.1931]))
    """

    latent: OneHot

    def __init__(
        self, embedding: JointEmbedding, predictor: nn.Module, k: int = 2, noise: float = 1.0
    ) -> None:
        super().__init__(embedding.event, OneHot(k))
        if not (math.isfinite(noise) and noise > 0):
            raise DomainError(f"The 'noise' of JointFutures must be positive. Got {noise!r}.")
        self.embedding = copy.deepcopy(embedding).requires_grad_(requires_grad=False)
        self.predictor = predictor
        self.k = k
        self.noise = float(noise)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        embedding: JointEmbedding | None = None,
        k: int = 2,
        hidden: int = 128,
        noise: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a predictor that fits an embedding.

        Args:
            y: the data, `(n, *event)`.
            x: their other views, shaped like y.
            embedding: a trained one; None draws the weights of one, which then tells little.
            k: how many predictions.
            hidden: the size of the predictor's hidden layer.
            noise: σ; None takes a noise of which a fiftieth of the embedding's variance is 2 σ² to
                all dimensions together, so that two futures that differ as data do are told apart
                for certain, and slighter differences are not.
            generator: the start of the weights.

        Raises:
            DomainError: an option is out of range, or the embedding is the same for all data.
        """
        if embedding is None:
            embedding = JointEmbedding.from_data(y, generator=generator)
        with torch.no_grad():
            embedded = embedding.embed(y)
        if noise is None:
            noise = math.sqrt(_SHARE * float(embedded.double().var(0, correction=0).sum()) / 2)
            if noise == 0:
                raise DomainError("The 'embedding' is the same for all data: it has collapsed.")
        d = embedded.shape[1]
        heads = nn.Sequential(*perceptron([d, hidden, k * (d + 1)], generator))
        return cls(embedding, heads, k, noise).to(dtype=y.dtype, device=y.device)

    def futures(self, x: Tensor | None) -> Heads:
        """The embeddings that x `(*batch, *event)` lets expect, `(*batch, k, d)`, and log π.

        Raises:
            CapabilityError: x is None.
            ShapeError: x does not hold items, or the predictor returns another shape.
        """
        if x is None:
            raise CapabilityError("JointFutures predicts y from another view of it: give x.")
        if tuple(x.shape[x.dim() - len(self.event) :]) != self.event:
            raise ShapeError(
                f"'x' of JointFutures must be shaped like y, (*batch, *{self.event}). Got "
                f"{tuple(x.shape)}."
            )
        batch = x.shape[: x.dim() - len(self.event)]
        seen = self.embedding.embed(x.reshape(-1, *self.event))
        out: Tensor = self.predictor(seen)
        expected = len(seen), self.k * (seen.shape[1] + 1)
        if tuple(out.shape) != expected:
            raise ShapeError(
                f"The 'predictor' of JointFutures must return (n, k · (d + 1)), here {expected}. "
                f"Got {tuple(out.shape)}."
            )
        heads = out.reshape(*batch, self.k, -1)
        return Heads(heads[..., :-1], heads[..., -1].log_softmax(-1))

    def tabulate(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """E(x, y, z) of every code from one pass, `(*batch, k)`."""
        heads = self.futures(x)
        embedded = self.embedding.embed(y.reshape(-1, *self.event))
        embedded = embedded.reshape(*y.shape[: y.dim() - len(self.event)], 1, -1)
        miss = (heads.y - embedded).square().sum(-1)
        return miss / (2 * self.noise**2) - heads.log_mass

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The miss of the prediction that z says, and the code's charge, `(*batch,)`."""
        table = self.tabulate(y, x=x)
        index = self.given(z).expand(table.shape[:-1]).unsqueeze(-1)
        return table.gather(-1, index).squeeze(-1)

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """What the embedding's encoder says of y; x is not looked at."""
        return self.embedding.encode(y)

    @torch.no_grad()
    def split_codes(
        self, used: Tensor, unused: Tensor, *, generator: torch.Generator | None
    ) -> None:
        """Start unused codes again beside used ones, half of whose mass they take.

        Raises:
            CapabilityError: the predictor does not end in a linear layer.
        """
        *_, head = self.predictor.modules()
        if not isinstance(head, nn.Linear):
            raise CapabilityError(
                f"Codes of JointFutures start again in the last layer of its predictor, which must "
                f"be linear. It is {type(head).__name__}; give FreeEnergyDescent(least=0.0)."
            )
        for tensor in head.parameters():
            rows = tensor.unflatten(0, (self.k, -1))
            copies = rows[used]
            rows[unused] = copies + APART * copies.square().mean().sqrt() * normal_like(
                copies, generator
            )
            rows[unused, -1] = rows[used, -1]  # the same mass at first
        if head.bias is not None:
            mass = head.bias.unflatten(0, (self.k, -1))[:, -1]
            mass[used] -= math.log(2)
            mass[unused] = mass[used]
