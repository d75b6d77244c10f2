"""How well a class can be told from features, beside features that learned nothing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lowland._errors import DomainError
from lowland.data import Dataset
from lowland.estimators.controls import Kind, kinds, named
from lowland.estimators.features import Encoder, features_of, units_of
from lowland.estimators.fine_tuning import FineTuning
from lowland.estimators.heads import Head, LinearProbe, NeighbourProbe
from lowland.estimators.restart import restarted
from lowland.estimators.table import ProbeRow, ProbeTable

BUDGETS = (1, 5, 10, 50)


def probe(
    encoder: Encoder | Mapping[str, Encoder],
    train: Dataset,
    test: Dataset,
    *,
    labels_per_class: int | None = None,
    repeats: int = 10,
    heads: Sequence[Head] = (LinearProbe(), NeighbourProbe()),
    random: Encoder | None = None,
    generator: torch.Generator | None = None,
) -> ProbeTable:
    """How well simple classifiers tell a class from features that saw no labels.

    Every table holds the rows without which its figures mean little: the same classifiers on the
    raw input, on its principal components, and on the same encoder with weights that have learned
    nothing. Encoders are asked in evaluation mode. The scale of the features is measured on all the
    training items, without labels; settings are chosen by cross-validation on the labelled ones.

    Args:
        encoder: an energy, a network or a function of items `(m, *event)`; or several by name.
        train: items with labels; those to learn from are drawn from them.
        test: other items with labels, which the encoder should not have been trained on.
        labels_per_class: how many labelled items of each class to learn from; all if None.
        repeats: how often to draw the labelled items; the draws are the same for all features.
        heads: the classifiers.
        random: the encoder of the control row; by default `restarted(encoder)`.
        generator: the draws, and the weights of the control.

    Returns:
        ProbeTable: a row for each kind of features and classifier; print it, or ask for `.best`.

    Raises:
        DomainError: labels are missing, a class has too few, or features do not vary at all, which
            is what a collapsed encoder's do.

    Reference:
        Understanding intermediate layers using linear classifier probes (Alain and Bengio, 2016),
        https://arxiv.org/abs/1610.01644

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> train, test = ll.data.digits().split(0.3, g)
        >>> energy = ll.energies.KMeans.from_data(train.y, k=64, generator=g)
        >>> table = probe(energy, train, test, labels_per_class=5, repeats=2, generator=g)
        >>> [row.features for row in table.select(head="linear").rows]
        ['KMeans', 'raw input', 'PCA', 'random KMeans']
        >>> table.select(features="KMeans").best.mean > 0.75
        True
    """
    return _measure(
        encoder, train, test, (labels_per_class,), repeats, heads, None, random, generator
    )


def label_efficiency(
    encoder: Encoder | Mapping[str, Encoder],
    train: Dataset,
    test: Dataset,
    *,
    labels_per_class: Sequence[int] = BUDGETS,
    repeats: int = 10,
    heads: Sequence[Head] = (LinearProbe(),),
    fine_tune: bool | FineTuning = False,
    random: Encoder | None = None,
    generator: torch.Generator | None = None,
) -> ProbeTable:
    """The accuracy over the number of labels: what a representation saves in labelling.

    The rows of `probe` for each number of labels. With `fine_tune`, two more for each encoder whose
    features can be differentiated: the encoder tuned by the labels from the weights it has
    ("fine-tuned"), and from weights that have learned nothing ("from scratch"), by one recipe.

    Args:
        encoder: as for `probe`.
        train: items with labels.
        test: other items with labels.
        labels_per_class: the numbers of labelled items of each class.
        repeats: how often to draw the labelled items.
        heads: the classifiers on fixed features.
        fine_tune: whether, or how, to tune encoders.
        random: the encoder of the control row.
        generator: the draws, the weights of the controls, the order of items in tuning.

    Returns:
        ProbeTable: print it, or draw `lowland.plot.label_efficiency(table.curves())`.

    Raises:
        DomainError: as for `probe`.
        CapabilityError: `fine_tune` is asked for and an encoder cannot be tuned.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> train, test = ll.data.digits().split(0.3, g)
        >>> energy = ll.energies.KMeans.from_data(train.y, k=64, generator=g)
        >>> budgets = (1, 5)
        >>> table = label_efficiency(
        ...     energy, train, test, labels_per_class=budgets, repeats=3, generator=g
        ... )
        >>> one, five = (table.select(features="KMeans", labels=n).best.mean for n in (1, 5))
        >>> one < five
        True
    """
    tuning = FineTuning() if fine_tune is True else fine_tune or None
    return _measure(
        encoder, train, test, labels_per_class, repeats, heads, tuning, random, generator
    )


def _measure(
    encoder: Encoder | Mapping[str, Encoder],
    train: Dataset,
    test: Dataset,
    budgets: Sequence[int | None],
    repeats: int,
    heads: Sequence[Head],
    tuning: FineTuning | None,
    random: Encoder | None,
    generator: torch.Generator | None,
) -> ProbeTable:
    encoders = dict(encoder) if isinstance(encoder, Mapping) else {named(encoder): encoder}
    labels, truth = _labels(train, "train"), _labels(test, "test")
    draws = {budget: _draws(labels, budget, repeats, generator) for budget in budgets}
    features, remarks = kinds(encoders, random, train, test, generator)
    rows = []
    for kind in features:
        units = units_of(kind.train, kind.name)
        for head in heads:
            for budget, drawn in draws.items():
                rates = [
                    _rate(
                        head.predict(
                            kind.train[chosen], labels[chosen], kind.test, units, seed=seed
                        ),
                        truth,
                    )
                    for seed, chosen in enumerate(drawn)
                ]
                rows.append(_row(kind, head.name, budget, rates))
    if tuning is not None:
        for name, each in encoders.items():
            if isinstance(each, nn.Module):
                rows += _tuned(name, each, tuning, draws, train, test, generator)
            else:
                remarks.append(f"No fine-tuning of {name}: a function has no weights to tune.")
    return ProbeTable(tuple(rows), len(truth), tuple(remarks))


def _tuned(
    name: str,
    encoder: nn.Module,
    tuning: FineTuning,
    draws: dict[int | None, list[Tensor]],
    train: Dataset,
    test: Dataset,
    generator: torch.Generator | None,
) -> list[ProbeRow]:
    """The rows of an encoder that the labels tune, from its own weights and from fresh ones."""
    rows = []
    truth = _labels(test, "test")
    for head, start in (
        ("fine-tuned", encoder),
        ("from scratch", restarted(encoder, generator)),
    ):
        seen = features_of(start, train)
        units = units_of(seen, name)[0]
        kind = Kind(name, seen, seen, head == "from scratch")
        for budget, drawn in draws.items():
            said = (
                tuning.predict(start, train.select(chosen), test, units, generator)
                for chosen in drawn
            )
            rows.append(_row(kind, head, budget, [_rate(each, truth) for each in said]))
    return rows


def _row(kind: Kind, head: str, budget: int | None, rates: list[float]) -> ProbeRow:
    measured = torch.tensor(rates, dtype=torch.float64)
    return ProbeRow(kind.name, head, budget, kind.train.shape[1], measured, kind.control)


def _rate(said: Tensor, truth: Tensor) -> float:
    return float((said == truth).double().mean())


def _labels(data: Dataset, argument: str) -> Tensor:
    if data.labels is None:
        raise DomainError(
            f"'{argument}' carries no labels, and a probe has to learn and judge by some. Give "
            f"lowland.data.Dataset(y, labels=...)."
        )
    return data.labels.cpu()


def _draws(
    labels: Tensor, budget: int | None, repeats: int, generator: torch.Generator | None
) -> list[Tensor]:
    """Positions of the labelled items, `budget` of each class, for each draw."""
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise DomainError(f"A probe tells classes apart. Got {len(classes)} in the training items.")
    if budget is None:
        return [torch.arange(len(labels))]
    if isinstance(budget, bool) or budget < 1 or repeats < 1 or budget > int(counts.min()):
        raise DomainError(
            f"'labels_per_class' must be from 1 to {int(counts.min())}, the size of the smallest "
            f"class, and 'repeats' at least 1. Got {budget!r} and {repeats!r}."
        )
    draws = []
    for _ in range(repeats):
        order = torch.randperm(len(labels), generator=generator)
        draws.append(torch.cat([order[labels[order] == c][:budget] for c in classes]))
    return draws
