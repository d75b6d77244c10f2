"""What the methods that keep a set of active atoms for each item share."""

from torch import Tensor
from torch.nn import functional

# One atom of each of so many groups may enter at a step, if its correlation is at least some
# fraction of the largest: many at once would mostly be near copies of one another.
GROUPS = 4


def explained(table: Tensor, atoms: Tensor, z: Tensor) -> Tensor:
    """What the codes of some items explain, `(b, d)`.

    Args:
        table: all atoms, `(k + 1, d)`, the last one zero.
        atoms: those of each item, `(b, s)`; k where a place is empty.
        z: their coefficients, `(b, s)`.
    """
    if atoms.shape[1] == 0:
        return table[-1].expand(len(atoms), -1)
    summed: Tensor = functional.embedding_bag(atoms, table, per_sample_weights=z, mode="sum")
    return summed


def highest_of_groups(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """The largest entry of each group of atoms `(k, b)` and its index, both `(b, groups)`.

    Example:
        >>> highest_of_groups(torch.tensor([[1.0], [5.0], [2.0], [4.0], [3.0]]))
        (tensor([[5., 4., 3.]]), tensor([[1, 3, 4]]))
    """
    k, b = correlation.shape
    groups = min(GROUPS, k)
    if correlation.device.type != "cpu":
        best = correlation.T.topk(groups, 1)
        return best.values, best.indices
    # Pooling is vectorised on a CPU where a maximum with indices is not.
    height, index = functional.max_pool2d(
        correlation.view(1, k, 1, b).permute(0, 3, 1, 2),
        (-(-k // groups), 1),
        return_indices=True,
        ceil_mode=True,
    )
    return height.reshape(b, -1), index.reshape(b, -1)
