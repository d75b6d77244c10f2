"""How hard to look for z."""

from typing import NamedTuple

import torch
from torch import Tensor


class Search(NamedTuple):
    """Options of a search for z; exact methods need none of them.

    Attributes:
        start: codes to start from, `(n, m)`, such as the last ones found; None starts afresh.
        starts: how many points to start from where there may be several minima; None chooses by
            the size of z.
        steps: the most steps an item may take.
        tolerance: the certificate that an item must reach to count as converged.
        generator: random starts; the same at every call if None.
    """

    start: Tensor | None = None
    starts: int | None = None
    steps: int = 1000
    tolerance: float = 1e-6
    generator: torch.Generator | None = None
