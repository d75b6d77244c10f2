"""Sparse coding of whole images: a few atoms, each wherever it is needed."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowland._errors import DomainError, ShapeError
from lowland._random import integers, normal, permutation
from lowland._shapes import chunks
from lowland.capabilities import LinearOperator
from lowland.energies._directions import strongest
from lowland.energy import Energy
from lowland.latent import Sparse

# Halvings of the interval that holds the multiplier of an atom's length, down to rounding.
_HALVINGS = 60
# An atom shorter than 1 by more than this is so because nothing pulls it along some direction.
_FREE = 1e-3
# An atom may be unused for want of luck until this many windows of its size have been seen for each
# atom, counted as if they did not overlap.
_PATIENCE = 10


class ConvolutionalSparseCoding(Energy):
    r"""Half the squared distance from an image to atoms laid over it, and a price for each of them.

    $$E(y, z) = \tfrac12 \Big\| y - \sum_m d_m * z_m \Big\|^2 + \lambda \|z\|_1, \qquad
      \|d_m\| = 1$$

    It is `SparseCoding` with a dictionary of every atom at every place, which no longer has to
    spend atoms on the same edge shifted by a pixel. An atom is only laid where all of it is inside
    the image: so each costs the same, and `z` has h − s + 1 by w − s + 1 places. As other latents,
    z is a vector; `maps` gives it the shape `(*batch, k, h − s + 1, w − s + 1)`. Remove the local
    mean of photographs first, or a smooth background will take most of the code.

    Args:
        atoms: d, `(k, channels, s, s)`; or that shape, for random atoms.
        size: height h and width w of the images.
        penalty: λ, not negative, in the units of y.
        generator: the random atoms; torch's default generator if None.

    Raises:
        ShapeError: `atoms` has not four axes, or an atom is larger than the image.
        DomainError: they are not floating point or not finite, or the penalty is negative.

    Reference:
        Learning Convolutional Feature Hierarchies for Visual Recognition (Kavukcuoglu et al.,
        2010), https://papers.nips.cc/paper/4133; Deconvolutional Networks (Zeiler et al., 2010),
        https://doi.org/10.1109/CVPR.2010.5539957

    Example:
        >>> energy = ConvolutionalSparseCoding(torch.ones(1, 1, 2, 2) / 2, (3, 3), penalty=0.5)
        >>> y = torch.zeros(1, 1, 3, 3)
        >>> y[0, 0, :2, :2] = 1.0
        >>> energy.maps(ll.infer(energy, y).z)
        tensor([[[[1.5000, 0.0000],
                  [0.0000, 0.0000]]]])
    """

    def __init__(
        self,
        atoms: Tensor | Sequence[int],
        size: Sequence[int],
        penalty: float = 0.1,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        size = tuple(size)
        if not isinstance(atoms, Tensor):
            atoms = _random(tuple(atoms), generator)
        if atoms.dim() != 4 or 0 in atoms.shape:
            raise ShapeError(
                f"The 'atoms' of ConvolutionalSparseCoding must have shape (k, channels, s, s). "
                f"Got {tuple(atoms.shape)}."
            )
        if len(size) != 2 or any(side < s for side, s in zip(size, atoms.shape[2:], strict=True)):
            raise ShapeError(
                f"The 'size' of ConvolutionalSparseCoding is the height and width of the images, "
                f"no smaller than an atom, {tuple(atoms.shape[2:])}. Got {size}."
            )
        if not (atoms.is_floating_point() and bool(torch.isfinite(atoms).all())):
            raise DomainError(
                f"The 'atoms' of ConvolutionalSparseCoding must hold finite floating-point "
                f"numbers. Got {atoms.dtype}, of which {int((~torch.isfinite(atoms)).sum())} are "
                f"not finite."
            )
        k, channels = atoms.shape[:2]
        places = tuple(side - s + 1 for side, s in zip(size, atoms.shape[2:], strict=True))
        super().__init__((channels, *size), Sparse(k * math.prod(places), float(penalty)))
        self.atoms = nn.Parameter(atoms.detach().clone())
        self.size = size
        self.penalty = float(penalty)
        self.map_shape = (k, *places)

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        k: int = 32,
        *,
        x: Tensor | None = None,
        atom_size: int = 9,
        penalty: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Start the atoms at random windows of the images, scaled to unit norm.

        Args:
            y: the images, `(n, channels, h, w)`.
            k: how many atoms.
            x: not used; the energy is unconditional.
            atom_size: s, the side of an atom.
            penalty: λ.
            generator: which windows are drawn; and random atoms for windows that are all zero.

        Raises:
            ShapeError: y does not hold images, or an atom is larger than they are.
            DomainError: k or `atom_size` is not a positive whole number, or the penalty negative.
        """
        for name, value in (("k", k), ("atom_size", atom_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DomainError(
                    f"'{name}' of ConvolutionalSparseCoding must be a whole number of at least 1. "
                    f"Got {value!r}."
                )
        if y.dim() != 4 or min(y.shape[2:]) < atom_size:
            raise ShapeError(
                f"ConvolutionalSparseCoding models images (n, channels, h, w) no smaller than an "
                f"atom of {atom_size} by {atom_size}. Got {tuple(y.shape)}."
            )
        which = permutation(len(y), generator, like=y).repeat(1 + k // len(y))[:k].tolist()
        top = integers(y.shape[2] - atom_size + 1, (k,), generator, like=y).tolist()
        left = integers(y.shape[3] - atom_size + 1, (k,), generator, like=y).tolist()
        windows = torch.stack(
            [
                y[i, :, a : a + atom_size, b : b + atom_size]
                for i, a, b in zip(which, top, left, strict=True)
            ]
        )
        flat = windows.flatten(1).abs().amax(1) == 0
        windows[flat] = normal(tuple(windows[flat].shape), generator, like=windows)
        return cls(_unit(windows), (y.shape[2], y.shape[3]), penalty)

    def configuration(self) -> dict[str, object]:
        """The atoms, the size and the penalty."""
        return {"atoms": self.atoms, "size": self.size, "penalty": self.penalty}

    def maps(self, z: Tensor) -> Tensor:
        """The code as one map for each atom, `(*batch, k, h − s + 1, w − s + 1)`."""
        return z.reshape(*z.shape[:-1], *self.map_shape)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """E(y, z), `(*batch,)`."""
        code = self.given(z)
        miss = (y - self.decode(code)).flatten(-3).square().sum(-1)
        return miss / 2 + self.penalty * code.abs().sum(-1)

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The sum of all atoms, each as often and wherever z says, `(*batch, channels, h, w)`."""
        flat = self.maps(z).reshape(-1, *self.map_shape)
        decoded = functional.conv_transpose2d(flat, self.atoms)
        return decoded.reshape(*z.shape[:-1], *self.event)

    @torch.no_grad()
    def linear_operator(self) -> LinearOperator:
        """Convolution with the atoms, correlation with them, and the largest gain there is."""
        atoms = self.atoms.detach()

        def apply(z: Tensor) -> Tensor:
            return functional.conv_transpose2d(self.maps(z), atoms.to(z.dtype)).flatten(1)

        def transpose(residual: Tensor) -> Tensor:
            images = residual.reshape(-1, *self.event)
            return functional.conv2d(images, atoms.to(residual.dtype)).flatten(1)

        return LinearOperator(lambda y: y.flatten(1), apply, transpose, self._curvature())

    def _curvature(self) -> float:
        """The largest gain of a frequency: of a torus, on which nothing here ever wraps around."""
        spectrum = torch.fft.rfft2(self.atoms.detach().double(), s=self.size).movedim(
            (2, 3), (0, 1)
        )
        if self.atoms.shape[0] >= self.atoms.shape[1]:
            spectrum = spectrum.mT
        largest = float(torch.linalg.eigvalsh(spectrum @ spectrum.mH)[..., -1].max())
        # Rounding must not make the step too long; atoms that are all zero have any step.
        return max((1 + 1e-6) * largest, torch.finfo(torch.float32).tiny)

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Give every atom unit norm, in place; one of zeros stays."""
        self.atoms.copy_(_unit(self.atoms))

    def statistics(
        self, y: Tensor, z: Tensor | None, *, x: Tensor | None = None
    ) -> dict[str, Tensor]:
        r"""How the maps correlate with one another and with the images, as far as an atom reaches.

        $$\sum_i \sum_u z_{im}(u) \, z_{il}(u + v), \qquad \sum_i \sum_u z_{im}(u) \, y_i(u + v)$$

        And, for atoms that are unused, how what the code leaves unexplained correlates with itself,
        and how many windows there are. Their size depends on the atoms alone, not on the images or
        on how many there are.
        """
        code = self.given(z).detach()
        maps = self.maps(code).double()
        k, (high, wide) = len(self.atoms), self.atoms.shape[2:]
        codes = maps.new_zeros(k, k, 2 * high - 1, 2 * wide - 1)
        products = maps.new_zeros(k, *self.atoms.shape[1:])
        rows = torch.arange(1 - high, high, device=maps.device) % self.size[0]
        columns = torch.arange(1 - wide, wide, device=maps.device) % self.size[1]
        frequencies = self.size[0] * (self.size[1] // 2 + 1)
        for part in chunks(len(y), 2 * 16 * k * frequencies):
            seen = torch.fft.rfft2(maps[part], s=self.size)
            images = torch.fft.rfft2(y[part].detach().double(), s=self.size)
            for some in chunks(k, 3 * 16 * (k + images.shape[1]) * frequencies):
                first = seen[:, some].conj()
                both = torch.cat([seen, images], 1)
                cross = torch.fft.irfft2(torch.einsum("nmfg,nlfg->mlfg", first, both), s=self.size)
                codes[some] += cross[:, :k, rows][..., columns]
                products[some] += cross[:, k:, :high, :wide]
        windows = len(y) * math.prod(self.size) / (high * wide)
        return {
            "codes": codes,
            "products": products,
            "residuals": self._autocorrelation(y.detach() - self.decode(code).detach()),
            "windows": codes.new_tensor(windows),
        }

    def _autocorrelation(self, images: Tensor) -> Tensor:
        """The sum over u of r_c(u) r_e(u + v), as far as an atom reaches, float64."""
        channels, high, wide = self.atoms.shape[1:]
        shape = (self.size[0] + high - 1, self.size[1] + wide - 1)  # no lag wraps around
        total = self.atoms.new_zeros(channels, channels, *shape, dtype=torch.float64)
        for part in chunks(len(images), 3 * 16 * channels * channels * math.prod(shape)):
            spectrum = torch.fft.rfft2(images[part].double(), s=shape)
            cross = torch.einsum("ncfg,nefg->cefg", spectrum.conj(), spectrum)
            total += torch.fft.irfft2(cross, s=shape)
        rows = torch.arange(1 - high, high, device=images.device) % shape[0]
        columns = torch.arange(1 - wide, wide, device=images.device) % shape[1]
        return total[:, :, rows][..., columns]

    def unused(self, statistics: dict[str, Tensor]) -> Tensor | None:
        """The atoms that are laid nowhere; None until enough of the images has been seen."""
        if float(statistics["windows"]) < _PATIENCE * len(self.atoms):
            return None
        return torch.nonzero(self._uses(statistics["codes"]) == 0).flatten()

    def _uses(self, codes: Tensor) -> Tensor:
        """The sum of the squares in each atom's map, `(k,)`."""
        return codes[:, :, self.atoms.shape[2] - 1, self.atoms.shape[3] - 1].diagonal()

    @torch.no_grad()
    def restart_unused(self, statistics: dict[str, Tensor]) -> int:
        """Make unused atoms the strongest parts of the residuals, once enough has been seen.

        The sums then begin a new count of the windows seen, so that an atom has its chance.
        """
        dead = self.unused(statistics)
        if dead is None or len(dead) == 0:
            return 0
        left, shape = statistics["residuals"].double(), self.atoms.shape[1:]
        moments = _moments(left, shape[1], shape[2])
        scale = moments.diagonal().sum() + self._uses(statistics["codes"]).sum()
        found = strongest(moments, len(dead), scale=scale).to(self.atoms.dtype)
        self.atoms[dead[: len(found)]] = found.reshape(-1, *shape)
        statistics["windows"] = torch.zeros_like(statistics["windows"])
        return len(found)

    @torch.no_grad()
    def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
        r"""Minimise over one atom after the other on the unit sphere, in one sweep over them.

        $$d_m \leftarrow \arg\min_{\|d\| = 1} \tfrac12 \langle d, H_m d \rangle
          - \langle p_m, d \rangle$$

        with H_m how an atom laid at several places overlaps itself, and p_m how what the others
        leave correlates with its map.
        """
        codes, products = statistics["codes"].double(), statistics["products"].double()
        atoms = self.atoms.detach().double().clone()
        high, wide = atoms.shape[2:]
        curvatures, axes = torch.linalg.eigh(_overlaps(codes, high, wide))
        border = (wide - 1, wide - 1, high - 1, high - 1)
        for m in torch.nonzero(self._uses(codes) > 0).flatten().tolist():
            others = atoms.clone()
            others[m] = 0
            # Each channel of the atoms is an image in which the correlations are the kernel.
            explained = functional.conv2d(
                functional.pad(others.transpose(0, 1), border), codes[m : m + 1].flip(2, 3)
            )
            pull = (products[m] - explained.squeeze(1)).flatten(1) @ axes[m]
            best = _on_sphere(curvatures[m], pull) @ axes[m].T
            atoms[m] = best.reshape(atoms[m].shape)
        self.atoms.copy_(_unit(atoms))


def _overlaps(codes: Tensor, high: int, wide: int) -> Tensor:
    """The energy's second derivatives in each atom, one channel, `(k, s * s, s * s)`."""
    own = codes.diagonal().movedim(-1, 0)  # (k, 2 s − 1, 2 s − 1)
    return _by_lag(own, high, wide).reshape(len(own), high * wide, -1)


def _moments(autocorrelation: Tensor, high: int, wide: int) -> Tensor:
    """The second moments of all windows, those over the border too, `(c * s * s, c * s * s)`."""
    # The lag from a place in channel c to one in channel e is the second place less the first.
    by_lag = _by_lag(autocorrelation.transpose(0, 1), high, wide)  # (e, c, s, s, s, s)
    flat: Tensor = by_lag.permute(0, 2, 3, 1, 4, 5).reshape(len(autocorrelation) * high * wide, -1)
    return flat


def _by_lag(values: Tensor, high: int, wide: int) -> Tensor:
    """The value at the first place less the second, `(..., s, s, s, s)`, of `(..., lags, lags)`."""
    rows, columns = torch.arange(high), torch.arange(wide)
    down = (rows.unsqueeze(1) - rows + high - 1).to(values.device)
    across = (columns.unsqueeze(1) - columns + wide - 1).to(values.device)
    found: Tensor = values[..., down[:, None, :, None], across[None, :, None, :]]
    return found


def _on_sphere(curvature: Tensor, pull: Tensor) -> Tensor:
    """The d of length 1 that minimises sum(curvature · d²) / 2 − sum(pull · d), like `pull`.

    Where the multiplier μ is right, d = pull / (curvature + μ) has length 1; it falls in μ.
    """
    least = curvature[0]
    rounding = torch.finfo(curvature.dtype).eps * curvature[-1]
    low = torch.linalg.vector_norm(pull[:, 0]).clamp(min=rounding)
    high = torch.linalg.vector_norm(pull).clamp(min=rounding)
    above = curvature - least
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        long = torch.linalg.vector_norm(pull / (above + middle)) > 1
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    d: Tensor = pull / (above + high)
    # Without a pull that way the flattest direction is free, and takes what is left of the length.
    rest = (1 - d.square().sum()).clamp(min=0).sqrt()
    sign = torch.where(d[0, 0] < 0, -1.0, 1.0)
    d[0, 0] += torch.where(rest > _FREE, sign * rest, torch.zeros_like(rest))
    return d


def _unit(atoms: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(atoms.flatten(1), dim=1)
    unit: Tensor = atoms / length.clamp(min=torch.finfo(atoms.dtype).tiny).reshape(-1, 1, 1, 1)
    return unit


def _random(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    if len(shape) != 4 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ShapeError(
            f"The 'atoms' of ConvolutionalSparseCoding must be a tensor or a shape (k, channels, "
            f"s, s) of positive whole numbers. Got {shape!r}."
        )
    return _unit(normal(shape, generator, like=torch.zeros(())))
