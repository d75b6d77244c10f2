"""`lowland demo`: three energies on real digits, every question, one report.

| file | what it does |
|---|---|
| `settings.py` | how large each part is |
| `section.py` | what a part hands to the report |
| `measures.py` | PSNR, AUROC, two-sample distance |
| `train.py` | the three energies |
| `plane.py`, `halves.py`, `noise.py`, `drawings.py`, `scores.py`, `features.py` | the parts |
| `parts.py` | runs them in order |
| `pages.py` | report.html, figures.json and the summary on the terminal |
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def demo(out: Path = Path("demo"), seed: int = 0, *, quick: bool = False) -> None:
    """Train three energies on real digits, ask them everything, and write `out/report.html`.

    All figures are measured in the run, beside their yardsticks, and kept in `out/figures.json`.
    One seed gives the same figures again on one machine, times aside.

    Args:
        out: the folder for the report, the figures and the trained energies; made if needed.
        seed: all randomness.
        quick: small settings, to see that everything runs; the figures then mean little.

    Raises:
        DomainError: nothing can be written to `out`.
    """
    from rich.console import Console

    from lowland.cli.demo.pages import prepare, summary, write
    from lowland.cli.demo.parts import measure
    from lowland.cli.demo.settings import Settings

    console = Console(highlight=False)
    folder = prepare(out)
    settings = Settings.quick() if quick else Settings()
    with _one_thread():
        sections, seconds = measure(folder, settings, seed, console)
        report = write(folder, sections, seconds, quick=quick)
    console.print(summary(sections))
    total = sum(seconds.values())
    console.print(f"{total:.0f} s. The report: [bold]{report}[/bold]", soft_wrap=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for all arithmetic.

    These networks are too small to share among threads: it slows them down wherever another program
    is running, and sums whose order depends on the number of cores give other figures elsewhere.
    """
    # What is loaded after the limit is set would not feel it: scikit-learn brings scipy's BLAS.
    import sklearn.svm  # noqa: F401
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)
