"""The automatic derivative of an energy as straight-line code, recorded once.

Operations that do not depend on y (transposed weights, the slope of the last layer) move into a
prologue that runs once a run; the rest becomes a Python function of y.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from lowland._recording import (
    REFUSALS,
    Place,
    Recording,
    Untraceable,
    keep_freed_memory,
    lifetimes,
    needed,
    places,
    record,
    rewrite,
    rooms,
    roots,
    same,
    without_changes,
)
from lowland.sample._captured import Captured
from lowland.sample._compiled import Compiler
from lowland.sample._flight import Flight, Pilot
from lowland.sample._walk import (
    Body,
    Slope,
    Tour,
    Walk,
    agree,
    completed,
    stepped,
    tour_of,
    toured,
    walk_of,
)

Function = Callable[[Tensor, Tensor | None], Tensor]
Gradient = Callable[[Tensor], Tensor]

# Devices that record what they are told.
_GRAPHED = ("cuda",)

_VERSION = operator.attrgetter("_version")


class Bound(NamedTuple):
    """A trace with its prologue computed.

    Attributes:
        slope: y to the energy `(n,)` and the gradient `(n, *event)`.
        gradient: y to the gradient alone.
        passing: the same, for who has looked at what it returns when it is called again; in
            inference mode only.
        own: whether what `passing` returns is nothing but its result, that may be written over.
        walk: what moves points y in place, for each of the noises `(steps, *y.shape)` by a step
            times the slope and by a spread times the noise; in inference mode only.
        tour: what makes the same steps and keeps each.
        flight: of points y what makes steps of MALA from there; in inference mode only.
        captured: the tensors that the prologue looked at.
        versions: how often each had been changed in place by then.
        walled: whether a number that is not finite is written into the code, so that an energy may
            be infinite where its slope is finite.
        places: where tensors that were looked at are kept as plain attributes.
    """

    slope: Slope
    gradient: Gradient
    passing: Gradient
    own: bool
    walk: Walk
    tour: Tour
    flight: Callable[[Tensor], Flight]
    captured: tuple[Tensor, ...]
    versions: list[int]
    walled: bool
    places: list[Place]

    def stale(self) -> bool:
        """Whether a tensor was changed in place since, or another one put in its place."""
        if self.places and not all(place.kept() for place in self.places):
            return True
        return list(map(_VERSION, self.captured)) != self.versions


class Trace:
    """The recorded derivative of a function, for one shape, type and device.

    Args:
        recorded: what the recorder noted: inputs y and perhaps x, outputs energy and gradient.
        owner: the module whose function it is, if it is one's.
        rewritten: whether cheaper operations may take the place of recorded ones.

    Raises:
        ValueError: an operation draws random numbers or changes a tensor in place.
    """

    def __init__(
        self, recorded: GraphModule, *, owner: nn.Module | None = None, rewritten: bool = True
    ) -> None:
        without_changes(recorded)
        if rewritten:
            given = next(node for node in recorded.graph.nodes if node.op == "placeholder")
            rewrite(recorded.graph, given)
        self.code = code = Recording(recorded)
        self._places = [] if owner is None else places(owner, code.attributes.values())
        (energy, gradient), inputs = code.outputs, code.inputs
        moving: set[Node] = {inputs[0]}
        body, prologue = [], []
        for node in code.calls:
            if moving.isdisjoint(node.all_input_nodes):
                prologue.append(node)
            else:
                moving.add(node)
                body.append(node)
        both, alone = needed(body, [energy, gradient]), needed(body, [gradient])
        used = {n for node in both for n in node.all_input_nodes} | {energy, gradient}
        fixed = sorted(
            {node.name for node in used if node not in moving} | {node.name for node in inputs[1:]}
        )
        kept = needed(prologue, [node for node in used if node not in moving])
        self.steps, self.hoisted = len(both), len(kept)
        y = inputs[0].name
        reused, self._rooms = rooms(lifetimes(alone, [gradient]))
        everything = [*fixed, *self._rooms]
        names = code.compile(
            [
                f"def prologue({', '.join(['long', *code.attributes, *map(str, inputs[1:])])}):",
                *(f"    {code.line(node)}" for node in kept),
                f"    return [{', '.join(fixed)}]",
                f"def bind({', '.join(fixed)}):",
                f"    def slope({y}):",
                *(f"        {line}" for line in code.lines(both, [energy, gradient])),
                f"        return {energy.name}, {gradient.name}",
                f"    def gradient({y}):",
                *(f"        {line}" for line in code.lines(alone, [gradient])),
                f"        return {gradient.name}",
                "    return slope, gradient",
                f"def bind_passing({', '.join(everything)}):",
                f"    def passing({y}):",
                *(f"        {line}" for line in code.lines(alone, [gradient], reused)),
                f"        return {gradient.name}",
                "    return passing",
            ]
        )
        self._prologue, self._bind = names["prologue"], names["bind"]
        self._bind_passing = names["bind_passing"]
        self._takes_x = len(inputs) > 1
        dense = bool(gradient.meta["val"].is_contiguous())
        self._own = dense and roots(alone).get(gradient) in alone
        self._walk = walk_of(Body(inputs[0], [gradient], reused, everything))
        ends = lifetimes(both, [energy, gradient])
        self._tour = tour_of(Body(inputs[0], [energy, gradient], ends, fixed))
        self._pilot = Pilot(Body(inputs[0], [energy, gradient], ends, fixed))
        self.compiler = (
            Captured(inputs[0], energy, self._bind)
            if gradient.meta["val"].device.type in _GRAPHED
            else Compiler(inputs[0], [energy, gradient], both, fixed)
        )

    def displaced(self) -> bool:
        """Whether another tensor was put in the place of one that was looked at."""
        return not all(place.kept() for place in self._places)

    def bind(self, x: Tensor | None, *, long: bool = True, compiled: bool = False) -> Bound:
        """Compute what does not depend on y, with the weights of the moment.

        Args:
            x: the condition, if there is one.
            long: whether there will be so many calls that it pays to lay out weights for them.
            compiled: whether steps are made by machine code, or by a graph on a GPU.
        """
        attributes = self.code.attributes.values()
        captured = tuple(t for t in attributes if not t.is_inference())
        versions = list(map(_VERSION, captured))
        # Here torch notes nothing for derivatives, which costs as much as a small product.
        keep_freed_memory()
        with torch.inference_mode():
            # Detached, so that no graph is built; the memory, and so the weights, are the same.
            inputs = [tensor.detach() for tensor in attributes]
            fixed = self._prologue(long, *inputs, *([x] if self._takes_x else []))
            kept = [room.empty() for room in self._rooms.values()] if long else []
        slope, gradient = self._bind(*fixed)
        passing = self._bind_passing(*fixed, *kept) if long else gradient
        walk, tour = stepped(passing), toured(slope)
        if long and self._walk is not None and self._tour is not None:
            walk = completed(self._walk, [*fixed, *kept])
            tour = completed(self._tour, fixed)
        if compiled:
            walk, tour = self.compiler.walk(fixed, walk), self.compiler.tour(fixed, tour)
        return Bound(
            slope=slope,
            gradient=gradient,
            passing=passing,
            own=self._own,
            walk=walk,
            tour=tour,
            flight=partial(self._pilot.flight, fixed, slope),
            captured=captured,
            versions=versions,
            walled=self.code.walled,
            places=self._places,
        )

    def explain(self, *, compiled: bool = False) -> str:
        """What is done in a call, and how the steps of Langevin dynamics are made."""
        said = f"{self.steps} operations a call, {self.hoisted} once a run"
        if compiled:
            made = self.compiler
            said += f"; Langevin steps {made.way}, {made.block} at once, in {made.seconds:.1f} s"
        elif self.interpreted:
            said += "; Langevin steps by torch's interpreter"
        return f"trace of the automatic derivative: {said}"

    def block(self, *, compiled: bool) -> int:
        """How many steps of Langevin dynamics are best made in one go.

        On a GPU as many as a graph makes: then traces draw the same noise with one and without.
        """
        if compiled or isinstance(self.compiler, Captured):
            return self.compiler.block
        return 1

    @property
    def interpreted(self) -> bool:
        """Whether torch's own interpreter makes the steps of Langevin dynamics."""
        return self._walk is not None and self._tour is not None

    def check_steps(self, y: Tensor, x: Tensor | None) -> None:
        """Let Python make the steps, if the interpreter does not pass the same places from y."""
        one = self.bind(x)
        walks, tours = (one.walk, stepped(one.passing)), (one.tour, toured(one.slope))
        if not agree(walks, tours, y):
            self._walk = self._tour = None


class Recorder:
    """How often one kind of batch was asked about, and its trace once that was often enough."""

    def __init__(self) -> None:
        self.calls = 0
        self.trace: Trace | None = None
        self.refused: str | None = None


def traced(
    function: Function,
    y: Tensor,
    x: Tensor | None,
    *,
    owner: nn.Module | None = None,
    rewritten: bool = True,
) -> Trace | Untraceable:
    """Record the slope of a function at y, or say why that cannot be done.

    The trace is compared with the automatic derivative at these points: on a CPU it must give the
    same bits, so that whether there is a trace cannot be seen in the draws.
    """
    if x is None:
        recorded = record(lambda y: _slope(function, y, None), y.detach())
    else:
        recorded = record(lambda y, x: _slope(function, y, x), y.detach(), x)
    if isinstance(recorded, Untraceable):
        return recorded
    try:
        trace = Trace(recorded, owner=owner, rewritten=rewritten)
        bound = trace.bind(x)
        for points in (y.detach(), 0.5 * y.detach().flip(0)):
            found, wanted = bound.slope(points), _slope(function, points, x)
            if not all(map(same, found, wanted)):
                raise ValueError("the trace does not give the same values")
    except REFUSALS as error:
        if rewritten:
            return traced(function, y, x, owner=owner, rewritten=False)
        return Untraceable(f"not traceable ({type(error).__name__}: {str(error)[:120]})")
    trace.check_steps(y.detach(), x)
    return trace


def _slope(function: Function, y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        energy = function(y, x)
        (gradient,) = torch.autograd.grad(energy.sum(), y)
    return energy.detach(), gradient
