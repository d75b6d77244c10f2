"""New digits, drawn from the Gibbs distributions, and how far they are from real ones."""

import torch
from torch import Tensor

from lowland.ask import project, sample, score
from lowland.cli.demo.measures import distance_to_nearest, energy_distance
from lowland.cli.demo.noise import tweedie
from lowland.cli.demo.section import Figures, Line, Picture, Section, Table, line, said
from lowland.cli.demo.settings import NOISE, Settings
from lowland.cli.demo.train import Split, Trained, generator
from lowland.plot import images
from lowland.sample import Langevin

SHOWN = 40
# The chains move by this share of the noise's variance at each step.
STEP = 0.2


def section(split: Split, trained: Trained, settings: Settings, seed: int) -> Section:
    """Draw new digits and measure them against held-out ones."""
    n = settings.draws
    beta = _beta(split.y, trained)
    exact = sample(trained.energies["K-means"], n, beta=beta, generator=generator(seed, 40)).last
    walked = sample(
        trained.energies["Network"],
        n,
        sampler=Langevin(step_size=STEP * NOISE**2),
        steps=1,
        warmup=settings.walk,
        generator=generator(seed, 41),
    ).last
    drawn = {
        "K-means, exact draws": exact,
        "Network, walk and jump": tweedie(trained.energies["Network"], walked),
        "Network, then Autoencoder": project(
            trained.energies["Autoencoder"], tweedie(trained.energies["Network"], walked)
        ),
    }
    others = {
        "pixels drawn one by one": _independent(split.y, n, seed),
        "one Gaussian": _gaussian(split.y, n, seed),
    }
    half = len(split.held_y) // 2
    figures: Figures = {}
    reader = _Reader(split)
    figures["held-out digits"] = reader.measure(split.held_y[:half][:n], split.held_y[half:])
    for name, y in {**drawn, **others}.items():
        figures[name] = reader.measure(y, split.held_y[half:])
    compared = line(
        {name: row for name, row in figures.items() if name != "held-out digits"},
        "two_sample",
        question="New digits",
        label="energy distance",
        ours=tuple(drawn),
        larger=False,
    )
    parts: list[str | Table | Picture] = [
        f"K-means is sampled exactly: a prototype plus normal noise of variance 1/(2 beta), with "
        f"beta = {beta:.3g} from the mean energy of the training digits. The network's chains "
        f"start from noise and walk {settings.walk} Langevin steps in the distribution that "
        f"it learned, that of digits blurred by noise of {NOISE}, and then jump to the mean of the "
        f"clean digits behind where they stand. The third set are those, sent through the "
        f"autoencoder once."
    ]
    for name, y in {**drawn, "the walk itself, before the jump": walked}.items():
        parts.append(
            Picture(
                images(y[:SHOWN], columns=20, limits=(0, 1)),
                f"{name}.",
                f"Small grey images: draws by {name}.",
            )
        )
    parts += [
        Table(
            figures,
            {
                "two_sample": "energy distance",
                "nearest": "to nearest digit",
                "confidence": "reader's confidence",
                "classes": "effective classes",
            },
            "Energy distance to a half of the held-out digits (the first row shows what as many "
            "real digits give); mean distance to the nearest training digit; mean probability "
            "that a logistic regression gives to its first choice (it is often sure of what is no "
            "digit); and how many of the ten classes it sees, as the exponential of their entropy.",
            {"two_sample": "min"},
        ),
        f"{said(compared)} {_losers(figures, compared)}The first row, real digits, is what to "
        "aim at in every column: draws nearer to the training digits than real ones are would be "
        "copies.",
    ]
    return Section("samples", "New digits", parts, figures, [compared])


def _losers(figures: Figures, compared: Line) -> str:
    """Which of the others draw worse than the best yardstick, for only the best is compared."""
    networks = [name for name in figures if name.startswith("Network")]
    worse = [n for n in networks if figures[n]["two_sample"] > compared.reference]
    return f"Worse than that yardstick: {' and '.join(worse)}. " if worse else ""


def _beta(y: Tensor, trained: Trained) -> float:
    """The beta of greatest likelihood for well separated codes: variance = mean energy / d."""
    per_element = float(score(trained.energies["K-means"], y).mean()) / y[0].numel()
    return 1 / (2 * per_element)


def _independent(y: Tensor, n: int, seed: int) -> Tensor:
    """Each pixel from a training digit of its own."""
    flat = y.flatten(1)
    rows = torch.randint(len(flat), (n, flat.shape[1]), generator=generator(seed, 42))
    return flat.gather(0, rows).reshape(n, *y.shape[1:])


def _gaussian(y: Tensor, n: int, seed: int) -> Tensor:
    """From the normal distribution of the training digits' mean and covariance."""
    flat = y.flatten(1).double()
    values, vectors = torch.linalg.eigh(flat.T.cov())
    white = torch.randn(n, flat.shape[1], generator=generator(seed, 43), dtype=torch.float64)
    drawn: Tensor = flat.mean(0) + (white * values.clamp(min=0).sqrt()) @ vectors.T
    return drawn.to(y).reshape(n, *y.shape[1:])


class _Reader:
    """Measures a set of images against real digits."""

    def __init__(self, split: Split) -> None:
        from sklearn.linear_model import LogisticRegression

        self.known = split.y
        self.model = LogisticRegression(C=1.0, max_iter=2000)
        self.model.fit(split.y.flatten(1).numpy(), split.labels.numpy())

    def measure(self, y: Tensor, real: Tensor) -> dict[str, float]:
        """The figures of one set `(n, *event)` beside held-out digits."""
        chances = torch.from_numpy(self.model.predict_proba(y.flatten(1).numpy()))
        share = torch.bincount(chances.argmax(1), minlength=chances.shape[1]).double() / len(y)
        return {
            "two_sample": energy_distance(y, real),
            "nearest": float(distance_to_nearest(y, self.known).mean()),
            "confidence": float(chances.amax(1).mean()),
            "classes": float(torch.special.entr(share).sum().exp()),
        }
