"""Which atoms the codes of some items use, and the inverse Gram matrices of those atoms."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Relative to the squared length of an atom: keeps equal atoms from making a matrix singular.
_RIDGE = {torch.float32: 1e-6, torch.float64: 1e-11}
# An atom that leaves others on which it nearly depended leaves mostly rounding in the inverse, if
# the pivot was larger than this, relative to the squared length of an atom.
_DOUBTFUL = {torch.float32: 1e3, torch.float64: 1e7}


class Supports(NamedTuple):
    """Sparse codes of some items, each with its own atoms in places of its own.

    An inverse may be of lower precision than the code: a Newton step with it errs by a small part
    of its own length, which the next step makes good.

    Attributes:
        rows: which items, `(b,)`.
        atoms: their atoms, `(b, s)`; the number of atoms k where a place is empty.
        z: the coefficients, `(b, s)`; 0 where a place is empty.
        inverse: of the Gram matrix of an item's atoms, `(b, s, s)`; what an empty place holds is
            rounding.
        steps: how many steps each item has taken, `(b,)`.
    """

    rows: Tensor
    atoms: Tensor
    z: Tensor
    inverse: Tensor
    steps: Tensor

    def take(self, chosen: Tensor) -> "Supports":
        """Some of the items."""
        return Supports(*[part.index_select(0, chosen) for part in self])


class Gram:
    """The inner products of all atoms, and of an atom of zeros for the empty places.

    Args:
        atoms: `(k + 1, d)`, the last one zero.
    """

    def __init__(self, atoms: Tensor) -> None:
        self.k = len(atoms) - 1
        products = atoms @ atoms.T
        squared = products.diagonal()
        tiny = torch.finfo(atoms.dtype).tiny
        self._scale = squared.amax().clamp(min=tiny)
        squared.add_(_RIDGE[atoms.dtype] * self._scale)
        squared[self.k] = 0
        self._flat = products.flatten()

    def between(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The products of atoms `(b, s)` with atoms `(b, t)`, `(b, s, t)`."""
        at = rows.unsqueeze(2) * (self.k + 1) + columns.unsqueeze(1)
        return self._flat.index_select(0, at.view(-1)).view(at.shape)

    def start(self, at: Supports, slope: Tensor, penalty: float) -> Supports:
        """Codes to start from, improved by a step that drops all that would change their sign.

        Args:
            at: items whose inverse is still missing.
            slope: what their atoms correlate with the residual, `(b, s)`.
            penalty: λ.
        """
        aim = at.z + self.solve(at, slope - penalty * at.z.sign())
        stays = (aim * at.z > 0) & aim.isfinite()
        z, atoms = torch.where(stays, aim, 0), at.atoms.masked_fill(~stays, self.k)
        return self.invert(packed(at._replace(z=z, atoms=atoms), self.k))

    def solve(self, at: Supports, right: Tensor) -> Tensor:
        """What the Gram matrix of an item's atoms maps to `right`, `(b, s)`."""
        products = self.between(at.atoms, at.atoms)
        empty = (at.atoms == self.k).to(products.dtype)
        products.diagonal(dim1=1, dim2=2).add_(empty)
        factor, _ = torch.linalg.cholesky_ex(products)
        return torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)

    def invert(self, at: Supports) -> Supports:
        """With the inverse calculated afresh."""
        products = self.between(at.atoms, at.atoms)
        empty = (at.atoms == self.k).to(products.dtype)
        products.diagonal(dim1=1, dim2=2).add_(empty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(products)[0])
        inverse.diagonal(dim1=1, dim2=2).sub_(empty)
        return at._replace(inverse=inverse)

    def enter(self, at: Supports, entering: Tensor, downhill: Tensor) -> "Entered":
        """Give atoms a place, and find how the inverse changes by its Schur complement.

        Args:
            at: items with an empty place for each atom: their atoms change, their inverse does not.
            entering: `(b, q)`, k for none.
            downhill: what the inverse is also applied to, `(b, s)`; 0 where a place is empty.
        """
        dtype, q = at.inverse.dtype, entering.shape[1]
        new = entering != self.k
        places = _first_empty(at.atoms == self.k, new)
        across = self.between(entering, at.atoms).to(dtype)
        complement = self.between(entering, entering).to(dtype)
        complement.diagonal(dim1=1, dim2=2).add_((~new).to(dtype))
        both = torch.cat([across, downhill.to(dtype).unsqueeze(1)], 1)
        solved, way = torch.bmm(both, at.inverse).split((q, 1), 1)
        shrunk = torch.linalg.inv_ex(complement.sub_(torch.bmm(solved, across.mT))).inverse
        solved.scatter_(2, places.unsqueeze(2), -new.to(dtype).unsqueeze(2))
        # Adding, for an atom that does not enter may share a place with one that does.
        at.atoms.scatter_add_(1, places, entering - self.k)
        return Entered(places, way.squeeze(1), Change(_times(shrunk, solved), solved))

    def update(self, at: Supports, change: "Change") -> None:
        """Add a change to the inverse, and calculate afresh where it may be mostly rounding."""
        at.inverse.baddbmm_(change.left.mT, change.right)
        if change.pivot is not None:
            large = change.pivot * self._scale.to(change.pivot.dtype)
            doubtful = torch.nonzero((large > _DOUBTFUL[large.dtype]).flatten()).flatten()
            if len(doubtful):
                fresh = self.invert(at.take(doubtful)).inverse
                at.inverse.index_copy_(0, doubtful, fresh.to(at.inverse.dtype))


class Change(NamedTuple):
    """What is still to be added to the inverses of some items, as few products of vectors.

    Attributes:
        left: `(b, r, s)`; the change is the sum over r of left times right.
        right: `(b, r, s)`.
        pivot: of the atom that leaves, `(b, 1)`; 0 where none does, None where none may.
    """

    left: Tensor
    right: Tensor
    pivot: Tensor | None = None

    @classmethod
    def none(cls, at: Supports) -> "Change":
        """No change."""
        nothing = at.inverse.new_zeros(len(at.rows), 0, at.atoms.shape[1])
        return cls(nothing, nothing)

    def applied(self, vector: Tensor) -> Tensor:
        """The change times a vector `(b, s)`."""
        share = torch.bmm(self.right, vector.unsqueeze(2))
        return torch.bmm(share.mT, self.left).squeeze(1)

    def leave(self, at: Supports, place: Tensor, leaves: Tensor) -> tuple["Change", Tensor]:
        """The change after an atom of some items has left, too.

        Args:
            at: items whose inverse lacks this change.
            place: of which atom, `(b, 1)`.
            leaves: whether it leaves, `(b, 1)` bool.

        Returns:
            The change, and the row of the inverse at the place over its pivot, `(b, s)`; 0 for
            items that no atom leaves.
        """
        row = at.inverse.gather(1, place.unsqueeze(2).expand(-1, 1, at.atoms.shape[1]))
        at_place = self.left.gather(2, place.unsqueeze(1).expand(-1, self.left.shape[1], 1))
        row = row + torch.bmm(at_place.mT, self.right)
        pivot = row.gather(2, place.unsqueeze(1)).squeeze(1)
        share = row * torch.where(leaves, pivot.reciprocal(), 0).unsqueeze(2)
        left, right = torch.cat([self.left, -share], 1), torch.cat([self.right, row], 1)
        return Change(left, right, pivot * leaves), share.squeeze(1)


class Entered(NamedTuple):
    """What follows from atoms that enter.

    Attributes:
        places: where each has its place, `(b, q)`; for none any place.
        way: the inverse as it was, times the vector given, `(b, s)`.
        change: of the inverse.
    """

    places: Tensor
    way: Tensor
    change: Change


def _first_empty(empty: Tensor, new: Tensor) -> Tensor:
    """An empty place for each of what is new, the first one first, `(b, q)`."""
    wanted = new.cumsum(1).clamp_(min=1)
    return torch.searchsorted(empty.cumsum(1), wanted).clamp_(max=empty.shape[1] - 1)


def _times(a: Tensor, b: Tensor) -> Tensor:
    """The products of small matrices `(n, q, q)` and `(n, q, s)`."""
    total = a[:, :, :1] * b[:, :1]
    for i in range(1, b.shape[1]):
        total.addcmul_(a[:, :, i : i + 1], b[:, i : i + 1])
    return total


def packed(at: Supports, k: int) -> Supports:
    """Items without an inverse yet, with the empty places of each last and no more than needed."""
    empty = at.atoms == k
    width = empty.shape[1] - int(empty.sum(1).amin()) if empty.numel() else 0
    order = empty.to(torch.int8).argsort(dim=1, stable=True)[:, :width]
    return at._replace(atoms=at.atoms.gather(1, order), z=at.z.gather(1, order))


def widened(at: Supports, width: int, k: int) -> Supports:
    """With empty places added up to a width."""
    more = width - at.atoms.shape[1]
    if more <= 0:
        return at
    return at._replace(
        atoms=functional.pad(at.atoms, (0, more), value=k),
        z=functional.pad(at.z, (0, more)),
        inverse=functional.pad(at.inverse, (0, more, 0, more)),
    )


def joined(parts: list[Supports], k: int) -> Supports:
    """All items of several."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.atoms.shape[1] for part in parts)
    wide = [widened(part, width, k) for part in parts]
    return Supports(*[torch.cat(each) for each in zip(*wide, strict=True)])
