"""Moving digits go where they say, and their futures are all the futures there are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lowland as ll
from lowland import DomainError, ShapeError
from lowland.data import Futures, bouncing_digits, turning_digits

SPOT = torch.ones(1, 1, 2, 2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def centres(frames: torch.Tensor) -> torch.Tensor:
    """The centre of mass (row, column) of frames `(..., 1, size, size)`."""
    size = frames.shape[-1]
    pixels = torch.arange(size, dtype=frames.dtype)
    mass = frames.sum((-3, -2, -1))
    rows = (frames.sum((-3, -1)) * pixels).sum(-1) / mass
    columns = (frames.sum((-3, -2)) * pixels).sum(-1) / mass
    return torch.stack([rows, columns], -1)


MAKERS = {"turning": turning_digits, "bouncing": bouncing_digits}


@pytest.mark.parametrize("name", MAKERS)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_one_of_the_futures_comes(name: str, seed: int) -> None:
    clips = MAKERS[name](SPOT, 20, size=20, speed=3.0, generator=seeded(seed))
    again = MAKERS[name](SPOT, 20, size=20, speed=3.0, generator=seeded(seed))
    assert all(torch.equal(a, b) for a, b in zip(clips, again, strict=True))
    rows = torch.arange(20)
    assert torch.equal(clips.y, clips.futures[rows, clips.mode])
    assert (clips.weights[rows, clips.mode] > 0).all()
    assert torch.allclose(clips.weights.sum(1), torch.ones(20))
    # Nothing leaves the frame: the whole shape is in each.
    for frames in (clips.x, clips.futures):
        assert torch.allclose(frames.sum((-3, -2, -1)), torch.tensor(4.0), atol=1e-4)


def test_a_digit_goes_straight_and_turns_by_what_was_said() -> None:
    clips = turning_digits(
        SPOT.double(), 50, size=30, past=4, speed=2.5, turns=(0, 90), weights=(1, 1),
        generator=seeded(),
    )  # fmt: skip
    seen, ahead = centres(clips.x), centres(clips.futures)
    steps = seen.diff(dim=1)
    assert torch.allclose(steps.norm(dim=-1), torch.tensor(2.5, dtype=torch.float64))
    assert torch.allclose(steps, steps[:, :1].expand_as(steps))
    after = ahead - seen[:, -1:]
    assert torch.allclose(after[:, 0], steps[:, 0])
    assert torch.allclose((after[:, 1] * steps[:, 0]).sum(-1), torch.zeros(50).double(), atol=1e-9)
    assert torch.allclose(after[:, 1].norm(dim=-1), torch.tensor(2.5, dtype=torch.float64))


def test_modes_come_as_often_as_they_should() -> None:
    n = 4000
    clips = turning_digits(SPOT, n, size=16, speed=2.0, generator=seeded())
    share = clips.mode.bincount(minlength=3) / n
    weights = torch.tensor([0.4, 0.3, 0.3])
    assert ((share - weights).abs() < 5 * (weights * (1 - weights) / n).sqrt()).all()


def test_bounces_are_where_the_next_step_would_leave() -> None:
    clips = bouncing_digits(SPOT.double(), 400, size=16, speed=2.0, past=3, generator=seeded())
    seen = centres(clips.x)
    step = seen[:, -1] - seen[:, -2]
    inside = seen[:, -1] + step
    leaves = ((inside < 0.5 - 1e-9) | (inside > 14.5 + 1e-9)).any(1)
    several = (clips.weights > 0).sum(1)
    assert torch.equal(several == 3, leaves)
    assert 0.1 < leaves.double().mean() < 0.9
    assert torch.allclose(centres(clips.futures)[~leaves, 0], inside[~leaves])


def test_the_mean_is_what_draws_average_to() -> None:
    clips = turning_digits(SPOT, 1, size=16, speed=2.0, generator=seeded())
    expected = sum(w * f for w, f in zip(clips.weights[0], clips.futures[0], strict=True))
    assert torch.allclose(clips.mean()[0], expected)
    assert math.isclose(float(clips.mean().sum()), 4.0, abs_tol=1e-4)


def test_as_data_for_training() -> None:
    clips = turning_digits(SPOT, 7, size=16, speed=2.0, generator=seeded())
    data = clips.dataset()
    assert isinstance(clips, Futures)
    assert data.event == (1, 16, 16)
    assert torch.equal(data.labels, clips.mode)
    assert ll.energies.NextFrame.from_data(data.y, x=data.x, widths=(2,)).past == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 8, "speed": 4.0}, "larger 'size'"),
        ({"size": 1}, "do not fit frames"),
        ({"speed": 0.0}, "positive speed"),
        ({"past": 0}, "past of at least 1"),
    ],
)
@pytest.mark.parametrize("name", MAKERS)
def test_what_cannot_be_is_refused(name: str, options: dict, says: str) -> None:
    with pytest.raises(DomainError, match=says):
        MAKERS[name](SPOT, 3, generator=seeded(), **options)


def test_bad_images_and_turns_are_refused() -> None:
    with pytest.raises(ShapeError, match="'images'"):
        turning_digits(torch.ones(2, 2), 3)
    with pytest.raises(DomainError, match="a weight"):
        turning_digits(SPOT, 3, turns=(0.0, 1.0), weights=(1.0,))
