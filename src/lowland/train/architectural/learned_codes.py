"""Keep a code for each datum, and move codes and decoder in turn."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lowland._errors import CapabilityError, DomainError
from lowland._random import permutation
from lowland._shapes import chunks
from lowland.energy import Energy
from lowland.infer import GuessesCodes, Search, find_codes, solve
from lowland.latent import Continuous
from lowland.train.strategy import Outcome, Strategy


@dataclass(frozen=True)
class LearnedCodes(Strategy):
    r"""Move a code that each datum keeps, then the parameters, batch by batch.

    $$z_i \leftarrow \text{some steps down } E(x_i, y_i, \cdot) \text{ from } z_i, \qquad
      W \leftarrow W - \eta \nabla_W \frac1n \sum_i E_W(x_i, y_i, z_i)$$

    A step of this strategy is a pass over all the data. The codes start at the energy's guess where
    it offers one (`GLO` starts at the principal components), else at the best codes.

    Args:
        batch_size: items to a step of the optimizer.
        code_steps: evaluations to move a code by, each time its datum comes round.

    Raises:
        DomainError: an option is not a positive whole number.

    Reference:
        Optimizing the Latent Space of Generative Networks (Bojanowski et al., 2017),
        https://arxiv.org/abs/1707.05776

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randn(64, 3, generator=g)
        >>> energy = ll.energies.GLO.from_data(y, m=2, hidden=(8,), generator=g)
        >>> result = ll.fit(energy, y, LearnedCodes(batch_size=32), steps=5, generator=g)
        >>> result.history.loss[-1] < result.history.loss[0]
        True
    """

    batch_size: int = 128
    code_steps: int = 10

    kind: ClassVar[str] = "architectural"
    whole_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("code_steps", self.code_steps)):
            if isinstance(value, bool) or value < 1:
                raise DomainError(
                    f"The '{name}' of LearnedCodes must be a whole number of at least 1. Got "
                    f"{value!r}."
                )

    def unsuited(self, energy: Energy) -> str | None:
        """Why this strategy cannot train this energy, as a sentence; None if it can."""
        if not isinstance(energy.latent, Continuous):
            return (
                f"LearnedCodes moves codes little by little, and the latent of "
                f"{type(energy).__name__} is {energy.latent}. Use GradientDescent."
            )
        return super().unsuited(energy)

    def kept(self, state: Tensor | None) -> dict[str, Tensor] | None:
        """The codes."""
        return None if state is None else {"codes": state}

    def restored(self, kept: dict[str, Tensor]) -> Tensor:
        """The codes that were kept."""
        return kept["codes"]

    def step(
        self,
        energy: Energy,
        state: Tensor | None,
        y: Tensor,
        x: Tensor | None,
        *,
        optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> tuple[Tensor, Outcome]:
        """One pass: codes and parameters of each batch in turn.

        Raises:
            DivergedError: a loss or its gradient is not finite.
        """
        if optimizer is None:
            raise CapabilityError("LearnedCodes takes its steps by an optimizer.")
        codes = _guess(energy, y, x) if state is None else state.clone()
        order = permutation(len(y), generator, like=y)
        total = torch.zeros((), dtype=torch.float64, device=y.device)
        for part in chunks(len(y), 1, self.batch_size):
            rows = order[part]
            y_batch, x_batch = y[rows], None if x is None else x[rows]
            search = Search(start=codes[rows], starts=1, steps=self.code_steps)
            with torch.no_grad():
                z = solve(energy, y_batch, x_batch, search).z
            if z is None:
                raise CapabilityError(f"{type(energy).__name__} has no latent variable.")
            codes[rows] = z
            loss = energy(y_batch, x=x_batch, z=z).mean()
            total += self.descend(energy, Outcome(loss), optimizer).loss.double() * len(rows)
        mean = total / len(y)
        return codes, Outcome(mean, data_energy=mean)


@torch.no_grad()
def _guess(energy: Energy, y: Tensor, x: Tensor | None) -> Tensor:
    if isinstance(energy, GuessesCodes):
        return energy.guess_codes(y, x=x).clone()
    codes = find_codes(energy, y, x)
    if codes is None:
        raise CapabilityError(f"{type(energy).__name__} has no latent variable.")
    return codes
