"""Noisy digits projected on the manifold that each energy has learned."""

import math

import torch
from torch import Tensor

from lowland.ask import project
from lowland.cli.demo.measures import psnr
from lowland.cli.demo.section import Figures, Picture, Section, Table, line, said
from lowland.cli.demo.settings import NOISE
from lowland.cli.demo.train import Split, Trained, generator
from lowland.energy import Energy
from lowland.infer import free_energy
from lowland.plot import projections

SHOWN = 12


def section(split: Split, trained: Trained, seed: int) -> Section:
    """Take noise off held-out digits by every energy and every yardstick."""
    y = split.held_y
    noise = torch.randn(y.shape, generator=generator(seed, 30)) * NOISE
    noisy = y + noise
    answers, setting = _ask(noisy, trained.energies)
    components = _best_components(split.y, seed)
    others = {
        "training mean": split.y.mean(0).expand_as(y),
        "nearest training digit": _nearest(noisy, split.y),
        f"PCA, {components} components": _pca(noisy, split.y, components),
    }
    figures: Figures = {}
    for name, answer in {"noisy, as it is": noisy, **answers, **others}.items():
        inside = answer.clamp(0, 1)  # a pixel is known to lie between paper and ink
        figures[name] = {"psnr": psnr(answer, y), "clamped": psnr(inside, y)}
    before = figures["noisy, as it is"]
    for row in figures.values():
        row["gain"] = row["psnr"] - before["psnr"]
        row["gain_clamped"] = row["clamped"] - before["clamped"]
    compared = line(
        figures,
        "psnr",
        question="Noisy digits",
        label="PSNR in dB",
        ours=tuple(answers),
        larger=True,
    )
    gain = figures["Autoencoder"]["gain"]
    few = slice(0, SHOWN)
    parts: list[str | Table | Picture] = [
        f"Normal noise of standard deviation {NOISE} of the range is added to the held-out digits. "
        f"{setting} The autoencoder raises the PSNR from {before['psnr']:.2f} to "
        f"{figures['Autoencoder']['psnr']:.2f} dB, **a gain of {gain:.2f} dB**. The yardsticks are "
        "the mean of the training digits, which does not look at the input at all, the training "
        "digit nearest to the input, and PCA with the number of components that was best on the "
        "training digits."
    ]
    for name in ("K-means, mean over codes", "Autoencoder", "Network"):
        parts.append(
            Picture(
                projections(noisy[few], answers[name][few], y[few], limits=(0, 1)),
                f"{name}: held-out digits, with noise, and projected.",
                f"Three rows of digits: clean, noisy, and what {name} makes of the noisy ones.",
            )
        )
    parts += [
        Table(
            figures,
            {
                "psnr": "PSNR (dB)",
                "gain": "gain (dB)",
                "clamped": "clamped to [0, 1] (dB)",
                "gain_clamped": "gain, both clamped (dB)",
            },
            "Mean PSNR over held-out digits, before and after; a harder comparison clamps every "
            "image to the range first, the noisy ones included.",
            {"psnr": "max", "clamped": "max"},
        ),
        said(compared),
    ]
    return Section("projection", "Noisy digits projected", parts, figures, [compared])


def _ask(noisy: Tensor, energies: dict[str, Energy]) -> tuple[dict[str, Tensor], str]:
    kmeans = energies["K-means"]
    # The Gibbs distribution of K-means is a mixture of Gaussians of variance 1 / (2 beta).
    beta = 1 / (2 * NOISE**2)
    answers = {
        "K-means, nearest": project(kmeans, noisy),
        "K-means, mean over codes": project(kmeans, noisy, beta=beta),
        "Autoencoder": project(energies["Autoencoder"], noisy),
        "Network": tweedie(energies["Network"], noisy),
    }
    setting = (
        f"K-means answers with the nearest prototype, or with the mean over all codes at "
        f"beta = 1/(2σ²) = {beta:g}; the autoencoder with Dec(Enc(y)); the network with one step "
        f"down its slope, y − σ²∇F(y) (Tweedie's formula: the mean of all clean digits that could "
        f"be behind y)."
    )
    return answers, setting


def tweedie(energy: Energy, noisy: Tensor) -> Tensor:
    r"""The mean of the clean items behind noisy ones, where the energy is that of noisy items.

    $$E[y \mid \tilde y] = \tilde y - \sigma^2 \nabla F(\tilde y)$$

    Reference:
        Tweedie's Formula and Selection Bias (Efron, 2011), https://doi.org/10.1198/jasa.2011.tm11181
    """
    points = noisy.detach().requires_grad_()
    (slope,) = torch.autograd.grad(free_energy(energy, points).sum(), points)
    return (points - NOISE**2 * slope).detach()


def _nearest(noisy: Tensor, known: Tensor) -> Tensor:
    return known[torch.cdist(noisy.flatten(1), known.flatten(1)).argmin(1)]


def _pca(noisy: Tensor, known: Tensor, components: int) -> Tensor:
    from sklearn.decomposition import PCA

    pca = PCA(components, svd_solver="full").fit(known.flatten(1).numpy())
    rebuilt = pca.inverse_transform(pca.transform(noisy.flatten(1).numpy()))
    return torch.from_numpy(rebuilt).to(noisy).reshape(noisy.shape)


def _best_components(known: Tensor, seed: int) -> int:
    noise = torch.randn(known.shape, generator=generator(seed, 31)) * NOISE
    found, best = 1, -math.inf
    for components in range(1, known[0].numel()):
        value = psnr(_pca(known + noise, known, components), known)
        if value > best:
            found, best = components, value
    return found
