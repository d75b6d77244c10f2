"""The parts in the order of the report, each timed."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lowland.cli.demo import drawings, features, halves, noise, plane, scores
from lowland.cli.demo.section import Section
from lowland.cli.demo.settings import Settings
from lowland.cli.demo.train import section as training_section
from lowland.cli.demo.train import split_digits, train


def measure(
    out: Path, settings: Settings, seed: int, console: Console
) -> tuple[list[Section], dict[str, float]]:
    """Train, ask everything, and return the sections and the seconds that each took."""
    split = split_digits(settings, seed)
    began = time.perf_counter()
    trained = train(split, settings, seed, out)
    console.print(f"three energies trained and saved ({time.perf_counter() - began:.0f} s)")
    makers: dict[str, Callable[[], Section]] = {
        "plane": lambda: plane.section(settings, seed),
        "training": lambda: training_section(split, trained, seed),
        "completion": lambda: halves.section(split, trained, settings, seed),
        "projection": lambda: noise.section(split, trained, seed),
        "samples": lambda: drawings.section(split, trained, settings, seed),
        "scores": lambda: scores.section(split, trained, seed),
        "features": lambda: features.section(split, trained, settings, seed),
    }
    seconds = {"train": time.perf_counter() - began}
    sections = []
    for key, make in makers.items():
        began = time.perf_counter()
        with console.status(f"asking: {key}"):
            made = make()
        seconds[key] = time.perf_counter() - began
        sections.append(made)
        console.print(f"{made.title} ({seconds[key]:.0f} s)")
    return sections, seconds
