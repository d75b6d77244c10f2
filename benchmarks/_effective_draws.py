"""Effective draws for a gradient, and the problems they are measured on."""

import importlib.util
import math
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

import lowland as ll
from lowland.sample import HMC, MALA, run
from lowland.sample.convergence import ess_bulk


def rotated(condition: float, d: int = 100) -> Tensor:
    """A covariance with eigenvalues from 1 down to 1 / condition."""
    generator = torch.Generator().manual_seed(1)
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    covariance = (turn * torch.logspace(0, -math.log10(condition), d, dtype=torch.float64)) @ turn.T
    return ((covariance + covariance.T) / 2).float()


class Problem(NamedTuple):
    """A distribution to draw from.

    Attributes:
        potential: its negative log density, `(n, d)` to `(n,)`.
        density: its log density for jax, `(d,)` to a number, given jax.numpy.
        size: d.
        judged: whether there is a target for it.
    """

    potential: Callable[[Tensor], Tensor]
    density: Callable[[Any, Any], Any]
    size: int
    judged: bool = False


def gaussian(condition: float) -> Problem:
    """A turned Gaussian in 100 dimensions."""
    covariance = rotated(condition)
    precision = torch.linalg.inv(covariance).numpy()
    energy = ll.energies.Gaussian(torch.zeros(100), covariance)
    return Problem(energy, lambda y, _: -0.5 * y @ precision @ y, 100, judged=True)


def funnel(y: Tensor) -> Tensor:
    """Neal's funnel in 10 dimensions: the first sets the width of the others."""
    width = y[:, 0]
    others = y[:, 1:].square().sum(1) * torch.exp(-width) / 2
    return width.square() / 18 + others + 4.5 * width


# Rubin's eight schools: the effect of coaching in each, and its standard error.
EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)


def eight_schools(y: Tensor) -> Tensor:
    """Not centred: mean / 5, log scale, and the schools' deviations in units of the scale.

    The mean is normal with standard deviation 5, the scale half Cauchy with width 5.
    """
    mean, log_scale, away = 5 * y[:, 0], y[:, 1], y[:, 2:]
    theta = mean.unsqueeze(1) + log_scale.exp().unsqueeze(1) * away
    fit = ((theta - torch.tensor(EFFECTS)) / torch.tensor(ERRORS)).square().sum(1) / 2
    prior = torch.log1p((2 * (log_scale - math.log(5))).exp()) - log_scale
    return fit + prior + y[:, 0].square() / 2 + away.square().sum(1) / 2


def schools_density(y: Any, np: Any) -> Any:
    """The same for jax."""
    theta = 5 * y[0] + np.exp(y[1]) * y[2:]
    fit = (((theta - np.array(EFFECTS)) / np.array(ERRORS)) ** 2).sum() / 2
    prior = np.log1p(np.exp(2 * (y[1] - math.log(5)))) - y[1]
    return -(fit + prior + y[0] ** 2 / 2 + (y[2:] ** 2).sum() / 2)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "Gaussian of condition 100": lambda: gaussian(1e2),
    "Gaussian of condition 1,000": lambda: gaussian(1e3),
    "double well": lambda: Problem(
        ll.energies.DoubleWell((2,), height=8.0),
        lambda y, _: -8 * (y[0] ** 2 - 1) ** 2 - y[1] ** 2 / 2,
        2,
    ),
    "funnel": lambda: Problem(
        funnel,
        lambda y, np: -(y[0] ** 2) / 18 - (y[1:] ** 2).sum() * np.exp(-y[0]) / 2 - 4.5 * y[0],
        10,
    ),
    "eight schools": lambda: Problem(eight_schools, schools_density, 10),
}


class Found(NamedTuple):
    """What a sampler gave for one seed.

    Attributes:
        ess: effective draws for 1,000 gradients of a chain.
        verdicts: what its draws say of themselves.
    """

    ess: float
    verdicts: tuple[str, ...] = ()


def ess(seeds: int) -> None:
    """Effective draws for a gradient, the warm-up included, from starts of N(0, 1)."""
    for name, make in PROBLEMS.items():
        problem = make()
        found: dict[str, list[Found]] = {}
        for seed in range(seeds):
            for label, one in contestants(problem, seed).items():
                found.setdefault(label, []).append(one)
        print(f"  {name}: ESS for 1,000 gradients of a chain, median of {seeds} seeds (range)")
        middle = {label: median(one.ess for one in all_) for label, all_ in found.items()}
        for label, all_ in found.items():
            low, high = min(one.ess for one in all_), max(one.ess for one in all_)
            print(f"    {label:20}{middle[label]:8.2f}  ({low:.2f}-{high:.2f})", flush=True)
            for verdict in all_[0].verdicts:
                print(f"      ! first seed: {verdict}")
        if problem.judged and "blackjax ChEES" in found:
            met = "met" if middle["HMC"] >= middle["blackjax ChEES"] else "MISSED"
            print(f"    HMC against blackjax ChEES, target ≥ 1: {met}")
        if name == "double well":
            named = sum(
                any("stayed in a part" in verdict for verdict in one.verdicts)
                for one in found["MALA"]
            )
            met = "met" if named == seeds else "MISSED"
            print(f"    chains that stay in one well are named for {named} of {seeds} seeds: {met}")


def contestants(problem: Problem, seed: int) -> dict[str, Found]:
    """Every sampler from the same starts."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(64, problem.size, generator=generator)
    samplers: list[tuple[str, HMC | MALA]] = [("HMC", HMC()), ("MALA", MALA())]
    found = {}
    for label, sampler in samplers:
        draws = run(sampler, problem.potential, start, steps=500, warmup=500, generator=generator)
        diagnostics = draws.diagnostics
        found[label] = Found(1000 * diagnostics.ess_per_gradient, tuple(diagnostics.verdicts))
    if importlib.util.find_spec("blackjax"):
        found["blackjax ChEES"] = Found(chees(problem, start, seed))
    return found


def chees(problem: Problem, start: Tensor, seed: int) -> float:
    """The peer's adaptation and draws, as many of each."""
    import blackjax
    import jax
    import numpy as np
    import optax

    def density(y: object) -> object:
        return problem.density(y, jax.numpy)

    chains = len(start)
    tune = blackjax.chees_adaptation(density, chains)
    (states, settings), info = tune.run(
        jax.random.key(2 * seed), jax.numpy.asarray(start.numpy()), 0.1, optax.adam(0.02), 500
    )
    gradients = float(np.asarray(info.info.num_integration_steps).reshape(500, -1)[:, 0].sum())
    step = jax.jit(jax.vmap(blackjax.dynamic_hmc(density, **settings).step))
    kept = []
    for key in jax.random.split(jax.random.key(2 * seed + 1), 500):
        states, told = step(jax.random.split(key, chains), states)
        gradients += float(np.asarray(told.num_integration_steps).max())
        kept.append(np.asarray(states.position))
    draws = torch.as_tensor(np.stack(kept, 1))
    return 1000 * float(ess_bulk(draws).min()) / (gradients * chains)
