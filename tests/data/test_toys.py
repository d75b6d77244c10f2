import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_moons
from torch import Tensor

from lowland._errors import DomainError
from lowland.data import Dataset
from lowland.data.toys import (
    TOYS,
    checkerboard,
    eight_gaussians,
    ellipse,
    horn,
    moons,
    pinwheel,
    ring,
    spiral,
)

Toy = Callable[..., Dataset]
every_toy = pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.__name__)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(y: Tensor, curve: Tensor) -> Tensor:
    """From each point to the nearest of many points on a curve."""
    return torch.cdist(y.double(), curve).amin(1)


def arch(n: int = 4000) -> Tensor:
    angle = torch.linspace(0, math.pi, n, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def spiral_curve(n: int = 5000) -> Tensor:
    angle = torch.linspace(math.pi / 2, 4.5 * math.pi, n, dtype=torch.float64)
    radius = angle / (4.5 * math.pi)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


@every_toy
@given(n=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_shape_and_seed(toy: Toy, n: int, seed: int) -> None:
    first, again = (toy(n, generator=seeded(seed)) for _ in range(2))
    assert first.y.shape == (n, 2)
    assert first.y.dtype == torch.float32
    assert (first.kind, first.names) == ("points", ("y1", "y2"))
    assert torch.equal(first.y, again.y)


@every_toy
def test_other_seeds_differ_and_dtypes_agree(toy: Toy) -> None:
    single = toy(200, generator=seeded(1))
    double = toy(200, generator=seeded(1), dtype=torch.float64)
    other = toy(200, generator=seeded(2))
    assert double.y.dtype == torch.float64
    assert torch.equal(single.y, double.y.float())
    assert not torch.equal(single.y, other.y)
    assert len(toy(generator=seeded())) == 1000


@every_toy
def test_without_a_generator_the_global_seed_decides(toy: Toy) -> None:
    torch.manual_seed(3)
    first = toy(20)
    torch.manual_seed(3)
    assert torch.equal(first.y, toy(20).y)


@every_toy
def test_every_quadrant_has_points(toy: Toy) -> None:
    y = toy(2000, generator=seeded()).y
    centred = y - (y.amax(0) + y.amin(0)) / 2
    quadrants = (centred > 0).long() @ torch.tensor([1, 2])
    assert quadrants.bincount(minlength=4).min() > 150


@every_toy
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "'n' of .* at least 1. Got 0"),
        ({"n": -3}, "at least 1. Got -3"),
        ({"n": True}, "Got True"),
        ({"noise": -0.1}, "'noise' of .* Got -0.1"),
        ({"noise": float("nan")}, "Got nan"),
        ({"noise": float("inf")}, "Got inf"),
        ({"dtype": torch.int64}, "floating point. Got torch.int64"),
    ],
)
def test_bad_options(toy: Toy, options: dict[str, object], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        toy(**options)


@pytest.mark.wrong_types
def test_n_must_be_whole() -> None:
    with pytest.raises(DomainError, match="'n' of ring must be a whole number"):
        ring(2.5)


@pytest.mark.parametrize(
    ("toy", "curve"),
    [
        (spiral, spiral_curve()),
        (ring, torch.cat([arch(), -arch()])),
        (ellipse, torch.cat([arch(), -arch()]) * torch.tensor([2.0, 1.5])),
        (moons, torch.cat([arch(), torch.tensor([1.0, 0.5]) - arch()])),
    ],
    ids=["spiral", "ring", "ellipse", "moons"],
)
def test_noise_is_the_distance_to_the_curve(toy: Toy, curve: Tensor) -> None:
    exact = distance(toy(500, noise=0.0, generator=seeded()).y, curve)
    assert exact.max() < 2e-3
    noisy = distance(toy(2000, noise=0.02, generator=seeded()).y, curve)
    assert noisy.square().mean().sqrt() == pytest.approx(0.02, rel=0.08)


def test_spiral_is_spread_evenly_along_its_arc() -> None:
    curve = spiral_curve()
    steps = (curve[1:] - curve[:-1]).norm(dim=1)
    arc = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)])
    y = spiral(2000, noise=0.0, generator=seeded()).y.double()
    assert y.norm(dim=1).max() <= 1
    along = arc[torch.cdist(y, curve).argmin(1)] / arc[-1]
    counts = torch.histc(along, bins=10, min=0, max=1)
    assert counts.min() > 150
    assert counts.max() < 250


def test_moons_match_scikit_learn() -> None:
    reference, classes = make_moons(2000, noise=None)
    ours = moons(2000, noise=0.0, generator=seeded())
    for label in (0, 1):
        part = torch.from_numpy(reference[classes == label])
        assert distance(ours.y[ours.labels == label], part).max() < 4e-3
    assert ours.labels.float().mean() == pytest.approx(0.5, abs=0.05)


def test_eight_gaussians_means_and_spread() -> None:
    data = eight_gaussians(40_000, generator=seeded())
    for k in range(8):
        part = data.y[data.labels == k]
        mean = torch.tensor([math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)]) * 4 / 1.414
        assert len(part) == pytest.approx(5000, abs=350)
        assert torch.allclose(part.mean(0), mean, atol=0.025)
        assert torch.allclose(part.std(0), torch.full((2,), 0.5 / 1.414), rtol=0.05)


def test_eight_gaussians_entropy_is_the_published_one() -> None:
    angle = math.pi / 4 * torch.arange(8, dtype=torch.float64)
    means = 4 / 1.414 * torch.stack([angle.cos(), angle.sin()], dim=1)
    y = eight_gaussians(100_000, generator=seeded(), dtype=torch.float64).y
    deviation = 0.5 / 1.414
    squares = torch.cdist(y, means).square()
    log_density = (
        torch.logsumexp(-squares / (2 * deviation**2), dim=1)
        - math.log(8)
        - math.log(2 * math.pi * deviation**2)
    )
    # The standard deviation of log p is about 1, so that of the mean about 0.003.
    assert -log_density.mean().item() == pytest.approx(2.832, abs=0.013)


def test_checkerboard_fills_eight_squares_evenly() -> None:
    y = checkerboard(16_000, generator=seeded()).y
    assert y.abs().max() <= 4
    cell = (y / 2).floor().long() + 2
    counts = torch.zeros(4, 4, dtype=torch.int64)
    counts.index_put_((cell[:, 0], cell[:, 1]), torch.tensor(1), accumulate=True)
    even = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    assert counts[~even].sum() == 0
    assert counts[even].min() > 1800
    assert counts[even].max() < 2200


def test_pinwheel_has_five_equal_arms() -> None:
    data = pinwheel(20_000, generator=seeded())
    turned = []
    for k in range(5):
        part = data.y[data.labels == k]
        assert len(part) == pytest.approx(4000, abs=300)
        angle = 2 * math.pi * k / 5
        rotation = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
        turned.append((part @ rotation).mean(0))
    for mean in turned[1:]:
        assert torch.allclose(mean, turned[0], atol=0.06)
    assert data.y.mean(0).norm() < 0.06


def test_pinwheel_unwound_is_gaussian() -> None:
    data = pinwheel(20_000, generator=seeded(), dtype=torch.float64)
    # With no noise across, |y| = 2r, so that the arm can be unwound exactly.
    thin = pinwheel(20_000, noise=0.0, generator=seeded(), dtype=torch.float64)
    r = thin.y.norm(dim=1) / 2
    angle = 2 * math.pi / 5 * thin.labels.double() + torch.exp(r) / 4
    expected = 2 * r[:, None] * torch.stack([angle.cos(), -angle.sin()], dim=1)
    # A normal r falls below 0 once in 2,300 draws, and then |y| = -2r.
    assert (torch.isclose(thin.y, expected).all(1)).double().mean() > 0.998
    assert r.mean() == pytest.approx(1.0, abs=0.01)
    assert r.std() == pytest.approx(0.3, abs=0.01)
    assert (data.y - thin.y).square().sum(1).mean().sqrt() == pytest.approx(0.2, rel=0.03)


def test_horn_is_the_family_of_ellipses() -> None:
    data = horn(3000, noise=0.0, generator=seeded(), dtype=torch.float64)
    assert data.x is not None
    assert data.x.shape == (3000, 1)
    assert data.x.min() >= 0
    assert data.x.max() <= 1
    x = data.x[:, 0]
    first = (1.5 * x + 2 * (1 - x)) * torch.exp(2 * x)
    second = (2 * x + 1.5 * (1 - x)) * torch.exp(2 * x)
    on_ellipse = (data.y[:, 0] / first) ** 2 + (data.y[:, 1] / second) ** 2
    assert torch.allclose(on_ellipse, torch.ones_like(on_ellipse))
    assert data.to(torch.float32).x.dtype == torch.float32


def test_horn_noise() -> None:
    clean = horn(5000, noise=0.0, generator=seeded(), dtype=torch.float64)
    noisy = horn(5000, generator=seeded(), dtype=torch.float64)
    assert (noisy.y - clean.y).std() == pytest.approx(0.05, rel=0.05)
