"""What each code is charged where it decodes to: minus the log of its mass, for a mixture."""

from torch import Tensor

from lowland.capabilities import Decodes, refuse
from lowland.energy import Energy
from lowland.latent import OneHot


def charges(energy: Energy, latent: OneHot, x: Tensor) -> Tensor:
    """E(x, Dec(x, z), z) of every code for items `(n, ...)`, `(n, k)`.

    Raises:
        CapabilityError: the energy does not decode.
    """
    if not isinstance(energy, Decodes):
        raise refuse(
            energy, "The mass of a code", "an energy that is Decodes", "Write decode(z, *, x)."
        )
    codes = latent.codes(x.device).expand(len(x), latent.k)
    wide = x.unsqueeze(1).expand(len(x), latent.k, *x.shape[1:])
    value: Tensor = energy(energy.decode(codes, x=wide), x=wide, z=codes)
    return value
