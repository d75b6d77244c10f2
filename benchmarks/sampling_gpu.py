"""Langevin chains on a GPU: as a CUDA graph, against an eager loop written by hand, and JAX.

    python benchmarks/sampling_gpu.py [WORKLOAD ...] [--device cuda]

The workloads are those of `sampling.py`, and so are the contestants' loops. Wall-clock time until
the device is done, contestants in turn, the median of several repeats; capturing and compiling are
done beforehand and told below the figures. Figures are the time of the hand-written loop over that
of the contestant, so that more is better; the floor is the same number of bare matrix products, one
after another. JAX takes part where it finds a GPU of its own: `pip install "jax[cuda12]"`.
`--device cpu` tries the benchmark itself.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from _measure import one_thread
from sampling import ETA, by_hand, convolutions, floor, jax_langevin, perceptron, products
from torch import nn

import lowland as ll
from lowland.sample import Langevin, Target, advance

REPEATS = 9
WORKLOADS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], int, int]] = {
    "langevin-64": (partial(perceptron, 2, 64, 64, 1), (2,), 64, 1024),
    "langevin-1000": (partial(perceptron, 2, 64, 64, 1), (2,), 1000, 1024),
    "langevin-784": (partial(perceptron, 784, 256, 256, 1), (784,), 128, 512),
    "langevin-conv": (convolutions, (1, 28, 28), 64, 512),
}


def measured(contestants: dict[str, Callable[[], object]], device: torch.device) -> None:
    """Print the ratios of median times."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(REPEATS + 1):
        for name, work in contestants.items():
            began = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:  # the first is for what is made once
                seconds[name].append(time.perf_counter() - began)
    times = {name: statistics.median(each) for name, each in seconds.items()}
    for name, took in times.items():
        print(f"  {name:<24}{times['hand'] / took:6.2f}   ({1e3 * took:.1f} ms)")


def langevin(name: str, device: torch.device) -> None:
    """One workload."""
    make, event, chains, steps = WORKLOADS[name]
    net, start = make().to(device), torch.randn(chains, *event, device=device)
    energy = ll.energies.Network(net, event).to(device)
    traced, graphed = Target(energy), Target(energy, compiled=True)
    contestants: dict[str, Callable[[], object]] = {
        "hand": partial(by_hand, net, start, steps),
        "lowland, eager": partial(
            advance, Langevin(ETA), Target(energy, trace=False), start, steps
        ),
        "lowland, trace": partial(advance, Langevin(ETA), traced, start, steps),
        "lowland, compiled": partial(advance, Langevin(ETA), graphed, start, steps),
        "(matrix products)": partial(floor, products(net, start), steps),
    }
    if importlib.util.find_spec("jax"):
        import jax

        if (jax.default_backend() == "gpu") == (device.type == "cuda"):
            contestants["JAX"] = jax_langevin(net.cpu(), start.cpu(), steps)
            net.to(device)
    measured(contestants, device)
    print(f"  compiled: {graphed.explain()}")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []])
    arguments.add_argument("--device", default="cuda")
    given = arguments.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here. --device cpu tries the benchmark itself.")
    if device.type == "cpu":
        one_thread()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    for name in given.workloads or WORKLOADS:
        print(f"{name} on {where}: speed, hand-written eager loop = 1")
        langevin(name, device)


if __name__ == "__main__":
    main()
