"""What labels buy: accuracy over the number of labelled items."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.plot._canvas import SERIES, Axes, Figure, drawing

DASHES = ("-", "--", "-.", ":")


def label_efficiency(
    rates: Mapping[str, Mapping[int, Tensor]],
    *,
    label: str = "accuracy",
    axes: Axes | None = None,
) -> Figure:
    """Draw mean accuracy against the number of labelled items a class, which is logarithmic.

    The band is one standard deviation over the draws of the labelled items to either side.

    Args:
        rates: the accuracies `(draws,)` by number of labels, by the name of the curve, as
            `ProbeTable.curves()` gives them.
        label: what is on the vertical axis.
        axes: where to draw; a new figure by default.

    Returns:
        The figure.

    Raises:
        DomainError: there is no curve, a curve has no point, or a rate is not finite.
        CapabilityError: matplotlib is missing.

    Example:
        >>> rates = {1: torch.tensor([0.4, 0.5]), 10: torch.tensor([0.7, 0.8])}
        >>> figure = label_efficiency({"K-means, linear": rates})
        >>> figure.axes[0].get_xlabel()
        'labelled items a class'
    """
    if not rates or not all(rates.values()):
        raise DomainError("'rates' must hold at least one curve of at least one number of labels.")
    for name, curve in rates.items():
        for budget, drawn in curve.items():
            if drawn.numel() == 0 or not bool(torch.isfinite(drawn).all()):
                raise DomainError(
                    f"The rates of {name!r} for {budget} label(s) must be at least one number, all "
                    f"finite. Got {drawn.tolist()}."
                )
    with drawing(axes, 5.6, 3.4) as (figure, panel):
        budgets = sorted({budget for curve in rates.values() for budget in curve})
        for i, (name, curve) in enumerate(rates.items()):
            points = sorted(curve)
            means = [float(curve[b].double().mean()) for b in points]
            spread = [_spread(curve[b]) for b in points]
            colour = SERIES[i % len(SERIES)]
            dashes = DASHES[(i // len(SERIES)) % len(DASHES)]
            panel.plot(points, means, dashes, color=colour, marker="o", ms=3, label=name)
            low = [m - s for m, s in zip(means, spread, strict=True)]
            high = [m + s for m, s in zip(means, spread, strict=True)]
            panel.fill_between(points, low, high, color=colour, alpha=0.15, lw=0)
        panel.set_xscale("log")
        panel.set_xticks(budgets, labels=[str(b) for b in budgets])
        panel.set_xticks([], minor=True)
        panel.set(xlabel="labelled items a class", ylabel=label)
        panel.legend()
    return figure


def _spread(drawn: Tensor) -> float:
    return float(drawn.double().std()) if len(drawn) > 1 else 0.0
