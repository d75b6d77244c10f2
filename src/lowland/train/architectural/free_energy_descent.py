"""Descend the free energy of codes that can be enumerated, from warm to cold."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lowland._errors import DomainError
from lowland.capabilities import SplitsCodes
from lowland.energy import Energy
from lowland.infer import enumerable, log_mean, table_of_codes
from lowland.train.strategy import Look, Outcome, Strategy

# Items to measure the spread of the codes' energies on, before the first step.
_LOOKED_AT = 128
# How much of the running shares of the codes each step keeps.
_DECAY = 0.98
# Steps between looks for codes that are not used: long enough for the shares to settle.
_EVERY = 100


@dataclass(frozen=True)
class FreeEnergyDescent(Strategy):
    r"""Push down the free energy of the data, exact over all codes, while beta rises.

    $$L = \frac1n \sum_i F_{\beta_t}(x_i, y_i), \qquad
      \beta_t = \beta_0 \left( \frac{\beta}{\beta_0} \right)^{\min(1, t / T)}$$

    Warm, every code learns from every datum, and all stay near the mean; as beta rises they part,
    each towards the data that it suits best, so that none is left behind because another was
    nearer at the start. Hard from the beginning, the first code that is a little better takes all.

    A code that takes hardly any of the data all the same is counted. If the energy offers to
    (`SplitsCodes`), it starts again beside the code that takes most, and is counted in `reseeded`.
    `Fit.state["shares"]` tells how much of the data each code takes.

    Args:
        beta: the inverse temperature at the end, positive and finite.
        start_beta: β_0; None takes one over the standard deviation of the codes' energies at the
            first items, where no code is preferred by much. Never above beta.
        anneal: T, the steps that the rise takes.
        least: the share of the data, in units of an even share 1 / k, below which a code counts as
            unused.

    Raises:
        DomainError: an option is out of range.

    Reference:
        Deterministic Annealing for Clustering, Compression, Classification, Regression, and Related
        Optimization Problems (Rose, 1998), https://doi.org/10.1109/5.726788

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randn(256, 2, generator=g).sign() + 0.1 * torch.randn(256, 2, generator=g)
        >>> energy = ll.energies.KMeans(0.1 * torch.randn(4, 2, generator=g))
        >>> adam = lambda parameters: torch.optim.Adam(parameters, lr=0.05)
        >>> strategy = FreeEnergyDescent(beta=50.0, anneal=200)
        >>> result = ll.fit(energy, y, strategy, steps=300, optimizer=adam, generator=g)
        >>> bool((result.state["shares"] > 0.2).all())
        True
    """

    beta: float = 1.0
    start_beta: float | None = None
    anneal: int = 1000
    least: float = 0.1

    kind: ClassVar[str] = "architectural"

    def __post_init__(self) -> None:
        for name, value in (("beta", self.beta), ("start_beta", self.start_beta)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise DomainError(
                    f"The '{name}' of FreeEnergyDescent must be positive and finite. Got {value!r}."
                )
        if isinstance(self.anneal, bool) or self.anneal < 0:
            raise DomainError(
                f"The 'anneal' of FreeEnergyDescent must be a whole number of steps. Got "
                f"{self.anneal!r}."
            )
        if not 0 <= self.least < 1:
            raise DomainError(
                f"The 'least' of FreeEnergyDescent must be in [0, 1). Got {self.least!r}."
            )

    def unsuited(self, energy: Energy) -> str | None:
        """Why this strategy cannot train this energy, as a sentence; None if it can."""
        if not enumerable(energy.latent):
            return (
                f"FreeEnergyDescent adds up all codes, and the latent of {type(energy).__name__} "
                f"is {energy.latent}. Use GradientDescent(beta=...), or Variational for a noisy "
                f"code."
            )
        return super().unsuited(energy)

    def begin(self, energy: Energy, look: Look, generator: torch.Generator) -> dict[str, Tensor]:
        """Where the rise begins, how many steps were made, and an even share for each code."""
        y, x = look(_LOOKED_AT)
        with torch.no_grad():
            table = table_of_codes(energy, y, x)
        start = self.start_beta
        if start is None:
            spread = float(table.double().std(-1, correction=0).mean())
            start = 1 / spread if spread > 0 else self.beta
        k = table.shape[-1]
        return {
            "start": torch.tensor(min(start, self.beta), dtype=torch.float64),
            "steps": torch.zeros((), dtype=torch.int64),
            "shares": table.new_full((k,), 1 / k, dtype=torch.float64),
        }

    def beta_at(self, state: dict[str, Tensor]) -> float:
        """The inverse temperature of the next step."""
        start, steps = float(state["start"]), int(state["steps"])
        risen = min(1.0, steps / self.anneal) if self.anneal else 1.0
        return float(start * (self.beta / start) ** risen)

    def remarks(self, state: Any) -> str | None:
        """Say which codes are hardly used."""
        shares = state["shares"]
        unused = torch.nonzero(shares < self.least / len(shares)).flatten().tolist()
        if not unused:
            return None
        return (
            f"{len(unused)} of {len(shares)} codes take hardly any of the data: {unused}. What "
            f"they decode to is not learned. Anneal more slowly, start warmer, or use fewer codes."
        )

    def step(
        self,
        energy: Energy,
        state: dict[str, Tensor],
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], Outcome]:
        """A step of the optimizer at the beta of the moment, then unused codes start again.

        Raises:
            DivergedError: the loss or its gradient is not finite; no parameter has been changed.
        """
        beta = self.beta_at(state)
        table = table_of_codes(energy, y, x)
        loss = log_mean(table, beta).mean()
        best = table.detach().amin(-1).mean()
        outcome = self.descend(energy, Outcome(loss, data_energy=best), optimizer)
        taken = (-beta * table.detach()).softmax(-1).double().mean(0)
        shares = _DECAY * state["shares"] + (1 - _DECAY) * taken
        steps = state["steps"] + 1
        if isinstance(energy, SplitsCodes) and int(steps) % _EVERY == 0:
            shares, restarted = self._restart(energy, shares, generator)
            outcome = outcome._replace(reseeded=restarted)
        return {**state, "steps": steps, "shares": shares}, outcome

    def _restart(
        self, energy: SplitsCodes, shares: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        """Each unused code takes half of what one of the most used has."""
        k = len(shares)
        unused = torch.nonzero(shares < self.least / k).flatten()[: k // 2]
        if len(unused) == 0:
            return shares, 0
        used = shares.topk(len(unused)).indices
        energy.split_codes(used, unused, generator=generator)
        shares = shares.clone()
        shares[used] /= 2
        shares[unused] = shares[used]
        return shares, len(unused)
