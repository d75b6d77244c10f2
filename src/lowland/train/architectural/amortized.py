"""Train encoders to predict codes: towards what a search finds, or as part of the energy."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DivergedError, DomainError
from lowland._random import permutation
from lowland._shapes import chunks
from lowland.capabilities import GuessesCodes
from lowland.energy import Energy
from lowland.infer import Search, find_codes, solve
from lowland.latent import Continuous, Sparse
from lowland.train.strategy import GradientStrategy, Outcome, Strategy, step_down

TARGETS = ("codes", "energy")

# Codes that are only there to take a gradient at need not be exact.
_TOLERANCE = 1e-4


@runtime_checkable
class ChargesForGuesses(GuessesCodes, Protocol):
    """An energy that has the distance from z to its own guess among its terms, as `Amortized`."""

    weight: float


@dataclass(frozen=True)
class Amortization(Strategy):
    r"""Train the encoder alone, to predict the best codes of the energy as it is.

    $$L = \frac1n \sum_i \|\mathrm{Enc}(y_i) - z^*(x_i, y_i)\|^2 \quad \text{or} \quad
      \frac1n \sum_i E(x_i, y_i, \mathrm{Enc}(y_i))$$

    The first copies a search: its codes are found once, for all the data. The second needs no
    search, and weighs an error by what it costs. A step of this strategy is a pass over the data.

    Args:
        target: "codes" or "energy".
        batch_size: items to a step of the optimizer.

    Raises:
        DomainError: the target is not known, or the batch size not a positive whole number.

    Reference:
        Learning Fast Approximations of Sparse Coding (Gregor and LeCun, 2010),
        https://icml.cc/Conferences/2010/papers/449.pdf

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randn(64, 4, generator=g)
        >>> inner = ll.energies.SparseCoding((4, 6), penalty=0.5, generator=g)
        >>> energy = ll.energies.Amortized.with_lista(inner, layers=2)
        >>> result = ll.fit(energy, y, Amortization(batch_size=16), steps=20, generator=g)
        >>> result.history.loss[-1] < result.history.loss[0]
        True
    """

    target: str = "codes"
    batch_size: int = 128

    kind: ClassVar[str] = "architectural"
    needs: ClassVar[tuple[type, ...]] = (GuessesCodes,)
    whole_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise DomainError(
                f"The 'target' of Amortization must be one of {TARGETS}. Got {self.target!r}."
            )
        if isinstance(self.batch_size, bool) or self.batch_size < 1:
            raise DomainError(
                f"The 'batch_size' of Amortization must be a whole number of at least 1. Got "
                f"{self.batch_size!r}."
            )

    def unsuited(self, energy: Energy) -> str | None:
        """Why this strategy cannot train this energy, as a sentence; None if it can."""
        if not isinstance(energy.latent, Continuous):
            return (
                f"Amortization predicts continuous codes, and the latent of "
                f"{type(energy).__name__} is {energy.latent}."
            )
        return super().unsuited(energy)

    def step(
        self,
        energy: Energy,
        state: Tensor | None,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Tensor | None, Outcome]:
        """One pass over the data.

        Raises:
            DivergedError: a loss or its gradient is not finite.
        """
        if optimizer is None:
            raise CapabilityError("Amortization takes its steps by an optimizer.")
        codes = state
        if codes is None and self.target == "codes":
            codes = find_codes(energy, y, x)
        order = permutation(len(y), generator, like=y)
        total = torch.zeros((), dtype=torch.float64, device=y.device)
        for part in chunks(len(y), 1, self.batch_size):
            rows = order[part]
            best = None if codes is None else codes[rows]
            x_batch = None if x is None else x[rows]
            total += self._batch(energy, y[rows], x_batch, best, optimizer)
        return codes, Outcome(total / len(y))

    def _batch(
        self,
        energy: Energy,
        y: Tensor,
        x: Tensor | None,
        best: Tensor | None,
        optimizer: torch.optim.Optimizer,
    ) -> Tensor:
        """One step of the optimizer; the sum of the losses."""
        if not isinstance(energy, GuessesCodes):
            raise CapabilityError(f"{type(energy).__name__} offers no guess at its codes.")
        z = energy.guess_codes(y, x=x)
        if not z.requires_grad:
            raise CapabilityError(f"The encoder of {type(energy).__name__} has nothing to train.")
        # The loss as a function of the guess alone, so that nothing but the encoder learns.
        held = z.detach().requires_grad_()
        losses = energy(y, x=x, z=held) if best is None else (held - best).square().sum(-1)
        if not bool(torch.isfinite(losses).all()):
            raise DivergedError(f"the loss is {losses.mean().item()}")
        (slope,) = torch.autograd.grad(losses.mean(), held)
        step_down(energy, (z * slope).sum(), optimizer)
        return losses.detach().double().sum()


@dataclass(frozen=True)
class PredictiveSparseDecomposition(GradientStrategy):
    r"""Learn a dictionary and an encoder for it together: codes that explain and can be predicted.

    $$z_i^* = \arg\min_z E(y_i, z) + \alpha \|z - \mathrm{Enc}(y_i)\|^2, \qquad
      L = \frac1n \sum_i E(y_i, z_i^*) + \alpha \|z_i^* - \mathrm{Enc}(y_i)\|^2$$

    The codes are held fixed while the optimizer moves dictionary and encoder, and atoms get unit
    norm again after each step.

    Reference:
        Fast Inference in Sparse Coding Algorithms with Applications to Object Recognition
        (Kavukcuoglu, Ranzato and LeCun, 2010), https://arxiv.org/abs/1010.3467

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randn(64, 4, generator=g)
        >>> energy = ll.energies.Amortized.from_data(y, k=6, penalty=0.2, generator=g)
        >>> strategy = PredictiveSparseDecomposition()
        >>> result = ll.fit(energy, y, strategy, steps=60, batch_size=32, generator=g)
        >>> result.history.loss[-1] < result.history.loss[0]
        True
    """

    kind: ClassVar[str] = "architectural"

    def unsuited(self, energy: Energy) -> str | None:
        """Why this strategy cannot train this energy, as a sentence; None if it can."""
        if not (isinstance(energy, ChargesForGuesses) and isinstance(energy.latent, Sparse)):
            return (
                f"PredictiveSparseDecomposition trains Amortized energies with a Sparse latent. "
                f"{type(energy).__name__} has the latent {energy.latent}."
            )
        if energy.weight == 0:
            return (
                "PredictiveSparseDecomposition needs an Amortized energy with a positive weight: "
                "at 0 the encoder is no part of the energy. Use Amortization."
            )
        return super().unsuited(energy)

    def loss(
        self, energy: Energy, y: Tensor, x: Tensor | None, generator: torch.Generator
    ) -> Outcome:
        """The mean energy of the batch with its best codes."""
        with torch.no_grad():
            z = solve(energy, y, x, Search(tolerance=_TOLERANCE)).z
        loss = energy(y, x=x, z=z).mean()
        return Outcome(loss, data_energy=loss.detach())
