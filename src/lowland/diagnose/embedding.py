"""Do embeddings differ from datum to datum, and in how many directions?"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lowland._border import check_y
from lowland._embedding import Embeds, spread
from lowland._errors import DomainError
from lowland._modes import evaluating
from lowland._shapes import flatten_batch, require_finite
from lowland.capabilities import Encodes, refuse
from lowland.energy import Energy
from lowland.scaling import model_units

# Items that are embedded at a time.
_PART = 512


@dataclass(frozen=True, eq=False)
class Embedding:
    """How the embeddings of many data differ from one another.

    Attributes:
        dimension: how many numbers an embedding has.
        deviations: the standard deviation of each, `(d,)`.
        relative: the spread of the embeddings relative to their size: 0 if all are the same.
        effective_rank: how many directions carry what differs, between 1 and the dimension.
        collapsed: whether the spread or the rank is next to nothing.
        verdicts: what is wrong, a sentence each.
    """

    dimension: int
    deviations: Tensor = field(repr=False)
    relative: float
    effective_rank: float
    collapsed: bool
    verdicts: tuple[str, ...]


def embedding(energy: Energy, data: Tensor) -> Embedding:
    r"""Look for collapse: embeddings that say the same of all data, or differ in one way only.

    The effective rank is exp(−Σ p log p) of the eigenvalues of the embeddings' covariance, taken as
    shares p of their sum.

    Args:
        energy: one that compares embeddings, such as `JointEmbedding`; of another its features are
            looked at.
        data: `(n, *event)`, at least 10 items.

    Returns:
        Embedding: with `verdicts` in words.

    Raises:
        DomainError: there are too few data.
        CapabilityError: the energy neither embeds nor encodes.

    Reference:
        The Effective Rank: A Measure of Effective Dimensionality (Roy and Vetterli, 2007),
        https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf; Understanding
        Dimensional Collapse in Contrastive Self-supervised Learning (Jing et al., 2022),
        https://arxiv.org/abs/2110.09348

    Example:
        >>> energy = ll.energies.JointEmbedding(torch.nn.Identity(), event=(3,))
        >>> y = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> found = embedding(energy, y)
        >>> round(found.effective_rank), found.verdicts
        (3, ())
        >>> embedding(energy, y[:, :1].expand(500, 3)).collapsed
        True
    """
    batch = check_y(energy, data, "data")
    y = flatten_batch(data, batch)
    if len(y) < 10:
        raise DomainError(f"embedding needs at least 10 data to compare. Got {len(y)}.")
    inner, scaling, _ = model_units(energy)
    with evaluating(energy), torch.no_grad():
        parts = [_embedded(inner, scaling(part)) for part in y.split(_PART)]
    embedded = require_finite(torch.cat(parts), "An embedding").double()
    found = spread(embedded.mean(0), embedded.T @ embedded / len(embedded))
    return Embedding(
        found.dimension,
        embedded.std(0, correction=0),
        found.relative,
        found.effective_rank,
        found.collapse is not None,
        () if found.collapse is None else (found.collapse,),
    )


def _embedded(energy: Energy, y: Tensor) -> Tensor:
    if isinstance(energy, Embeds):
        return energy.embed(y)
    if isinstance(energy, Encodes):
        return energy.encode(y)
    raise refuse(
        energy,
        "lowland.diagnose.embedding",
        "an energy with embeddings or features",
        "Give one that compares embeddings, such as lowland.energies.JointEmbedding.",
    )
