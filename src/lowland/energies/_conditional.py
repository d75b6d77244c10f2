"""The mean of what is hidden given what is observed, for Gaussians."""

import torch
from torch import Tensor

from lowland._shapes import chunks


def conditional_means(away: Tensor, observed: Tensor, z: Tensor, whitening: Tensor) -> Tensor:
    r"""How far the hidden part lies from its mean, given how far the observed part does.

    $$\delta_h = -\Lambda_{hh}^{-1} \Lambda_{ho} \, \delta_o, \qquad \Lambda = W^\top W$$

    Items of one component that hide the same elements share one factorisation.

    Args:
        away: δ, 0 where hidden, `(n, d)`.
        observed: bool, `(n, d)`.
        z: which Gaussian, `(n,)` int64.
        whitening: W, `(k, d, d)`.

    Returns:
        δ with its hidden part filled in, `(n, d)`.

    Example:
        >>> correlated = torch.linalg.inv(torch.linalg.cholesky(torch.tensor([[2.0, 1], [1, 2]])))
        >>> away, seen = torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]])
        >>> conditional_means(away, seen, torch.tensor([0]), correlated.unsqueeze(0))
        tensor([[1.0000, 0.5000]])
    """
    n, d = away.shape
    precision = whitening.mT @ whitening
    masks, kind = observed.unique(dim=0, return_inverse=True)
    pair = kind.reshape(-1) * len(whitening) + z
    order = pair.argsort(stable=True)
    filled = []
    for part in chunks(n, 4 * d * d * away.element_size()):
        items = order[part]
        distinct, which = pair[items].unique_consecutive(return_inverse=True)
        hidden = ~masks[distinct // len(whitening)]
        matrices = precision[distinct % len(whitening)]
        among = hidden.unsqueeze(2) & hidden.unsqueeze(1)
        # Identity rows for what is observed leave one system of the same size for every mask.
        block = torch.where(among, matrices, torch.diag_embed((~hidden).to(matrices)))
        pull = torch.where(hidden.unsqueeze(2), matrices, torch.zeros_like(matrices))
        target = (pull[which] @ away[items].unsqueeze(-1)).neg()
        factor = torch.linalg.cholesky(block)
        moved = torch.cholesky_solve(target, factor[which]).squeeze(-1)
        filled.append(torch.where(hidden[which], moved, away[items]))
    return torch.cat(filled)[order.argsort()]
