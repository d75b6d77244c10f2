"""What the chains aim at: an energy of y, its slope by the fastest way, and constraints."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, ShapeError
from lowland._offers import offers
from lowland._random import normal_like
from lowland._recording import Untraceable, fingerprint
from lowland.capabilities import Conditionals, SamplesConditionals
from lowland.energy import Energy
from lowland.latent import NoLatent
from lowland.sample._compiled import refuse
from lowland.sample._flight import Flight, flown
from lowland.sample._threads import Works
from lowland.sample._trace import Bound, Gradient, Recorder, traced
from lowland.sample._walk import Slope, Tour, Walk, stepped, toured
from lowland.sample.constraint import Constraint

Potential = Callable[..., Tensor]
Kick = Callable[[Tensor, Tensor], Tensor]

# Tracing costs as much as some hundreds of calls of a small network, so it waits for so many.
_CALLS_BEFORE_TRACE = 100
# To lay out the weights for a trace takes as long as some calls of it.
_LONG = 32
# Traces of modules outlive the target, for training builds one target a step.
_TRACES: "WeakKeyDictionary[nn.Module, dict[object, Recorder]]" = WeakKeyDictionary()
_WORKS: "WeakKeyDictionary[nn.Module, Works]" = WeakKeyDictionary()
# A block that does nothing about derivatives, for where none are noted anyway.
_NOTHING = nullcontext()


class Target:
    r"""A function of y to draw from, $\exp(-\beta F(y))$, and its slope.

    The slope comes from the first of these that there is: the closed form that the energy offers
    (`lowland.capabilities.Slopes`); a trace of the automatic derivative in which everything that
    does not depend on y is computed once a run; the automatic derivative itself. The trace is made
    after some calls with the same shapes and is used only if it returns the same bits. It follows
    weights, options and modes of a module, and tensors that are its attributes, alone or in a list,
    tuple or dict; a tensor from anywhere else, such as a closure, is changed in place or stays what
    it was when it was traced.

    Args:
        potential: an energy without a latent, or any function from `(n, *event)` to `(n,)`, called
            as `potential(y, x=x)` if an x is given. For an energy with a latent give
            `lowland.FreeEnergy(energy, beta)`.
        x: the condition of each chain, `(chains, ...)`, or None. A batch of k blocks of all chains
            is conditioned on x repeated k times.
        observed: bool, `(*event)` or `(chains, *event)`, True where y is given and must not move.
        bounds: the lowest and the highest value of each element, numbers or tensors that broadcast
            to the event, infinite where there is none.
        trace: whether to trace at all.
        compiled: whether the steps of `Langevin` are compiled for this machine, which takes seconds
            and a C++ compiler, or on a GPU recorded as a CUDA graph, for generators that are there
            too. They agree with the others to rounding. Other samplers refuse.

    Raises:
        CapabilityError: the energy has a latent, or its steps cannot be compiled.
        DomainError: a lower bound is not below its upper one.

    Example:
        >>> target = Target(ll.energies.DoubleWell((2,)))
        >>> energy, gradient = target.slope(torch.tensor([[0.5, 1.0]]))
        >>> gradient
        tensor([[-6.,  1.]])
        >>> target.explain()
        'closed form offered by DoubleWell'
    """

    def __init__(
        self,
        potential: Potential,
        *,
        x: Tensor | None = None,
        observed: Tensor | None = None,
        bounds: tuple[float | Tensor, float | Tensor] | None = None,
        trace: bool = True,
        compiled: bool = False,
    ) -> None:
        if isinstance(potential, Energy) and not isinstance(potential.latent, NoLatent):
            raise CapabilityError(
                f"{type(potential).__name__} has a latent variable, {potential.latent}, and a "
                f"sampler draws y alone. Eliminate it: lowland.FreeEnergy(energy, beta=...)."
            )
        self.potential = potential
        self.x = x
        self.constraint = Constraint(observed, bounds)
        self._constrained = bool(self.constraint)
        self.evaluations = 0
        # Of `Slopes`; to ask for a protocol takes longer than a step, and training makes targets.
        self._closed: Callable[..., tuple[Tensor, Tensor]] | None
        self._closed = getattr(potential, "slope", None)
        self._closed_gradient = getattr(potential, "gradient", None) if self._closed else None
        self._kicker = getattr(potential, "kicker", None) if self._closed else None
        self._trace = trace and self._closed is None
        self.compiled = compiled
        if compiled and (self._constrained or not self._trace):
            refuse("that takes a trace of the automatic derivative, and no bounds or masks")
        self._recorders: dict[object, Recorder] = {}
        self._bound: dict[object, Bound] = {}
        self._last: Recorder | None = None
        # How much work each kind of batch was found to be; `_run` counts and looks at it.
        self.works: Works = {}
        if isinstance(potential, nn.Module):
            self.works = _WORKS.setdefault(potential, self.works)
        self._conditionals: dict[float, Conditionals] = {}
        self._long = False
        self._takes_x = isinstance(potential, Energy) or x is not None

    def energy(self, y: Tensor) -> Tensor:
        """F(y), `(n,)`, without a graph; infinite outside the bounds."""
        with torch.inference_mode(False), torch.no_grad():
            y = _usable(y)
            if not self.constraint.bounded:
                return self._value(y)
            inside, point = self.constraint.split(y)
            value = self._value(point)
            return value if inside is None else torch.where(inside, value, torch.inf)

    def slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """F(y), `(n,)`, and its gradient, `(n, *event)`, which is 0 where y is observed."""
        self.evaluations += y.shape[0]
        if not self._constrained:
            return self._slope(y)
        inside, point = self.constraint.split(y)
        energy, gradient = self._slope(point)
        energy = energy if inside is None else torch.where(inside, energy, torch.inf)
        return energy, self.constraint.release(gradient)

    def gradient(self, y: Tensor) -> Tensor:
        """The gradient alone, `(n, *event)`, for where the energy is not looked at."""
        self.evaluations += y.shape[0]
        _, point = self.constraint.split(y) if self._constrained else (None, y)
        if self._closed is not None:
            alone = self._closed_gradient
            x = self._condition(len(point))
            found = self._closed(point, x=x)[1] if alone is None else alone(point, x=x)
        else:
            trace = self._ready(point)
            found = self._automatic(point)[1] if trace is None else trace.gradient(point)
        return self.constraint.release(found) if self._constrained else found

    @property
    def closed(self) -> bool:
        """Whether the energy offers its slopes in closed form."""
        return self._closed is not None

    def graphless(self, y: Tensor) -> bool:
        """Whether nothing takes derivatives when it is asked for the slopes of points like y."""
        return self._kicker is not None or self.traced(y)

    def traced(self, y: Tensor) -> bool:
        """Whether there is a trace for points like y, so that no other code looks at them."""
        return (y.shape, y.dtype, y.device) in self._bound

    def downhill(self, y: Tensor, calls: int) -> Gradient:
        """The gradient of points like y, with as little around it as there can be.

        What it returns may be written over when it is called again.

        Args:
            y: points `(n, *event)`.
            calls: how often it is going to be called, for all are counted now; no weight may be
                changed in between.
        """
        if type(self) is not Target or self._constrained:
            return self.gradient
        if self._closed is not None:
            x, alone, both = self._condition(len(y)), self._closed_gradient, self._closed
            found = (lambda y: both(y, x=x)[1]) if alone is None else partial(alone, x=x)
        else:
            bound = self._ready(y)
            if bound is None:
                return self.gradient
            # Memory that was made in inference mode may be written to there only.
            found = bound.passing if torch.is_inference_mode_enabled() else bound.gradient
        self.evaluations += calls * len(y)
        return found

    def lends(self, y: Tensor) -> bool:
        """Whether what `downhill` returns for points like y may be written over at once."""
        bound = self._bound.get((y.shape, y.dtype, y.device))
        return bound is not None and bound.own and y.device.type == "cpu" and not self.compiled

    def walk(self, y: Tensor, calls: int) -> Walk:
        """What makes steps downhill with noise, as `downhill` gives the gradient.

        Args:
            y: points `(n, *event)` like those to come.
            calls: how many steps are to come.
        """
        downhill = self.downhill(y, calls)
        bound = self._bound.get((y.shape, y.dtype, y.device))
        if bound is not None and downhill is bound.passing:
            return bound.walk
        return stepped(downhill)

    def tour(self, y: Tensor, calls: int) -> Tour:
        """What makes the same steps as a walk and keeps each, as `steepness` gives the slope."""
        slope = self.steepness(y, calls)
        bound = self._bound.get((y.shape, y.dtype, y.device))
        if bound is not None and slope is bound.slope:
            return bound.tour
        return toured(slope)

    def flight(self, y: Tensor, calls: int) -> Flight:
        """What makes steps of MALA, as `steepness` gives the slope."""
        slope = self.steepness(y, calls)
        bound = self._bound.get((y.shape, y.dtype, y.device))
        if bound is not None and slope is bound.slope:
            return bound.flight(y)
        return flown(slope)

    @property
    def block(self) -> int:
        """How many steps are best made in one go."""
        trace = None if self._last is None else self._last.trace
        return 1 if trace is None else trace.block(compiled=self.compiled)

    def kicks(self, y: Tensor, push: Tensor, calls: int) -> Kick:
        """What takes push times the gradient at its second argument from its first, in place.

        Args:
            y: points `(n, *event)` like those to come.
            push: how much of each element's slope is taken, like one y.
            calls: how often it is going to be called, as in `downhill`.
        """
        if self._kicker is not None and type(self) is Target and not self._constrained:
            self.evaluations += calls * len(y)
            kick: Kick = self._kicker(push, x=self._condition(len(y)))
            return kick
        # Laid out like y, for torch is slower where it has to repeat a row.
        full, downhill = push.expand_as(y).contiguous(), self.downhill(y, calls)
        return lambda velocity, y: velocity.addcmul_(full, downhill(y), value=-1.0)

    def steepness(self, y: Tensor, calls: int) -> Slope:
        """The energy and the gradient of points like y, as `downhill` gives the gradient alone."""
        bound = None
        if type(self) is Target and not self._constrained and self._closed is None:
            bound = self._ready(y)
        if bound is None:
            return self.slope
        self.evaluations += calls * len(y)
        return bound.slope

    def oversees(self, y: Tensor) -> bool:
        """Whether a place without a finite energy cannot have a finite gradient.

        That is known only of a trace, where nothing is constrained.
        """
        if type(self) is not Target or self._constrained or not self.traced(y):
            return False
        bound = self._ready(y)
        return bound is not None and not bound.walled

    def noise(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """Standard normal numbers like y, 0 where y is observed."""
        return self.released(normal_like(y, generator))

    def released(self, moves: Tensor) -> Tensor:
        """What may be added to positions: 0 where y is observed."""
        return self.constraint.release(moves) if self._constrained else moves

    def reflect(self, y: Tensor) -> Tensor:
        """Y folded back into the bounds, as by mirrors on them."""
        return self.constraint.reflect(y) if self.constraint.bounded else y

    def dimension(self, y: Tensor) -> Tensor:
        """How many elements of each chain may move, `(n,)` float."""
        return self.constraint.dimension(y)

    def refresh(self, steps: int = 0) -> None:
        """Look at the energy's weights and options again, as `run` and `advance` do.

        Args:
            steps: how many steps are to come, at the least.
        """
        self._long = steps >= _LONG
        self._bound.clear()
        self._conditionals.clear()
        if isinstance(self.potential, nn.Module):
            self._recorders.clear()

    def conditionals(self, beta: float) -> Conditionals | None:
        """What the energy tells of its hidden units, once a run; None if it tells nothing."""
        found = self._conditionals.get(beta)
        if found is None and offers(self.potential, SamplesConditionals):
            found = self._conditionals[beta] = self.potential.conditionals(beta)
        return found

    def explain(self) -> str:
        """Where slopes come from, and why not from a faster place."""
        if self._closed is not None:
            return f"closed form offered by {type(self.potential).__name__}"
        if not self._trace:
            return "automatic derivative: tracing was not asked for"
        last = self._last
        if last is not None and last.refused is not None:
            return f"automatic derivative: {last.refused}"
        if last is None or last.trace is None:
            return (
                f"automatic derivative: {0 if last is None else last.calls} calls so far, and a "
                f"trace is made at number {_CALLS_BEFORE_TRACE}"
            )
        return last.trace.explain(compiled=self.compiled)

    def _condition(self, n: int) -> Tensor | None:
        if self.x is None or len(self.x) == n:
            return self.x
        if len(self.x) == 0 or n % len(self.x):
            raise ShapeError(
                f"'x' holds {len(self.x)} conditions, one for each chain, and {n} points were "
                f"asked about. Give as many chains as conditions."
            )
        return self.x.repeat(n // len(self.x), *[1] * (self.x.dim() - 1))

    def _value(self, y: Tensor) -> Tensor:
        if not self._takes_x:
            return self.potential(y)
        return self.potential(y, x=self._condition(len(y)))

    def _slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if self._closed is not None:
            with torch.no_grad() if torch.is_grad_enabled() else _NOTHING:
                return self._closed(y, x=self._condition(len(y)))
        trace = self._ready(y)
        return self._automatic(y) if trace is None else trace.slope(y)

    def _automatic(self, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            y = _usable(y).detach().requires_grad_()
            energy = self._value(y)
            if not energy.requires_grad:  # a plain: no slope, so that noise alone moves the chain
                return energy, torch.zeros_like(y)
            (gradient,) = torch.autograd.grad(energy.sum(), y, allow_unused=True)
        return energy.detach(), torch.zeros_like(y) if gradient is None else gradient

    def _ready(self, y: Tensor) -> Bound | None:
        """The trace for batches like y, or None where there is none (yet)."""
        if not self._trace:
            return None
        key = (y.shape, y.dtype, y.device)
        bound = self._bound.get(key)
        if bound is None or bound.stale():
            self._bound.pop(key, None)
            bound = self._bind(key, y)
        return bound

    def _bind(self, key: tuple[object, ...], y: Tensor) -> Bound | None:
        recorder = self._recorders.get(key)
        if recorder is None:
            recorder = self._recorders[key] = self._recorder_of(key)
        self._last = recorder
        if recorder.refused is not None:
            return refuse(recorder.refused) if self.compiled else None
        x = self._condition(len(y))
        if recorder.trace is not None and recorder.trace.displaced():
            recorder.trace, recorder.calls = None, 0
        if recorder.trace is None:
            recorder.calls += 1
            if recorder.calls < _CALLS_BEFORE_TRACE and not self.compiled:
                return None
            with torch.inference_mode(False):
                owner = self.potential if isinstance(self.potential, nn.Module) else None
                found = traced(self._function, _usable(y), x, owner=owner)
            if isinstance(found, Untraceable):
                recorder.refused = found.reason
                return self._bind(key, y)
            recorder.trace = found
        trace, compiled = recorder.trace, self.compiled
        if compiled and (trace.code.walled or y.device.type not in ("cpu", "cuda")):
            refuse(
                "a number that is not finite is written in the energy, or y is on another device"
            )
        bound = trace.bind(x, long=self._long or compiled, compiled=compiled)
        self._bound[key] = bound
        return bound

    def _function(self, y: Tensor, x: Tensor | None) -> Tensor:
        """The energy with x as an input, so that a trace serves every x of that shape."""
        return self.potential(y, x=x) if self._takes_x else self.potential(y)

    def _recorder_of(self, key: tuple[object, ...]) -> Recorder:
        if not isinstance(self.potential, nn.Module):
            return Recorder()
        of_x = None if self.x is None else (self.x.shape, self.x.dtype, self.x.device)
        whole = (key, of_x, fingerprint(self.potential))
        return _TRACES.setdefault(self.potential, {}).setdefault(whole, Recorder())


def _usable(y: Tensor) -> Tensor:
    """Y as a tensor that derivatives can be taken at, which one made in inference mode is not."""
    return y.clone() if y.is_inference() else y
