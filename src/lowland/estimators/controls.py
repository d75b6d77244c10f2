"""The rows that every probe prints beside the features in question."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lowland.data import Dataset
from lowland.estimators.features import Encoder, features_of
from lowland.estimators.restart import restarted
from lowland.scaling import Scaled

# The share of the variance that the principal components keep: a usual choice.
EXPLAINED = 0.9


class Kind(NamedTuple):
    """Features of all items, and whether they are only there to compare with."""

    name: str
    train: Tensor
    test: Tensor
    control: bool


def named(encoder: Encoder) -> str:
    """How a table calls the features of an encoder that was given no name."""
    if isinstance(encoder, Scaled):
        return type(encoder.energy).__name__
    if isinstance(encoder, nn.Module):
        return type(encoder).__name__
    return str(getattr(encoder, "__name__", type(encoder).__name__))


def kinds(
    encoders: dict[str, Encoder],
    random: Encoder | None,
    train: Dataset,
    test: Dataset,
    generator: torch.Generator | None,
) -> tuple[list[Kind], list[str]]:
    """The features of each encoder, of the controls, and what the controls lack."""
    found = [
        Kind(name, features_of(encoder, train), features_of(encoder, test), False)
        for name, encoder in encoders.items()
    ]
    indices = 0 if train.y.is_floating_point() else 1 + int(max(train.y.max(), test.y.max()))
    raw = _raw(train, indices), _raw(test, indices)
    found += [Kind("raw input", *raw, True), Kind("PCA", *_principal(*raw), True)]
    remarks = []
    given = {} if random is None else {"random encoder": random}
    for name, encoder in (given or encoders).items():
        control = encoder
        if not given:
            if not isinstance(encoder, nn.Module):
                remarks.append(
                    f"No random encoder for {name}: a function has no weights to draw again. Give "
                    f"one by random=."
                )
                continue
            if not any(True for _ in encoder.parameters()):
                remarks.append(f"No random encoder for {name}: it has no parameters.")
                continue
            control, name = restarted(encoder, generator), f"random {name}"
        found.append(Kind(name, features_of(control, train), features_of(control, test), True))
    return found, remarks


def _raw(data: Dataset, classes: int) -> Tensor:
    """The items as they are; of class indices, such as tokens, how often each occurs."""
    rows = data.y.flatten(1).cpu()
    if rows.is_floating_point():
        return rows
    counts = torch.zeros(len(rows), classes)
    return counts.scatter_add_(1, rows, torch.ones(rows.shape))


def _principal(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """The principal components that explain nine tenths of the variance of the training items."""
    mean = train.double().mean(0)
    centred = train.double() - mean
    if centred.shape[1] <= len(centred):
        values, vectors = torch.linalg.eigh(centred.T @ centred)
    else:
        values, items = torch.linalg.eigh(centred @ centred.T)
        vectors = centred.T @ items / values.clamp(min=torch.finfo(values.dtype).tiny).sqrt()
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    share = values.cumsum(0) / values.sum()
    directions = vectors[:, : int((share < EXPLAINED).sum()) + 1]
    return centred @ directions, (test.double() - mean) @ directions
