"""Pictures of energies, of their answers and of training, and the report that collects them.

`surfaces` looks at energies in the plane from above, `profiles` along a line through any space,
`grids` shows items and answers, `views` what a pretext task shows of items, `ahead` what may come
next, `traces` what happened over time and how scores spread, `curves` what labels buy; `report`
writes one self-contained page, `films` a film. The others return a matplotlib figure that belongs
to no window: save it with `figure.savefig(...)`.
"""

from lowland.plot._canvas import new_figure
from lowland.plot.ahead import futures
from lowland.plot.curves import label_efficiency
from lowland.plot.films import movie
from lowland.plot.grids import completions, images, projections, prototypes, samples
from lowland.plot.profiles import profile
from lowland.plot.report import Report
from lowland.plot.surfaces import surface, wells
from lowland.plot.traces import histogram, training
from lowland.plot.views import views

__all__ = [
    "Report",
    "completions",
    "futures",
    "histogram",
    "images",
    "label_efficiency",
    "movie",
    "new_figure",
    "profile",
    "projections",
    "prototypes",
    "samples",
    "surface",
    "training",
    "views",
    "wells",
]
