"""Timing for the benchmarks: one thread, CPU time, repeats of all contestants in turn."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def one_thread() -> None:
    """Take the threads out of the comparison."""
    torch.set_num_threads(1)


def interleaved(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each contestant.

    They run one after another and round again, so that a slow moment falls on all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def verdict(name: str, value: float, target: float) -> str:
    """One line that says whether a target is met."""
    return f"{name}: {value:.3g}, target ≤ {target:g}: {'met' if value <= target else 'MISSED'}"
