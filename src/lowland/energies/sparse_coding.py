"""Sparse coding as an energy: few atoms of a dictionary explain each item."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from lowland._errors import DomainError, ShapeError
from lowland._random import normal, permutation
from lowland.capabilities import LinearDecoder
from lowland.energies._directions import strongest
from lowland.energy import Energy
from lowland.latent import Sparse

# An atom may be unused for want of luck until this many items for each atom have been seen.
_PATIENCE = 10


class SparseCoding(Energy):
    r"""Half the squared distance from y to a combination of atoms, and a price for using them.

    $$E(y, z) = \tfrac12 \|y - W z\|^2 + \lambda \|z\|_1, \qquad \|w_j\| = 1$$

    The penalty limits the volume of low energy, so that there may be more atoms than elements of y.
    It is low where few atoms are enough. Without unit-norm atoms the penalty would mean nothing,
    since W could grow and z shrink: `from_data`, a random start and `solve_parameters` keep them
    so, a dictionary that is given is taken as it is, and `project_parameters` restores them after
    every gradient step.

    Args:
        dictionary: W, one item shaped like y in each place of the last axis, `(*event, k)`; or that
            shape, for random atoms.
        penalty: λ, not negative, in the units of y.
        generator: the random atoms; torch's default generator if None.

    Raises:
        ShapeError: `dictionary` has not an event and an axis of atoms.
        DomainError: it is not floating point or not finite, or the penalty is negative.

    Reference:
        Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural
        Images (Olshausen and Field, 1996), https://doi.org/10.1038/381607a0

    Example:
        >>> energy = SparseCoding(torch.eye(2), penalty=1.0)
        >>> from lowland.infer import infer
        >>> infer(energy, torch.tensor([[3.0, 0.5]])).z
        tensor([[2., 0.]])
        >>> ll.score(energy, torch.tensor([[3.0, 0.5]]))
        tensor([2.6250])
        >>> SparseCoding((8, 8, 100), generator=torch.Generator().manual_seed(0)).event
        (8, 8)
    """

    def __init__(
        self,
        dictionary: Tensor | Sequence[int],
        penalty: float = 0.1,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        if not isinstance(dictionary, Tensor):
            dictionary = _random(tuple(dictionary), generator)
        if dictionary.dim() < 2 or 0 in dictionary.shape:
            raise ShapeError(
                f"The 'dictionary' of SparseCoding must have shape (*event, k), with at least one "
                f"event axis and one atom. Got {tuple(dictionary.shape)}."
            )
        if not (dictionary.is_floating_point() and bool(torch.isfinite(dictionary).all())):
            raise DomainError(
                f"The 'dictionary' of SparseCoding must hold finite floating-point numbers. Got "
                f"{dictionary.dtype}, of which "
                f"{int((~torch.isfinite(dictionary)).sum())} are not finite."
            )
        k = dictionary.shape[-1]
        super().__init__(tuple(dictionary.shape[:-1]), Sparse(k, penalty=float(penalty)))
        # In one memory order, so that a loaded copy multiplies in the same order, to the bit.
        self.dictionary = nn.Parameter(
            dictionary.detach().clone(memory_format=torch.contiguous_format)
        )
        self.penalty = float(penalty)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        k: int = 64,
        penalty: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start the atoms at random data points, scaled to unit norm.

        Args:
            y: the data, `(n, *event)`.
            x: not used; the energy is unconditional.
            k: how many atoms; where the data have fewer points that are not zero, the others are
                random directions.
            penalty: λ.
            generator: which points are drawn.

        Raises:
            DomainError: k is not a positive whole number, or the penalty is negative.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise DomainError(f"'k' of SparseCoding must be a whole number of at least 1. Got {k}.")
        rows = y.flatten(1)
        rows = rows[rows.abs().amax(1) > 0]
        atoms = rows[permutation(len(rows), generator, like=y)[:k]]
        if len(atoms) < k:
            others = normal((k - len(atoms), rows.shape[1]), generator, like=rows)
            atoms = torch.cat([atoms, others])
        atoms = atoms / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
        return cls(atoms.T.reshape(*y.shape[1:], k), penalty)

    def configuration(self) -> dict[str, object]:
        """The dictionary and the penalty."""
        return {"dictionary": self.dictionary, "penalty": self.penalty}

    @property
    def atoms(self) -> Tensor:
        """The columns of W, each shaped like y, `(k, *event)`."""
        return self.dictionary.movedim(-1, 0)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """E(y, z), `(*batch,)`."""
        code = self.given(z)
        miss = (y - self.decode(code)).flatten(-len(self.event)).square().sum(-1)
        return miss / 2 + self.penalty * code.abs().sum(-1)

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """W z, `(*batch, *event)`."""
        decoded: Tensor = torch.tensordot(z, self.atoms, dims=1)
        return decoded

    def linear_decoder(self) -> LinearDecoder:
        """W, with no offset and a precision of 1."""
        weight = self.dictionary.flatten(0, -2)
        return LinearDecoder(weight, weight.new_zeros(len(weight)), 1.0)

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Give every atom unit norm, in place, as the penalty supposes; one of zeros stays."""
        length = self._flat().norm(dim=1).clamp(min=torch.finfo(self.dictionary.dtype).tiny)
        self.dictionary.div_(length)

    def _flat(self) -> Tensor:
        return self.dictionary.detach().flatten(0, -2).T

    def statistics(
        self, y: Tensor, z: Tensor | None, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Second moments of the codes, of codes with items and of items, and how many there are."""
        codes, rows = self.given(z).double(), y.flatten(1).double()
        return {
            "codes": codes.T @ codes,
            "products": codes.T @ rows,
            "moments": rows.T @ rows,
            "items": rows.new_tensor(float(len(rows))),
        }

    def prior_statistics(self, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
        """As if each atom that is not zero had been an item, as long as the code of an item is."""
        atoms = self._flat().double()
        squared = statistics["codes"].diagonal().sum() / statistics["items"]
        weight = squared * (atoms.abs().amax(1) > 0)
        return {"codes": weight.diag(), "products": weight.unsqueeze(1) * atoms}

    def unused(self, statistics: dict[str, Tensor]) -> Tensor | None:
        """The atoms that no item uses; None until ten items for each have been seen."""
        if float(statistics["items"]) < _PATIENCE * self.dictionary.shape[-1]:
            return None
        return torch.nonzero(statistics["codes"].diagonal() == 0).flatten()

    @torch.no_grad()
    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        r"""Minimise over one atom after the other on the unit sphere, in one sweep over them.

        $$w_j \propto \textstyle\sum_i z_{ij} \big( y_i - \sum_{l \ne j} w_l z_{il} \big)$$

        Reference:
            Online Learning for Matrix Factorization and Sparse Coding (Mairal et al., 2010),
            https://www.jmlr.org/papers/v11/mairal10a.html
        """
        codes = statistics["codes"].double()
        atoms = self._flat().double().clone()
        # One sweep: new codes lower the energy more than further sweeps with the old ones.
        used = torch.nonzero(codes.diagonal() > 0).flatten().tolist()
        others = (codes - codes.diagonal().diag()).unbind()
        products, rows, columns = statistics["products"].double().unbind(), atoms.unbind(), atoms.T
        for j in used:
            pull = torch.addmv(products[j], columns, others[j], alpha=-1)
            length = float(torch.linalg.vector_norm(pull))
            if length > 0:
                torch.div(pull, length, out=rows[j])
        self.dictionary.copy_(atoms.T.reshape(self.dictionary.shape))

    @torch.no_grad()
    def restart_unused(self, statistics: dict[str, Tensor]) -> int:
        """Point unused atoms where the residuals vary most, once ten items for each were seen.

        The sums then begin a new count of the items seen, so that an atom has its chance.
        """
        dead = self.unused(statistics)
        if dead is None or len(dead) == 0:
            return 0
        atoms = self._flat().double().clone()
        codes, products, moments = (
            statistics[name].double() for name in ("codes", "products", "moments")
        )
        explained = products.T @ atoms
        residuals = moments - explained - explained.T + atoms.T @ codes @ atoms
        found = strongest(residuals, len(dead), scale=moments.diagonal().sum())
        atoms[dead[: len(found)]] = found
        self.dictionary.copy_(atoms.T.reshape(self.dictionary.shape))
        statistics["items"] = torch.zeros_like(statistics["items"])
        return len(found)


def _random(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    if len(shape) < 2 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ShapeError(
            f"The 'dictionary' of SparseCoding must be a tensor or a shape (*event, k) of positive "
            f"whole numbers. Got {shape!r}."
        )
    drawn = normal((math.prod(shape[:-1]), shape[-1]), generator, like=torch.zeros(()))
    atoms: Tensor = drawn / torch.linalg.vector_norm(drawn, dim=0)
    return atoms.reshape(shape)
