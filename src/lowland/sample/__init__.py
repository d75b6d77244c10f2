"""Draw from exp(-beta F): a sampler is a frozen configuration with `init` and `step`.

One loop runs them all. A sampler takes any function from `(n, *event)` to `(n,)`; it
knows nothing of energies or latents.
"""

from lowland.sample._run import Diagnostics, Draws, Sampler, run
from lowland.sample.langevin import Langevin, LangevinState

__all__ = ["Diagnostics", "Draws", "Langevin", "LangevinState", "Sampler", "run"]
