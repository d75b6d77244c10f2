"""Steps of MALA that nobody looks at on the way, by torch's own interpreter where it can."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lowland._recording import REFUSALS, interpreted, same
from lowland.sample._metropolis import dot, probability
from lowland.sample._walk import Body, Slope

# Learning of the step slows down to this rate and no further, for in training the energy moves.
RATE = 0.1


class Aim(NamedTuple):
    """What does not change on the way.

    Attributes:
        beta: inverse temperature.
        acceptance: the share of proposals to be taken.
        largest: the logarithm of the longest step, which may be infinite.
    """

    beta: float
    acceptance: float
    largest: float


class Luggage(NamedTuple):
    """What a flight of some steps takes along and changes in place, but for the first two.

    Attributes:
        units: normal numbers, `(steps, chains, *event)`.
        levels: logarithms of uniform numbers, `(steps, chains)`.
        y: where the chains are, `(chains, *event)`.
        energy: `(chains,)`.
        gradient: like y.
        ratios: where the logarithms of the accept test's ratios go, `(steps, chains)`.
        weights: where it goes whether a proposal was taken, 1 or 0, `(steps, chains)`.
    """

    units: Tensor
    levels: Tensor
    y: Tensor
    energy: Tensor
    gradient: Tensor
    ratios: Tensor
    weights: Tensor


# From the logarithm of the step, and how many it has learned from, to those at the end.
Flight = Callable[[Luggage, Aim, float, float], tuple[float, float]]


def flown(slope: Slope) -> Flight:
    """What makes the steps on a slope, in Python."""

    def fly(luggage: Luggage, aim: Aim, log_step: float, learned: float) -> tuple[float, float]:
        units, levels, y, energy, gradient, ratios, weights = luggage
        rows = (part.unbind() for part in (units, levels, ratios, weights, _shaped(weights, y)))
        for unit, level, ratio, weight, shaped in zip(*rows, strict=True):
            eta = math.exp(log_step)
            spread = math.sqrt(2 / aim.beta * eta)
            proposal = torch.add(y, unit, alpha=spread).add_(gradient, alpha=-eta)
            new_energy, new_gradient = slope(proposal)
            both = gradient + new_gradient
            work = dot(both, torch.sub(unit, both, alpha=eta / 2 / spread))
            torch.sub(energy, new_energy, out=ratio).add_(work, alpha=spread / 2)
            if aim.beta != 1:
                ratio.mul_(aim.beta)
            torch.lt(level, ratio, out=weight)
            # Between finite numbers a weight of 0 or 1 gives the one or the other.
            y.lerp_(proposal, shaped)
            gradient.lerp_(new_gradient, shaped)
            energy.lerp_(new_energy, weight)
            learned += 1
            likely = float(probability(ratio, None).sum()) / len(y)
            log_step = paced(log_step, learned, likely, aim)
        return log_step, learned

    return fly


def paced(log_step: float, learned: float, likely: float, aim: Aim) -> float:
    """The logarithm of a shared step after one more proposal, taken with that probability."""
    rate = max(RATE, 1 / math.sqrt(learned))
    return min(aim.largest, log_step + rate * (likely - aim.acceptance))


class Pilot:
    """Flights on one recorded slope, written for the interpreter when the first is asked for.

    Args:
        body: what ends with the energy and the gradient.
    """

    def __init__(self, body: Body) -> None:
        self._body, self._asked = body, False
        self._written: Callable[..., tuple[float, float]] | None = None

    def flight(self, given: Sequence[Tensor], slope: Slope, y: Tensor) -> Flight:
        """A flight with what the slope looks at, from points like y.

        It is the interpreter's if that makes the very same steps from y as Python does.
        """
        plain = flown(slope)
        if not self._asked:
            self._asked, written = True, _written(self._body)
            if written is not None and _agree(_bound(written, given), plain, slope, y):
                self._written = written
        return plain if self._written is None else _bound(self._written, given)


def _bound(written: Callable[..., tuple[float, float]], given: Sequence[Tensor]) -> Flight:
    def fly(luggage: Luggage, aim: Aim, log_step: float, learned: float) -> tuple[float, float]:
        shaped = _shaped(luggage.weights, luggage.y)
        return written(*luggage, shaped, *aim, log_step, learned, *given)

    return fly


def _shaped(weights: Tensor, y: Tensor) -> Tensor:
    """The same memory, to broadcast over y at each step."""
    return weights.reshape(*weights.shape, *[1] * (y.dim() - 1))


def _written(body: Body) -> Callable[..., tuple[float, float]] | None:
    """The loop of `flown` as the interpreter reads it; None if it has no words for the slope."""
    y, (energy, gradient) = body.y, body.outputs
    tensors = [f"{name}_: Tensor" for name in (*Luggage._fields, "shaped")]
    numbers = [f"{name}_: float" for name in (*Aim._fields, "log_step", "learned")]
    given = [f"{name}: Tensor" for name in body.given]
    rows = ("units_", "levels_", "ratios_", "weights_", "shaped_")
    try:
        lines = [
            f"def fly({', '.join([*tensors, *numbers, *given])}) -> Tuple[float, float]:",
            *(f"    {name}all = torch.unbind({name})" for name in rows),
            "    for step_ in range(len(units_all)):",
            "        unit_ = units_all[step_]",
            "        ratio_ = ratios_all[step_]",
            "        weight_ = weights_all[step_]",
            "        eta_ = math.exp(log_step_)",
            "        spread_ = math.sqrt(2 / beta_ * eta_)",
            f"        {y} = torch.add(y_, unit_, alpha=spread_).add_(gradient_, alpha=-eta_)",
            f"        proposal_ = {y}",
            *body.lines(),
            f"        both_ = gradient_ + {gradient}",
            "        rest_ = torch.sub(unit_, both_, alpha=eta_ / 2 / spread_)",
            "        work_ = torch.linalg.vecdot(both_.flatten(1), rest_.flatten(1))",
            f"        torch.sub(energy_, {energy}, out=ratio_).add_(work_, alpha=spread_ / 2)",
            "        if beta_ != 1.0:",
            "            ratio_.mul_(beta_)",
            "        torch.lt(levels_all[step_], ratio_, out=weight_)",
            "        y_.lerp_(proposal_, shaped_all[step_])",
            f"        gradient_.lerp_({gradient}, shaped_all[step_])",
            f"        energy_.lerp_({energy}, weight_)",
            "        learned_ = learned_ + 1.0",
            "        likely_ = float(ratio_.clamp(max=0.0).exp_().sum()) / len(y_)",
            f"        rate_ = max({RATE}, 1 / math.sqrt(learned_))",
            "        log_step_ = min(largest_, log_step_ + rate_ * (likely_ - acceptance_))",
            "    return log_step_, learned_",
        ]
        return interpreted(lines, "fly")
    except REFUSALS:
        return None


def _agree(one: Flight, other: Flight, slope: Slope, y: Tensor) -> bool:
    """Whether two flights from y end alike: on a CPU to the bit."""
    ends: list[tuple[Luggage, tuple[float, float]]] = []
    with torch.inference_mode():
        units = torch.stack([0.5 * y.flip(0), y])
        energy, gradient = slope(y)
        levels = energy.new_tensor([-2.0, -0.5]).unsqueeze(1).repeat(1, len(y))
        aim = Aim(0.5, 0.6, 10.0)
        for flight in (one, other):
            moving = [part.clone() for part in (y, energy, gradient, levels, levels)]
            luggage = Luggage(units, levels, *moving)
            try:
                ends.append((luggage, flight(luggage, aim, -3.0, 5.0)))
            except REFUSALS:
                return False
    (first, numbers), (second, wanted) = ends
    return all(map(same, first, second)) and (numbers == wanted or y.device.type != "cpu")
