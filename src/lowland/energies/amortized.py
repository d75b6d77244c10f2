"""An energy with an encoder: codes predicted at once, and in the energy if they should agree."""

import math
from typing import Self, cast

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland.capabilities import (
    CompletesCodes,
    Constrained,
    Decodes,
    DecodesByOperator,
    DecodesLinearly,
    LinearOperator,
    SolvesCodes,
    SolvesParameters,
)
from lowland.energies.lista import LISTA
from lowland.energies.sparse_coding import SparseCoding
from lowland.energy import Energy
from lowland.latent import Continuous, Sparse


class Amortized(Energy):
    r"""An energy that comes with a guess at its best code, and may charge for differing from it.

    $$E'(x, y, z) = E(x, y, z) + \alpha \|z - \mathrm{Enc}(y)\|^2$$

    With α = 0 the energy is as it was, inference is as exact as it was, and the encoder only
    guesses: `lowland.infer.guess` takes the guess and says how far it may fall short,
    `lowland.infer` refines it, `Amortization` trains it. With α > 0 the codes must be predictable,
    which is predictive sparse decomposition: `PredictiveSparseDecomposition` trains both parts.

    `from_data` builds a dictionary and a `LISTA` encoder; `with_lista` gives one to an energy that
    has a dictionary already.

    Args:
        energy: an energy with a continuous latent.
        encoder: any module, items `(n, *event)` to codes `(n, m)`.
        weight: α, not negative.

    Raises:
        CapabilityError: the energy's latent is not continuous.
        DomainError: α is negative or not finite.
        ShapeError: the encoder's output is not a code for each item (found at the first call).

    Reference:
        Fast Inference in Sparse Coding Algorithms with Applications to Object Recognition
        (Kavukcuoglu, Ranzato and LeCun, 2010), https://arxiv.org/abs/1010.3467

    Example:
        >>> inner = ll.energies.SparseCoding(torch.eye(2), penalty=1.0)
        >>> energy = Amortized(inner, torch.nn.Identity(), weight=0.5)
        >>> y = torch.tensor([[3.0, 0.5]])
        >>> ll.infer(energy, y).z
        tensor([[2.5000, 0.0000]])
    """

    def __init__(self, energy: Energy, encoder: nn.Module, weight: float = 1.0) -> None:
        if not isinstance(energy.latent, Continuous):
            raise CapabilityError(
                f"Amortized predicts continuous codes. The latent of {type(energy).__name__} is "
                f"{energy.latent}, which needs no encoder."
            )
        if not (math.isfinite(weight) and weight >= 0):
            raise DomainError(
                f"The 'weight' of Amortized must be finite and at least 0. Got {weight!r}."
            )
        super().__init__(energy.event, energy.latent, energy.domain)
        self.energy = energy
        self.encoder = encoder
        self.weight = float(weight)
        # On the instance, for the class cannot know what its inner energy offers.
        for capability, names in (_KEPT | _UNWEIGHTED if weight == 0 else _KEPT).items():
            if isinstance(energy, capability):
                self._offer(**{name: getattr(energy, name) for name in names})
        if isinstance(energy, Decodes):
            self._offer(reconstruct=self._reconstruct)
        if weight > 0 and isinstance(energy, DecodesLinearly | DecodesByOperator):
            self._offer(linear_operator=self._linear_operator)

    def _offer(self, **methods: object) -> None:
        for name, method in methods.items():
            object.__setattr__(self, name, method)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        k: int = 64,
        *,
        x: Tensor | None = None,
        penalty: float = 0.1,
        weight: float = 1.0,
        layers: int = 3,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a dictionary and a `LISTA` encoder that belongs to it.

        Args:
            y: the data, `(n, *event)`.
            k: how many atoms.
            x: not used; the energy is unconditional.
            penalty: λ of `SparseCoding`.
            weight: α.
            layers: how many layers the encoder has.
            generator: the start of the atoms.
        """
        dictionary = SparseCoding.from_data(y, k=k, penalty=penalty, generator=generator)
        return cls.with_lista(dictionary, layers, weight=weight)

    @classmethod
    def with_lista(
        cls, energy: Energy, layers: int = 3, *, shared: bool = False, weight: float = 0.0
    ) -> Self:
        """Give an energy a `LISTA` encoder, which starts as so many steps of ISTA.

        Args:
            energy: one with a `Sparse` latent and a linear decoder, such as `SparseCoding`.
            layers: how many layers the encoder has.
            shared: whether all layers have the same weights.
            weight: α.

        Raises:
            CapabilityError: the energy has no `Sparse` latent or no linear decoder.

        Example:
            >>> energy = ll.energies.SparseCoding(
            ...     (4, 6), generator=torch.Generator().manual_seed(0)
            ... )
            >>> ll.energies.Amortized.with_lista(energy, layers=2).encoder.layers
            2
        """
        if not (isinstance(energy, DecodesLinearly) and isinstance(energy.latent, Sparse)):
            raise CapabilityError(
                f"LISTA predicts Sparse codes of a linear decoder. {type(energy).__name__} has the "
                f"latent {energy.latent}: give Amortized another encoder."
            )
        lista = LISTA.from_decoder(energy.linear_decoder(), energy.latent, layers, shared=shared)
        return cls(energy, lista, weight)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """E'(x, y, z), `(*batch,)`."""
        code = self.given(z)
        value: Tensor = self.energy(y, x=x, z=code)
        if self.weight == 0:
            return value
        return value + self.weight * (code - self.encode(y)).square().sum(-1)

    def guess_codes(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The point of Z nearest to Enc(y), `(n, m)`, for items `(n, *event)`."""
        z: Tensor = self.encoder(y)
        latent = cast(Continuous, self.latent)
        expected = (len(y), latent.m)
        if tuple(z.shape) != expected:
            raise ShapeError(
                f"The encoder of Amortized must return a code for each item, shape {expected}. Got "
                f"{tuple(z.shape)}."
            )
        # All real vectors are sparse codes, and the projection has no slope at zero.
        return z if isinstance(latent, Sparse) else latent.proximal(z, torch.zeros_like(z[:, 0]))

    def encode(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Enc(y), `(*batch, m)`: features without a search."""
        z = self.guess_codes(y.reshape(-1, *self.event))
        return z.reshape(*y.shape[: y.dim() - len(self.event)], -1)

    def project_parameters(self) -> None:
        """Keep the inner energy's parameters where they may be, if that is not everywhere."""
        if isinstance(self.energy, Constrained):
            self.energy.project_parameters()

    def _reconstruct(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """Dec(Enc(y)), `(*batch, *event)`."""
        return cast(Decodes, self.energy).decode(self.encode(y), x=x)

    @torch.no_grad()
    def _linear_operator(self) -> LinearOperator:
        """The decoder's, with rows of √(2α) below it that explain the guess."""
        if isinstance(self.energy, DecodesByOperator):
            inner = self.energy.linear_operator()
        else:
            inner = cast(DecodesLinearly, self.energy).linear_decoder().as_operator()
        d, scale = math.prod(self.event), math.sqrt(2 * self.weight)

        def target(y: Tensor) -> Tensor:
            return torch.cat([inner.target(y), scale * self.guess_codes(y)], 1)

        def apply(z: Tensor) -> Tensor:
            return torch.cat([inner.apply(z), scale * z], 1)

        def transpose(residual: Tensor) -> Tensor:
            return inner.transpose(residual[:, :d]) + scale * residual[:, d:]

        return LinearOperator(target, apply, transpose, inner.curvature + 2 * self.weight)


# What does not change if the energy gains a term of z and Enc(y), and what does not if it gains
# none.
_KEPT: dict[type, tuple[str, ...]] = {SolvesParameters: ("statistics", "solve_parameters")}
_UNWEIGHTED: dict[type, tuple[str, ...]] = {
    CompletesCodes: ("complete_codes",),
    Decodes: ("decode",),
    DecodesByOperator: ("linear_operator",),
    DecodesLinearly: ("linear_decoder",),
    SolvesCodes: ("solve_codes",),
}
