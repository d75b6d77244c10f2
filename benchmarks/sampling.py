"""Samplers against a careful loop written by hand, torchebm, ebmkit and blackjax.

    python benchmarks/sampling.py [WORKLOAD ...] [--seeds 3]

The workloads: langevin-64, langevin-1000, langevin-784, langevin-conv, hmc, nuts, ess; all if none
is named.

One thread, CPU time, contestants in turn, the median of several repeats. Figures of speed are
the time of the hand-written eager loop over that of the contestant, for `nuts` that of blackjax, so
that more is better; the floor is the same number of bare matrix products (of a convolution those
with its patches, already laid out). `lowland compiled` has its steps compiled beforehand; how long
that took is told below the figures.
Peers that are not installed are left out: `pip install torchebm ebmkit "jax[cpu]" blackjax`.

`hmc`: a Gaussian in 100 dimensions of condition 1,000, 64 chains, 16 leapfrog steps a proposal.
`nuts`: the same surface, its own step size for everyone, no adaptation, at 64 and 512 chains,
gradient evaluations in lock step for a second.
`ess`: least bulk ESS of an element for a gradient of a chain, the warm-up included, 64 chains from
N(0, 1): Gaussians in 100 dimensions turned by a random rotation, a double well of height 8, Neal's
funnel in 10 dimensions, and the eight schools, not centred; the median of `--seeds` runs. What the
draws say of themselves is printed below each figure, for where chains are stuck the ESS means
nothing.
"""

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from _effective_draws import ess, rotated
from _measure import interleaved, one_thread
from torch import Tensor, nn

import lowland as ll
from lowland.sample import HMC, MALA, NUTS, Langevin, Target, advance, run

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


def by_hand(net: nn.Sequential, start: Tensor, steps: int) -> Tensor:
    """Langevin steps as one writes them, with no more than they need."""
    y, noise, spread = start.clone(), torch.empty_like(start), math.sqrt(2 * ETA)
    for _ in range(steps):
        y.requires_grad_(True)
        (gradient,) = torch.autograd.grad(net(y).sum(), y)
        with torch.no_grad():
            y = y.detach().add_(gradient, alpha=-ETA).add_(noise.normal_(), alpha=spread)
    return y


def floor(operands: list[tuple[Tensor, Tensor]], steps: int) -> None:
    """The matrix products of so many steps."""
    with torch.inference_mode():
        for _ in range(steps):
            for x, weight in operands:
                (x @ weight.T) @ weight


def langevin(
    net: nn.Sequential, event: tuple[int, ...], chains: int, steps: int, goal: float
) -> None:
    """Unadjusted Langevin steps on a network."""
    energy = ll.energies.Network(net, event)
    start = torch.randn(chains, *event)
    target = Target(energy)

    contestants: dict[str, Callable[[], object]] = {
        "hand": partial(by_hand, net, start, steps),
        "lowland Langevin": lambda: advance(Langevin(ETA), target, start, steps),
        "lowland, all kept": lambda: run(Langevin(ETA), target, start, steps=steps),
        "lowland MALA": lambda: advance(MALA(ETA), target, start, steps, adapt=False),
    }
    if importlib.util.find_spec("torchebm"):
        contestants["torchebm"] = torchebm(net, start, steps)
    if importlib.util.find_spec("ebm"):
        contestants["ebmkit"] = ebmkit(net, start, steps)
    if importlib.util.find_spec("jax"):
        contestants["JAX"] = jax_langevin(net, start, steps)
    contestants["(matrix products)"] = partial(floor, products(net, start), steps)
    advance(Langevin(ETA), target, start, 120)  # the trace is made once for a network
    compiled = Target(energy, compiled=True)
    try:
        advance(Langevin(ETA), compiled, start, steps)
    except ll.CapabilityError as error:
        print(f"  no lowland compiled: {error}")
    else:
        contestants["lowland compiled"] = lambda: advance(Langevin(ETA), compiled, start, steps)
    ratios(interleaved(contestants, REPEATS), {"lowland Langevin": goal})
    print(f"  {target.explain()}")
    print(f"  compiled: {compiled.explain()}")


def products(net: nn.Sequential, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each layer the operands of its matrix product; a convolution's are its patches."""
    found = []
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                found.append((torch.randn_like(y), layer.weight.detach()))
            y = layer(y)
            if isinstance(layer, nn.Conv2d):
                weight = layer.weight.detach().flatten(1)
                found.append((torch.randn(len(y) * y[0, 0].numel(), weight.shape[1]), weight))
    return found


def jax_langevin(net: nn.Sequential, start: Tensor, steps: int) -> Callable[[], object]:
    """All steps as one compiled function, warm: the same network, step and noise."""
    import jax
    from jax import numpy as np

    def layer_of(layer: nn.Module) -> Callable[[Any], Any]:
        if isinstance(layer, nn.SiLU):
            return jax.nn.silu
        if isinstance(layer, nn.Flatten):
            return lambda y: y.reshape(len(y), -1)
        weight, bias = (np.asarray(part.detach().numpy()) for part in layer.parameters())
        if isinstance(layer, nn.Linear):
            return lambda y: y @ weight.T + bias
        assert isinstance(layer, nn.Conv2d)
        pads = [(size, size) for size in layer.padding]
        convolve = partial(jax.lax.conv_general_dilated, window_strides=layer.stride, padding=pads)
        return lambda y: convolve(y, weight) + bias[:, None, None]

    layers = [layer_of(layer) for layer in net]

    def energy(y: Any) -> Any:
        for layer in layers:
            y = layer(y)
        return y.sum()

    @jax.jit
    def loop(y: Any, key: Any) -> Any:
        def one(y: Any, key: Any) -> tuple[Any, None]:
            noise = jax.random.normal(key, y.shape)
            return y - ETA * jax.grad(energy)(y) + math.sqrt(2 * ETA) * noise, None

        return jax.lax.scan(one, y, jax.random.split(key, steps))[0]

    y, key = np.asarray(start.numpy()), jax.random.key(0)
    with torch.no_grad():
        apart = np.abs(energy(y) - float(net(start).sum()))
    assert apart < 1e-3 * len(start), "the two networks are not the same"
    jax.block_until_ready(loop(y, key))
    return lambda: jax.block_until_ready(loop(y, key))


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


WORKLOADS: dict[str, Callable[[], None]] = {
    "langevin-64": lambda: langevin(perceptron(2, 64, 64, 1), (2,), 64, 400, 4.5),
    "langevin-1000": lambda: langevin(perceptron(2, 64, 64, 1), (2,), 1000, 150, 1.7),
    "langevin-784": lambda: langevin(perceptron(784, 256, 256, 1), (784,), 128, 60, 1.25),
    "langevin-conv": lambda: langevin(convolutions(), (1, 28, 28), 64, 12, 1.0),
    "hmc": hmc,
    "nuts": nuts,
}
UNITS = {"nuts": "speed, blackjax = 1", "ess": "effective draws"}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("workloads", nargs="*", choices=[*WORKLOADS, "ess", []])
    arguments.add_argument("--seeds", type=int, default=3, help="runs of the workload ess")
    given = arguments.parse_args()
    workloads = WORKLOADS | {"ess": partial(ess, given.seeds)}
    chosen = given.workloads or list(workloads)
    one_thread()
    for name in chosen:
        began = time.process_time()
        print(f"{name}: {UNITS.get(name, 'speed, hand-written eager loop = 1')}")
        workloads[name]()
        print(f"  ({time.process_time() - began:.0f} CPU seconds)")


if __name__ == "__main__":
    main()
