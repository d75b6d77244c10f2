"""The plane, where an energy can be seen whole: the lecture's spiral, and two moons."""

import functools

import torch
from torch import Tensor

from lowland.ask import score
from lowland.cli.demo.section import Figures, Picture, Section, Table
from lowland.cli.demo.settings import Settings
from lowland.cli.demo.train import generator
from lowland.data import moons, spiral
from lowland.energies import KMeans, Network
from lowland.plot import surface, wells
from lowland.plot._canvas import Figure
from lowland.train import CoordinateDescent, DenoisingScoreMatching, fit

CODES = 20
BETAS = (3.0, 30.0, 150.0)
MOON_NOISE = 0.15


def section(settings: Settings, seed: int) -> Section:
    """Fit K-means to the spiral and a network to two moons, and look at both from above."""
    y = spiral(settings.points, generator=generator(seed, 10)).y
    kmeans = KMeans.from_data(y, k=CODES, generator=generator(seed, 11))
    fit(kmeans, y, CoordinateDescent(), steps=300, generator=generator(seed, 12))
    figures: Figures = {"K-means": _ridges(kmeans, y)}
    parts: list[str | Table | Picture] = [
        f"As in the lecture: K-means with {CODES} codes on a spiral, and its free energy in grey. "
        f"Each prototype is the bottom of a dark well, energy zero; the wells follow the spiral, "
        f"and light ridges stand between its arms and, lower, between neighbours on one arm. The "
        f"energy is zero at {CODES} points only, so nothing has to be pushed up: the volume of "
        f"low energy is limited by the architecture. Half way between a point of the spiral and "
        f"the next arm the energy is on average **{figures['K-means']['ratio']:.1f} times** that "
        f"on the spiral ({figures['K-means']['between']:.3g} against "
        f"{figures['K-means']['on']:.3g}).",
        Picture(
            wells(kmeans, data=y[:500], resolution=settings.resolution),
            f"F(y) of K-means with {CODES} codes; data in pink.",
            "A grey picture of the plane: dark round wells along a spiral, light between its arms.",
        ),
        "The same prototypes at a finite temperature. F_beta blends the codes: hot, there is one "
        "bowl around everything; cooler, the spiral appears; cold, the wells part, and at the end "
        "stands the picture above.",
        Picture(
            _cooling(kmeans, settings),
            "F_beta of the same prototypes from hot to cold.",
            "Three grey pictures: one round bowl, then a blurred spiral, then wells that begin to "
            "part.",
        ),
    ]
    points = moons(settings.points, noise=0.05, generator=generator(seed, 13)).y
    network = Network.from_data(points, hidden=(128, 128), generator=generator(seed, 14))
    fit(
        network,
        points,
        DenoisingScoreMatching(noise=MOON_NOISE),
        steps=settings.plane_steps,
        optimizer=functools.partial(torch.optim.Adam, lr=2e-3),
        generator=generator(seed, 15),
    )
    figures["Network"] = _slopes(network, points, generator(seed, 16))
    parts += [
        "A network with a scalar head, by denoising score matching on two moons. No architecture "
        "limits its volume of low energy; noisy points are pushed up by asking that the slope "
        "there point back to the data. From points moved by noise of "
        f"{MOON_NOISE}, −∇F leads back at an average cosine of "
        f"**{figures['Network']['cosine']:.2f}** with the true way (no estimator can reach 1, for "
        "noise along a moon cannot be seen).",
        Picture(
            surface(network, data=points[:500], resolution=settings.resolution // 2),
            "F(y) of the network, with −∇F.",
            "Contours of an energy that is low along two interleaved half circles, and arrows.",
        ),
    ]
    return Section("plane", "In the plane", parts, figures)


def _cooling(energy: KMeans, settings: Settings) -> Figure:
    """The free energy at growing beta, side by side."""
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=(9.6, 3.0), layout="constrained")
    panels = figure.subplots(1, len(BETAS))
    for panel, beta in zip(panels, BETAS, strict=True):
        wells(energy, beta=beta, resolution=settings.resolution // 2, axes=panel)
    return figure


def _ridges(energy: KMeans, y: Tensor) -> dict[str, float]:
    """Energy on the spiral, and half way outward to the next arm."""
    radius = y.norm(dim=1, keepdim=True)
    # One turn of this spiral is 2 pi of the 9 pi / 2 that reach radius 1.
    half_way = 2 / 9
    inner = radius.squeeze(1) < 1 - 2 * half_way
    between = y[inner] * (1 + half_way / radius[inner])
    on, off = float(score(energy, y[inner]).mean()), float(score(energy, between).mean())
    return {"on": on, "between": off, "ratio": off / on}


def _slopes(energy: Network, y: Tensor, g: torch.Generator) -> dict[str, float]:
    """The cosine between −∇F and the way back from a noisy point to its datum."""
    noise = MOON_NOISE * torch.randn(y.shape, generator=g)
    points = (y + noise).requires_grad_()
    (slope,) = torch.autograd.grad(energy(points).sum(), points)
    return {"cosine": float(torch.cosine_similarity(slope, noise).mean())}
