"""Samplers against a careful loop written by hand, torchebm, ebmkit and blackjax.

    python benchmarks/sampling.py [WORKLOAD ...]

The workloads: langevin-64, langevin-1000, langevin-784, langevin-conv, hmc, nuts, ess; all if none
is named.

One thread, CPU time, contestants in turn, the median of several repeats. Every figure is the time
of the hand-written eager loop over that of the contestant, so that more is better; the floor is the
same number of bare matrix products, which nothing that evaluates the energy can beat. Peers that
are not installed are left out: `pip install torchebm ebmkit "jax[cpu]" blackjax`.

`hmc`: a Gaussian in 100 dimensions of condition 1,000, 64 chains, 16 leapfrog steps a proposal.
`nuts`: the same surface, its own step size for everyone, no adaptation, at 64 and 512 chains,
gradient evaluations in lock step for a second.
`ess`: least bulk ESS of an element for a gradient of a chain, the warm-up included, 64 chains from
N(0, 1): Gaussians in 100 dimensions turned by a random rotation, a double well of height 8, Neal's
funnel in 10 dimensions, and the eight schools, not centred. What the draws say of themselves is
printed below each figure, for where chains are stuck the ESS means nothing.
"""

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from _measure import interleaved, one_thread
from torch import Tensor, nn

import lowland as ll
from lowland.sample import HMC, MALA, NUTS, Langevin, Target, advance, run
from lowland.sample.convergence import ess_bulk

ETA = 0.01
REPEATS = 7


def perceptron(*sizes: int) -> nn.Sequential:
    """A scalar network with SiLU activations."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def convolutions() -> nn.Sequential:
    """A small network for 28 x 28 images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1),
        nn.SiLU(),
        nn.Conv2d(32, 64, 3, 2, 1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(64 * 49, 1),
    )


def ratios(seconds: dict[str, float], targets: dict[str, float]) -> None:
    """A line for each contestant: its speed over that of the hand-written loop."""
    for name, spent in seconds.items():
        speed = seconds["hand"] / spent
        goal = targets.get(name)
        said = (
            "" if goal is None else f"   target ≥ {goal:g}: {'met' if speed >= goal else 'MISSED'}"
        )
        print(f"  {name:22}{speed:8.2f}{said}")


def langevin(
    net: nn.Sequential, event: tuple[int, ...], chains: int, steps: int, goal: float
) -> None:
    """Unadjusted Langevin steps on a network."""
    energy = ll.energies.Network(net, event)
    start = torch.randn(chains, *event)
    target = Target(energy)

    def hand() -> Tensor:
        y, noise = start.clone(), torch.empty_like(start)
        spread = math.sqrt(2 * ETA)
        for _ in range(steps):
            y.requires_grad_(True)
            (gradient,) = torch.autograd.grad(net(y).sum(), y)
            with torch.no_grad():
                y = y.detach().add_(gradient, alpha=-ETA).add_(noise.normal_(), alpha=spread)
        return y

    contestants: dict[str, Callable[[], object]] = {
        "hand": hand,
        "lowland Langevin": lambda: advance(Langevin(ETA), target, start, steps),
        "lowland, all kept": lambda: run(Langevin(ETA), target, start, steps=steps),
        "lowland MALA": lambda: advance(MALA(ETA), target, start, steps, adapt=False),
    }
    if importlib.util.find_spec("torchebm"):
        contestants["torchebm"] = torchebm(net, start, steps)
    if importlib.util.find_spec("ebm"):
        contestants["ebmkit"] = ebmkit(net, start, steps)
    weights = [layer.weight.detach() for layer in net if isinstance(layer, nn.Linear)]
    if not any(isinstance(layer, nn.Conv2d) for layer in net):
        inputs = [torch.randn(chains, weight.shape[1]) for weight in weights]

        def floor() -> None:
            with torch.inference_mode():
                for _ in range(steps):
                    for x, weight in zip(inputs, weights, strict=True):
                        (x @ weight.T) @ weight

        contestants["(matrix products)"] = floor
    advance(Langevin(ETA), target, start, 120)  # the trace is made once for a network
    ratios(interleaved(contestants, REPEATS), {"lowland Langevin": goal})
    print(f"  {target.explain()}")


def torchebm(net: nn.Module, start: Tensor, steps: int) -> Callable[[], object]:
    """The peer's sampler on the same network."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).squeeze(-1)

    sampler = LangevinDynamics(model=Model(), step_size=ETA, noise_scale=math.sqrt(2.0))
    return lambda: sampler.sample(x=start, n_steps=steps)


def ebmkit(net: nn.Module, start: Tensor, steps: int) -> Callable[[], object]:
    """The other peer's sampler on the same network."""
    from ebm.samplers import LangevinDynamics

    sampler = LangevinDynamics(step_size=ETA)
    return lambda: sampler.sample(lambda y: net(y).squeeze(-1), start, steps=steps)


def rotated(condition: float, d: int = 100) -> Tensor:
    """A covariance with eigenvalues from 1 down to 1 / condition."""
    generator = torch.Generator().manual_seed(1)
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    covariance = (turn * torch.logspace(0, -math.log10(condition), d, dtype=torch.float64)) @ turn.T
    return ((covariance + covariance.T) / 2).float()


def hmc() -> None:
    """Proposals of 16 leapfrog steps."""
    covariance, steps, leaps, epsilon = rotated(1e3), 30, 16, 0.03
    precision = torch.linalg.inv(covariance)
    energy = ll.energies.Gaussian(torch.zeros(100), covariance)
    start = torch.randn(64, 100) @ torch.linalg.cholesky(covariance).T

    def slope(y: Tensor) -> tuple[Tensor, Tensor]:
        y = y.detach().requires_grad_(True)
        value = 0.5 * ((y @ precision) * y).sum(-1)
        (gradient,) = torch.autograd.grad(value.sum(), y)
        return value.detach(), gradient

    def hand() -> Tensor:
        y = start
        value, gradient = slope(y)
        for _ in range(steps):
            p = torch.randn_like(y)
            before = value + 0.5 * p.square().sum(-1)
            at, new, g = y, value, gradient
            for _ in range(leaps):
                p = p - 0.5 * epsilon * g
                at = at + epsilon * p
                new, g = slope(at)
                p = p - 0.5 * epsilon * g
            taken = torch.rand(64).log() < before - new - 0.5 * p.square().sum(-1)
            y = torch.where(taken[:, None], at, y)
            gradient = torch.where(taken[:, None], g, gradient)
            value = torch.where(taken, new, value)
        return y

    def floor() -> None:
        for _ in range(steps * leaps):
            start @ precision

    target = Target(energy)
    sampler = HMC(epsilon, leapfrogs=leaps)
    contestants: dict[str, Callable[[], object]] = {
        "hand": hand,
        "lowland HMC": lambda: advance(sampler, target, start, steps, adapt=False),
        "(matrix products)": floor,
    }
    if importlib.util.find_spec("blackjax"):
        contestants["blackjax"] = blackjax_hmc(precision, start, steps, leaps, epsilon)
    ratios(interleaved(contestants, REPEATS), {"lowland HMC": 6.0})


def blackjax_hmc(
    precision: Tensor, start: Tensor, steps: int, leaps: int, epsilon: float
) -> Callable[[], object]:
    """The peer, compiled and warm."""
    import blackjax
    import jax

    matrix = jax.numpy.asarray(precision.numpy())
    kernel = blackjax.hmc(lambda y: -0.5 * y @ matrix @ y, epsilon, jax.numpy.ones(100), leaps)
    return _compiled(kernel, start, steps)


def _compiled(kernel: object, start: Tensor, steps: int) -> Callable[[], object]:
    """All chains of a blackjax kernel at once, so many steps, as one compiled function."""
    import jax

    states = jax.vmap(kernel.init)(jax.numpy.asarray(start.numpy()))  # type: ignore[attr-defined]

    @jax.jit
    def loop(key: object, states: object) -> object:
        def one(states: object, key: object) -> tuple[object, None]:
            keys = jax.random.split(key, len(start))
            return jax.vmap(kernel.step)(keys, states)[0], None  # type: ignore[attr-defined]

        return jax.lax.scan(one, states, jax.random.split(key, steps))[0]

    key = jax.random.key(0)
    jax.block_until_ready(loop(key, states))
    return lambda: jax.block_until_ready(loop(key, states))


def nuts() -> None:
    """Trajectories a second, the peer's as 1."""
    import blackjax
    import jax

    covariance, epsilon = rotated(1e2), 0.1
    precision = torch.linalg.inv(covariance)
    target = Target(ll.energies.Gaussian(torch.zeros(100), covariance))
    matrix = jax.numpy.asarray(precision.numpy())
    for chains, goal in ((64, 0.5), (512, 1.5)):
        start = torch.randn(chains, 100) @ torch.linalg.cholesky(covariance).T
        kernel = blackjax.nuts(lambda y: -0.5 * y @ matrix @ y, epsilon, jax.numpy.ones(100))
        peer = _compiled(kernel, start, 5)
        ours = partial(advance, NUTS(epsilon), target, start, 5, adapt=False)
        seconds = interleaved({"peer": peer, "ours": ours}, 3)
        speed = seconds["peer"] / seconds["ours"]
        met = "met" if speed >= goal else "MISSED"
        print(f"  {chains} chains: {speed:.2f} of blackjax   target ≥ {goal:g}: {met}")


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


def ess() -> None:
    """Effective draws for a gradient, the warm-up included, from starts of N(0, 1)."""
    for name, make in PROBLEMS.items():
        problem = make()
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(64, problem.size, generator=generator)
        samplers: list[tuple[str, HMC | MALA]] = [("HMC", HMC()), ("MALA", MALA())]
        found, said = {}, {}
        for label, sampler in samplers:
            draws = run(
                sampler, problem.potential, start, steps=500, warmup=500, generator=generator
            )
            found[label] = 1000 * draws.diagnostics.ess_per_gradient
            said[label] = draws.diagnostics.verdicts
        if importlib.util.find_spec("blackjax"):
            found["blackjax ChEES"] = chees(problem, start)
        print(f"  {name}: ESS for 1,000 gradients of a chain")
        for label, value in found.items():
            print(f"    {label:20}{value:8.2f}", flush=True)
            for verdict in said.get(label, ()):
                print(f"      ! {verdict}")
        if problem.judged and "blackjax ChEES" in found:
            met = "met" if found["HMC"] >= found["blackjax ChEES"] else "MISSED"
            print(f"    HMC against blackjax ChEES, target ≥ 1: {met}")
        if name == "double well":
            named = any("stayed in a part" in verdict for verdict in said["MALA"])
            print(f"    chains that stay in one well are named: {'met' if named else 'MISSED'}")


def chees(problem: Problem, start: Tensor) -> float:
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
        jax.random.key(0), jax.numpy.asarray(start.numpy()), 0.1, optax.adam(0.02), 500
    )
    gradients = float(np.asarray(info.info.num_integration_steps).reshape(500, -1)[:, 0].sum())
    step = jax.jit(jax.vmap(blackjax.dynamic_hmc(density, **settings).step))
    kept = []
    for key in jax.random.split(jax.random.key(1), 500):
        states, told = step(jax.random.split(key, chains), states)
        gradients += float(np.asarray(told.num_integration_steps).max())
        kept.append(np.asarray(states.position))
    draws = torch.as_tensor(np.stack(kept, 1))
    return 1000 * float(ess_bulk(draws).min()) / (gradients * chains)


WORKLOADS: dict[str, Callable[[], None]] = {
    "langevin-64": lambda: langevin(perceptron(2, 64, 64, 1), (2,), 64, 400, 4.5),
    "langevin-1000": lambda: langevin(perceptron(2, 64, 64, 1), (2,), 1000, 150, 1.7),
    "langevin-784": lambda: langevin(perceptron(784, 256, 256, 1), (784,), 128, 60, 1.25),
    "langevin-conv": lambda: langevin(convolutions(), (1, 28, 28), 64, 12, 1.0),
    "hmc": hmc,
    "nuts": nuts,
    "ess": ess,
}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []])
    chosen = arguments.parse_args().workloads or list(WORKLOADS)
    one_thread()
    for name in chosen:
        began = time.process_time()
        print(f"{name}: speed, hand-written eager loop = 1")
        WORKLOADS[name]()
        print(f"  ({time.process_time() - began:.0f} CPU seconds)")


if __name__ == "__main__":
    main()
