"""Inside a Voronoi cell F is exactly the squared distance to its prototype."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import lowland as ll

seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    n=st.integers(1, 300),
    k=st.integers(1, 40),
    d=st.integers(1, 20),
    seed=seeds,
    offset=st.sampled_from([0.0, 1.0, 1e4, -1e6]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    twins=st.booleans(),
    far=st.booleans(),
)
@example(n=1, k=1, d=1, seed=0, offset=1e4, scale=1.0, twins=False, far=False)
@example(n=300, k=40, d=1, seed=1, offset=1e6, scale=1e-3, twins=True, far=False)
@example(n=300, k=40, d=5, seed=2, offset=0.0, scale=1.0, twins=True, far=True)
def test_f_is_exactly_the_squared_distance(
    dtype: torch.dtype,
    n: int,
    k: int,
    d: int,
    seed: int,
    offset: float,
    scale: float,
    twins: bool,
    far: bool,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(k, d, dtype=torch.float64, generator=generator) * scale + offset
    y = torch.randn(n, d, dtype=torch.float64, generator=generator) * scale + offset
    if far:
        prototypes[: k // 2] += 1e4 * scale
        y[: n // 3] += 1e4 * scale
    if twins:
        prototypes[k // 2 :] = prototypes[: k - k // 2].clone()
    prototypes, y = prototypes.to(dtype), y.to(dtype)
    found = ll.infer(ll.energies.KMeans(prototypes), y)
    brute = (y.unsqueeze(1) - prototypes).square().sum(-1)
    least = brute.amin(1)
    # The prototype chosen is a nearest one, up to the rounding of a sum of d squares.
    eps = 2 * d * torch.finfo(dtype).eps
    assert (brute.gather(1, found.z.unsqueeze(1)).squeeze(1) <= least * (1 + eps)).all()
    torch.testing.assert_close(found.energy, least, rtol=eps, atol=0)
    at = ll.score(ll.energies.KMeans(prototypes), prototypes)
    assert torch.equal(at, torch.zeros(k, dtype=dtype))


@given(seed=seeds, k=st.integers(2, 12), t=st.floats(0, 1))
def test_f_grows_quadratically_from_the_prototype(seed: int, k: int, t: float) -> None:
    """A cell is star-shaped: on the way from y to its prototype F falls as t²."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(k, 3, dtype=torch.float64, generator=generator)
    y = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    energy = ll.energies.KMeans(prototypes)
    own = ll.project(energy, y)
    between = own + t * (y - own)
    torch.testing.assert_close(
        ll.score(energy, between), t**2 * ll.score(energy, y), rtol=1e-9, atol=1e-14
    )


def test_many_wells_and_many_points_in_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.randn(700, 16, generator=generator)
    y = torch.randn(5000, 16, generator=generator)
    brute = torch.cdist(y.double(), prototypes.double()).argmin(1)
    assert torch.equal(ll.infer(ll.energies.KMeans(prototypes), y).z, brute)
