"""Halves of No-U-Turn trajectories by a compiled kernel, one call a leapfrog step."""

import ctypes

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from lowland._native import kernels
from lowland.sample._half_trees import Course, End, HalfTrees, Tree
from lowland.sample.hmc import DIVERGENT

_PRECISIONS = (torch.float32, torch.float64)


class _Layout(ctypes.Structure):
    """What the kernel is told once for a half; `half_trees` in C."""

    _fields_ = (
        ("n", ctypes.c_int64),
        ("d", ctypes.c_int64),
        ("beta", ctypes.c_double),
        ("worst", ctypes.c_double),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("forward", "drift", "kick", "at_start", "luck", "y", "half", "p", "marks"),
                *("tree_y", "tree_slope", "tree_energy", "tree_weight", "tree_momentum"),
                *("likely", "leapfrogs", "on", "divergent", "nonfinite"),
            )
        ),
    )


def halves(course: Course) -> HalfTrees:
    """What doubles trajectories, as `HalfTrees` defines it: by the kernel if that takes them."""
    library, energy, drift = kernels(), course.energy, course.drift
    fits = energy.device.type == "cpu" and energy.dtype in _PRECISIONS and drift.numel() > 0
    if library is None or not fits or energy.dtype != drift.dtype:
        return HalfTrees(course)
    return NativeHalfTrees(library, course)


class NativeHalfTrees(HalfTrees):
    """Halves by the kernel.

    Chains that are done stay at a place that has an energy.

    Args:
        library: the kernels.
        course: what all of them share.
        width: which kernel, from 0 to what `lowland_widest` of the library says; None for that.
    """

    def __init__(self, library: ctypes.CDLL, course: Course, width: int | None = None) -> None:
        at_start, drift = course.at_start.contiguous(), course.drift.contiguous()
        super().__init__(course._replace(at_start=at_start, drift=drift))
        self._library = library
        self._width: int = library.lowland_widest() if width is None else width
        self._made = torch.zeros_like(self.energy, dtype=torch.int64)
        self._sum = torch.zeros_like(self.energy)

    def leapfrogs(self) -> Tensor:
        """How many steps each chain made, `(chains,)` int64."""
        return self._made

    def likely(self) -> Tensor:
        """Of each chain's points the sum of how likely they would be taken by themselves."""
        return self._sum

    def extend(
        self, end: End, forward: Tensor, growing: Tensor, drawn: Tensor
    ) -> tuple[End, Tree, Tensor]:
        """Some leapfrog steps onward from an end, as `HalfTrees.extend` makes them."""
        # The kernel reads row after row.
        end = End(*(part.contiguous() for part in end))
        forward, drawn, on = forward.contiguous(), drawn.contiguous(), growing.contiguous().clone()
        sign = torch.where(forward, 1.0, -1.0).to(end.y).unsqueeze(1)
        half = torch.addcmul(end.p, sign * self.kick, end.gradient, value=-0.5)
        y = torch.addcmul(end.y, sign * self.drift, half)
        # What is done stays at its end, where it has an energy.
        y = torch.where(on.unsqueeze(1), y, end.y)
        tree, p = self.begun(end), end.p.clone()
        levels = len(drawn).bit_length()
        marks = p.new_empty(levels, 2, *p.shape)
        tensors = {
            "forward": forward,
            "drift": self.drift,
            "kick": self.kick,
            "at_start": self.at_start,
            "luck": drawn,
            "y": y,
            "half": half,
            "p": p,
            "marks": marks,
            "tree_y": tree.y,
            "tree_slope": tree.gradient,
            "tree_energy": tree.energy,
            "tree_weight": tree.log_weight,
            "tree_momentum": tree.momentum,
            "likely": self._sum,
            "leapfrogs": self._made,
            "on": on,
            "divergent": self.divergent,
            "nonfinite": self.nonfinite,
        }
        layout = _Layout(
            n=len(p),
            d=p.shape[1],
            beta=self.beta,
            worst=DIVERGENT,
            **{name: tensor.data_ptr() for name, tensor in tensors.items()},
        )
        add, told, size = self._library.lowland_leaf, ctypes.addressof(layout), p.element_size()
        last, at = len(drawn) - 1, y.view(self.shape)
        gradient = end.gradient
        for leaf in range(last + 1):
            energy, slope = self.target.slope(at)
            energy, gradient = energy.to(p.dtype).contiguous(), slope.to(p.dtype).contiguous()
            going = add(
                self._width,
                size,
                told,
                energy.data_ptr(),
                gradient.data_ptr(),
                leaf,
                leaf == last,
            )
            if not y.is_inference():
                increment_version(y)  # for who remembers what it found there
            if not going:
                break
        return End(y, p, gradient.reshape(p.shape)), tree, on
