"""Hidden halves: what several answers are worth, beside methods that give one."""

import torch
from torch import Tensor

from lowland.ask import Completion, complete
from lowland.cli.demo.measures import distance_to_nearest, rmse
from lowland.cli.demo.section import Figures, Line, Picture, Section, Table, line, said
from lowland.cli.demo.settings import Settings
from lowland.cli.demo.train import Split, Trained, generator
from lowland.energies import KMeans, LeastSquares
from lowland.plot import completions
from lowland.pretext import Given, region
from lowland.train import CoordinateDescent, fit

ANSWERS = 5
SHOWN = 5
# Two answers count as one if their hidden pixels differ by less than this share of the range.
DISTINCT = 0.05
COLUMNS = {
    "best": "RMSE, first answer",
    "oracle": "RMSE, best of 5",
    "mean": "RMSE, mean of 5",
    "contrast": "contrast",
    "class": "still its class",
    "nearest": "to nearest digit",
    "count": "answers found",
}


def section(split: Split, trained: Trained, settings: Settings, seed: int) -> Section:
    """Complete the right halves of held-out digits by every energy and every yardstick."""
    observed = region("left", tuple(split.y.shape[1:]))
    y = split.held_y[: settings.completed]
    hidden = ~observed
    judge = _Judge(split, settings.completed, hidden)
    found = _ask(y, observed, split, trained, settings, seed)
    single = _yardsticks(y, observed, split)
    figures: Figures = {"the digits themselves": judge.quality(y, y)}
    neighbours = {"nearest training halves": _nearest_halves(y, observed, split.y)}
    for name, answers in {**found, **neighbours}.items():
        figures[name] = judge.several(answers, y)
    for name, answer in single.items():
        figures[name] = {
            "best": float(rmse(answer, y, hidden).mean()),
            **judge.quality(answer, y),
            "count": 1.0,
        }
    ours = tuple(found)
    methods = {name: row for name, row in figures.items() if "best" in row}
    first = _line(methods, "best", "RMSE, first answer", ours, False)
    # A single answer is its own best of five.
    offered = {name: {"oracle": row.get("oracle", row["best"])} for name, row in methods.items()}
    several = _line(offered, "oracle", "RMSE, best of 5", ours, False)
    kept = _line(methods, "class", "share still its class", ours, True)
    parts: list[str | Table | Picture] = [
        f"The right half of {len(y)} held-out digits is hidden, and each energy is asked for "
        f"{ANSWERS} answers. K-means looks at every code, so its answers are exact. The other two "
        f"descend from {settings.starts} training digits and keep the separate ends; ends that "
        f"differ by less than {DISTINCT} of the range are one answer, so there may be fewer than "
        f"{ANSWERS}. Where only one is found, the energy has one valley over the hidden half."
    ]
    for name, answers in found.items():
        most = int(answers.count[:SHOWN].max())
        few = Completion(
            answers.y[:SHOWN, :most], answers.energy[:SHOWN, :most], answers.count[:SHOWN]
        )
        blur = {"least squares": single["least squares"][:SHOWN]} if name == "K-means" else None
        parts.append(
            Picture(
                completions(y[:SHOWN], observed, few, yardsticks=blur, limits=(0, 1)),
                f"{name}: answers, best first, with their energies"
                + (", and what least squares says, on the right." if blur else "."),
                f"Rows of digits: the truth, its left half, and the answers of {name}.",
            )
        )
    parts += [
        Table(
            figures,
            COLUMNS,
            "RMSE over the hidden pixels (range 1), averaged over digits. 'Best of 5' chooses with "
            "the truth in hand: it says whether the right answer is among those offered, and a "
            "method with one answer has no choice. Contrast: "
            "spread of the hidden pixels over that of the truth. 'Still its class': share that a "
            "support vector classifier of the training digits reads as the right class. 'To "
            "nearest digit': distance of the whole to the nearest training digit; a blur can be "
            "near too.",
            {"best": "min", "oracle": "min", "mean": "min", "class": "max"},
        ),
        f"{said(first)} {said(several)} {said(kept)}",
        f"An average of possible answers is nearer to the truth on average than each of them, and "
        f"blurred: RMSE alone rewards that. Of the contrast of the truth, least squares keeps "
        f"{figures['least squares']['contrast']:.0%}, KNNImputer (a mean of 5 neighbours) "
        f"{figures['KNNImputer']['contrast']:.0%}, the first answer of K-means "
        f"{figures['K-means']['contrast']:.0%}. Found were {_counts(figures, ours)} distinct "
        f"answers a digit.",
    ]
    return Section("completion", "Hidden halves completed", parts, figures, [first, several, kept])


def _counts(figures: Figures, names: tuple[str, ...]) -> str:
    return ", ".join(f"{figures[name]['count']:.3g} ({name})" for name in names)


def _line(figures: Figures, measure: str, label: str, ours: tuple[str, ...], larger: bool) -> Line:
    return line(figures, measure, question="Hidden halves", label=label, ours=ours, larger=larger)


class _Judge:
    """Measures answers against the truth and against the training digits."""

    def __init__(self, split: Split, count: int, hidden: Tensor) -> None:
        from sklearn.svm import SVC

        self.known, self.hidden = split.y, hidden
        self.labels = split.held_labels[:count]
        self.classifier = SVC(C=10.0).fit(split.y.flatten(1).numpy(), split.labels.numpy())

    def quality(self, answer: Tensor, y: Tensor) -> dict[str, float]:
        """How like a digit one answer an item is, `(n, *event)`."""
        read = torch.from_numpy(self.classifier.predict(answer.flatten(1).numpy()))
        return {
            "contrast": float(answer[:, self.hidden].std() / y[:, self.hidden].std()),
            "class": float((read == self.labels).double().mean()),
            "nearest": float(distance_to_nearest(answer, self.known).mean()),
        }

    def several(self, answers: Completion, y: Tensor) -> dict[str, float]:
        """The same of the first of several answers, and what the others add."""
        missing = answers.energy.isinf()
        errors = rmse(answers.y, y.unsqueeze(1), self.hidden).masked_fill(missing, torch.inf)
        mean = answers.y.nanmean(1)
        return {
            "best": float(errors[:, 0].mean()),
            "oracle": float(errors.amin(1).mean()),
            "mean": float(rmse(mean, y, self.hidden).mean()),
            **self.quality(answers.y[:, 0], y),
            "count": float(answers.count.double().mean()),
        }


def _ask(
    y: Tensor, observed: Tensor, split: Split, trained: Trained, settings: Settings, seed: int
) -> dict[str, Completion]:
    order = torch.randperm(len(split.y), generator=generator(seed, 20))
    starts = split.y[order[: settings.starts]]
    found = {}
    for part, (name, energy) in enumerate(trained.energies.items(), start=21):
        found[name] = complete(
            energy,
            y,
            observed=observed,
            n=ANSWERS,
            # K-means needs none: each of its codes proposes an answer.
            starts=None if isinstance(energy, KMeans) else starts,
            steps=settings.descent,
            distinct=DISTINCT,
            generator=generator(seed, part),
        )
    return found


def _nearest_halves(y: Tensor, observed: Tensor, known: Tensor) -> Completion:
    """The hidden halves of the training digits whose visible halves are nearest, best first."""
    distance = torch.cdist(y[:, observed], known[:, observed]).square()
    energy, rows = distance.topk(ANSWERS, largest=False)
    answers = torch.where(observed, y.unsqueeze(1), known[rows])
    return Completion(answers, energy, torch.full((len(y),), ANSWERS))


def _yardsticks(y: Tensor, observed: Tensor, split: Split) -> dict[str, Tensor]:
    """One answer an item from each method of the field, `(n, *event)`."""
    from sklearn.impute import KNNImputer

    halves = Given(observed)
    known, asked = halves.split(split.y), halves.split(y)
    squares = LeastSquares.from_data(known.y, x=known.x)
    fit(squares, known, CoordinateDescent(), steps=2, progress=False)
    with torch.no_grad():
        predicted = squares.reconstruct(asked.y, x=asked.x)
    rows = split.y.flatten(1)
    blank = y.masked_fill(~observed, torch.nan).flatten(1)
    neighbours = KNNImputer(n_neighbors=5).fit(rows.numpy()).transform(blank.numpy())
    return {
        "least squares": halves.join(asked.x, predicted),
        "KNNImputer": torch.from_numpy(neighbours).to(y).reshape(y.shape),
        "IterativeImputer": _iterative(rows, blank).to(y).reshape(y.shape),
        "mean filling": torch.where(observed, y, split.y.mean(0)),
    }


def _iterative(rows: Tensor, blank: Tensor) -> Tensor:
    """Chained Bayesian ridge regressions, on training and held-out rows `(n, d)` together."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer
    from sklearn.linear_model import BayesianRidge

    # Only columns with holes are regressed, each on all others, until nothing moves by a twentieth.
    imputer = IterativeImputer(
        BayesianRidge(), max_iter=30, tol=0.05, skip_complete=True, random_state=0
    )
    filled = imputer.fit_transform(torch.cat([rows, blank]).numpy())
    return torch.from_numpy(filled[len(rows) :])
