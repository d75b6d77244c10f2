"""What torch's own interpreter is given: run as it stands, and refused where it has no words."""

import math

import pytest
import torch
from torch import Tensor

from lowland._recording import Untraceable, interpreted, needed, record, spelled
from lowland._recording.code import Recording
from lowland._recording.lifetimes import Last, lifetimes


def body_of(function: object, *inputs: Tensor) -> tuple[Recording, dict[object, Last]]:
    recorded = record(function, *inputs)
    assert not isinstance(recorded, Untraceable)
    code = Recording(recorded)
    return code, lifetimes(needed(code.calls, code.outputs), code.outputs)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: [torch.addmm(y[0], y, y.t()).softmax(1)],
        lambda y: [torch.nn.functional.layer_norm(y, (3,))],
        lambda y: [y.reshape(1, 3, 3).expand(2, -1, -1).sum((0, 1), keepdim=True) * 2 + 1e-3],
        lambda y: [torch.cat(y.split([1, 2], 1)[::-1], 1).detach()],
    ],
)
def test_it_does_what_was_recorded(function: object) -> None:
    y = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    code, body = body_of(function, y)
    fixed = code.attributes
    run = interpreted(
        [
            f"def run({', '.join([code.inputs[0].name, *fixed])}):",
            *(f"    {spelled(node, last)}" for node, last in body.items()),
            f"    return {code.outputs[0].name}",
        ],
        "run",
    )
    for points in (y, 2 * y, y.flip(0)):
        assert torch.equal(run(points, *fixed.values()), function(points)[0])


@pytest.mark.parametrize(
    "function", [lambda y: [y.to(torch.float64)], lambda y: [y.clamp(max=math.inf)]]
)
def test_what_it_has_no_words_for(function: object) -> None:
    _, body = body_of(function, torch.ones(3))
    with pytest.raises(ValueError, match="no word"):
        list(map(spelled, body, body.values()))


def test_what_means_nothing_to_it() -> None:
    with pytest.raises(RuntimeError):
        interpreted(["def run(y):", "    return torch.ops.aten.nothing_of_that_name(y)"], "run")
