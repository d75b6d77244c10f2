"""The measures that several parts of the demonstration share."""

import torch
from torch import Tensor


def psnr(answer: Tensor, truth: Tensor) -> float:
    """Mean peak signal-to-noise ratio in decibels, for images of range 1, `(n, *event)`."""
    error = (answer - truth).flatten(1).square().mean(1)
    return float((-10 * error.log10()).mean())


def rmse(answer: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Root mean square error of each item over the elements `where`, `(*batch,)`."""
    error = (answer - truth)[..., where].square().mean(-1)
    return error.sqrt()


def distance_to_nearest(y: Tensor, known: Tensor) -> Tensor:
    """Euclidean distance of each item to the nearest known one, `(n,)`."""
    return torch.cdist(y.flatten(1), known.flatten(1)).amin(1)


def auroc(normal: Tensor, strange: Tensor) -> float:
    """How often a strange item scores higher than a normal one; ties count half."""
    from sklearn.metrics import roc_auc_score

    truth = [0] * len(normal) + [1] * len(strange)
    return float(roc_auc_score(truth, torch.cat([normal, strange]).double().numpy()))


def energy_distance(a: Tensor, b: Tensor) -> float:
    r"""Székely's two-sample energy distance between two sets of items.

    $$D^2 = 2 E\|A - B\| - E\|A - A'\| - E\|B - B'\|$$

    Means over all pairs, an item with itself included: never negative, and 0 for equal sets. Two
    sets of one law give a little more than 0, the less the larger they are, so that only sets of
    equal size compare.

    Reference:
        Energy statistics: A class of statistics based on distances (Székely and Rizzo, 2013),
        https://doi.org/10.1016/j.jspi.2013.03.018
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    within = torch.cdist(a, a).mean() + torch.cdist(b, b).mean()
    return float(2 * torch.cdist(a, b).mean() - within)
