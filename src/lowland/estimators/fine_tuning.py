"""The whole encoder learns from the labels, from wherever its weights begin."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from lowland._errors import CapabilityError, DivergedError, DomainError
from lowland._modes import evaluating, seeded
from lowland._random import integers
from lowland.capabilities import Encodes, refuse
from lowland.data import Dataset
from lowland.energy import Energy
from lowland.estimators.features import BLOCK, Units, features_of

# The strength C of the regression that the head begins with.
STRENGTH = 10.0


@dataclass(frozen=True)
class FineTuning:
    r"""Gradient descent on an encoder and a linear head together, by AdamW with a cosine schedule.

    $$\min_{\theta, W} \; -\sum_i \log \mathrm{softmax}(W \, \mathrm{Enc}_\theta(y_i))_{c_i}$$

    The head begins as the logistic regression on the features as they are, so that it does not
    spoil the encoder before it knows anything.

    Args:
        steps: how many steps to make.
        learning_rate: of all weights, at its highest.
        batch_size: labelled items a step, at most.
        weight_decay: how fast weights shrink, as AdamW means it.

    Raises:
        DomainError: an option is out of range.

    Reference:
        Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution (Kumar et
        al., 2022), https://openreview.net/forum?id=UYneFzXSJWh
    """

    steps: int = 300
    learning_rate: float = 1e-3
    batch_size: int = 64
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or not self.learning_rate > 0:
            raise DomainError(
                f"FineTuning needs steps and batch_size of at least 1 and a positive "
                f"learning_rate. Got {self}."
            )

    def predict(
        self,
        encoder: nn.Module,
        known: Dataset,
        unknown: Dataset,
        units: Units,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Train a copy of the encoder on labelled items and say the class of others.

        Args:
            encoder: an energy that offers `Encodes`, or a network; it is not changed.
            known: the labelled items, of at least two classes.
            unknown: the others.
            units: the units of the encoder's features before it is tuned.
            generator: the order of the items, and the seed of dropout.

        Returns:
            `(k,)` int64.

        Raises:
            CapabilityError: the features cannot be differentiated in the encoder's weights.
            DivergedError: the loss became NaN or infinite.
        """
        if known.labels is None:
            raise DomainError("Fine-tuning needs 'known' to carry labels.")
        classes, targets = known.labels.unique(return_inverse=True)
        tuned = _Tuned(_trainable(encoder), units, known[:1])
        tuned.begin(known, targets)
        self._descend(tuned, known, targets, generator)
        with evaluating(tuned), torch.no_grad():
            scores = [tuned(unknown[i : i + BLOCK]).cpu() for i in range(0, len(unknown), BLOCK)]
        said: Tensor = classes[torch.cat(scores).argmax(1)]
        return said

    def _descend(
        self, tuned: "_Tuned", known: Dataset, targets: Tensor, generator: torch.Generator | None
    ) -> None:
        targets = targets.to(tuned.head.weight.device)
        optimizer = torch.optim.AdamW(
            tuned.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        size = min(self.batch_size, len(known))
        order = torch.empty(0, dtype=torch.int64)
        seed = int(integers(2**62, (), generator, like=targets))
        tuned.train()
        with seeded(seed, tuned):
            for step in range(self.steps):
                if len(order) < size:
                    order = torch.randperm(len(known), generator=generator)
                rows, order = order[:size], order[size:]
                loss = functional.cross_entropy(tuned(known.select(rows)), targets[rows])
                if not bool(torch.isfinite(loss)):
                    raise DivergedError(
                        f"Fine-tuning: the loss is {loss.item()} at step {step}. A smaller "
                        f"learning_rate is the usual remedy.",
                        step=step,
                    )
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()


def _trainable(encoder: nn.Module) -> nn.Module:
    """A copy to train, or the sentence that says why there is nothing to train."""
    if isinstance(encoder, Energy) and not isinstance(encoder, Encodes):
        raise refuse(
            encoder,
            "Fine-tuning",
            "an energy that is Encodes",
            "Write encode(y, *, x=None) on it, differentiable in its parameters.",
        )
    return deepcopy(encoder)


class _Tuned(nn.Module):
    """An encoder, its features' units as they were at the start, and a linear head on them."""

    def __init__(self, encoder: nn.Module, units: Units, probed: Dataset) -> None:
        super().__init__()
        self.encoder = encoder
        self.units = units
        parameter = next((p for p in encoder.parameters() if p.requires_grad), None)
        with torch.enable_grad():
            if parameter is None or not self._raw(probed, parameter).requires_grad:
                raise CapabilityError(
                    f"The features of {type(encoder).__name__} cannot be differentiated in its "
                    f"weights, so that labels cannot tune them. Leave fine-tuning out."
                )
        self.head = nn.Linear(1, 1).to(parameter)

    def begin(self, known: Dataset, targets: Tensor) -> None:
        """Let the head be the logistic regression on the features as they are."""
        features = self.units(features_of(self.encoder, known))
        fitted = LogisticRegression(C=STRENGTH, max_iter=10_000).fit(
            features.numpy(), targets.cpu().numpy()
        )
        weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
        if len(weight) == 1:  # of two classes, scikit-learn keeps the difference
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        like = self.head.weight
        # An item's features have squared length 1 on average. The head sees them with elements of
        # size 1, for an optimizer's steps are made for weights on such.
        weight = weight / weight.shape[1] ** 0.5
        self.head.weight = nn.Parameter(weight.to(like))
        self.head.bias = nn.Parameter(bias.to(like))

    def _raw(self, data: Dataset, like: Tensor) -> Tensor:
        y = data.y.to(like) if data.y.is_floating_point() else data.y.to(like.device)
        if isinstance(self.encoder, Encodes):
            x = data.x
            if x is not None:
                x = x.to(like) if x.is_floating_point() else x.to(like.device)
            found = self.encoder.encode(y, x=x)
        else:
            found = self.encoder(y)
        return found.reshape(len(y), -1)

    def forward(self, data: Dataset) -> Tensor:
        """The score of each class for each item, `(n, classes)`."""
        units, like = self.units, self.head.weight
        seen = self._raw(data, like)[:, units.varies.to(like.device)]
        seen = (seen - units.mean.to(like)) / units.scale.to(like)
        scores: Tensor = self.head(seen * seen.shape[1] ** 0.5)
        return scores
