"""scikit-learn and NumPy as judges."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

import lowland as ll

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SOURCES = {
    "digits": lambda: ll.data.digits().y.double().flatten(1),
    "spiral": lambda: ll.data.spiral(600, generator=seeded()).y.double(),
    "moons": lambda: ll.data.moons(600, generator=seeded()).y.double(),
    "eight_gaussians": lambda: ll.data.eight_gaussians(600, generator=seeded()).y.double(),
    "far from zero": lambda: ll.data.moons(400, generator=seeded()).y.double() + 1e4,
}


def assert_same_as_lloyd(y: torch.Tensor, start: torch.Tensor) -> None:
    energy = ll.energies.KMeans(start)
    fit = ll.fit(energy, y, ll.CoordinateDescent(), steps=500)
    assert fit.converged
    judge = KMeans(
        len(start), init=start.numpy(), n_init=1, max_iter=500, tol=0, algorithm="lloyd"
    ).fit(y.numpy())
    inertia = float(ll.score(energy, y).sum())
    assert inertia == pytest.approx(judge.inertia_, rel=1e-6)
    np.testing.assert_allclose(
        energy.prototypes.detach().numpy(), judge.cluster_centers_, rtol=1e-6, atol=1e-9
    )
    assert np.array_equal(ll.infer(energy, y).z.numpy(), judge.labels_)


def some(y: torch.Tensor, k: int, seed: int) -> torch.Tensor:
    """k data points, moved a little: digits are whole numbers with exact ties, which round off."""
    start = y[torch.randperm(len(y), generator=seeded(seed))[:k]]
    return start + 1e-3 * torch.randn(start.shape, dtype=F64, generator=seeded(seed))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("k", [1, 4, 24])
def test_kmeans_is_lloyd(name: str, k: int) -> None:
    y = SOURCES[name]()
    assert_same_as_lloyd(y, some(y, k, seed=k))


def test_ties_among_digits_go_to_the_first_well() -> None:
    y = SOURCES["digits"]()
    energy = ll.energies.KMeans(y[torch.randperm(len(y), generator=seeded())[:24]])
    centres = energy.prototypes.detach().clone()
    codes = (y.unsqueeze(1) - centres).square().sum(-1).argmin(1)
    centres = torch.stack([y[codes == j].mean(0) for j in range(24)])
    ll.fit(energy, y, ll.CoordinateDescent(), steps=1)
    torch.testing.assert_close(energy.prototypes.detach(), centres, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("empty", [1, 3])
@pytest.mark.parametrize("name", ["digits", "moons"])
def test_kmeans_is_lloyd_from_a_start_with_empty_wells(name: str, empty: int) -> None:
    y = SOURCES[name]()
    start = some(y, 8, seed=7)
    start[:empty] += 1000 * torch.arange(1, empty + 1, dtype=F64).unsqueeze(1)
    assert_same_as_lloyd(y, start)


@pytest.mark.parametrize("columns", ["plain", "constant", "twice", "offset", "units", "few"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_least_squares_is_linear_regression(columns: str, dtype: torch.dtype) -> None:
    n = 4 if columns == "few" else 120
    x = torch.randn(n, 5, dtype=F64, generator=seeded())
    y = x @ torch.randn(5, 3, dtype=F64, generator=seeded(1)) + 2
    y = y + 0.1 * torch.randn(n, 3, dtype=F64, generator=seeded(2))
    if columns == "constant":
        x[:, 2] = 3.0
    if columns == "twice":
        x[:, 4] = x[:, 3]
    if columns == "offset":  # years, or seconds since some day
        x = x + 2000.0
    if columns == "units":  # an income beside a rate
        x = x * torch.tensor([1e4, 1.0, 1e-2, 1e3, 1.0], dtype=F64)
    x, y = x.to(dtype), y.to(dtype)
    energy = ll.energies.LeastSquares.from_data(y, x=x)
    ll.fit(energy, (x, y), ll.CoordinateDescent(), steps=3)
    # Columns to one unit for the judge, which since 1.7 drops directions below 1e-6 of the largest.
    plain = StandardScaler().fit_transform(x.double().numpy())
    judge = LinearRegression().fit(plain, y.double().numpy())
    answer = ll.project(energy, y, x=x).double()
    tolerance = 1e-6 if dtype == F64 else 5e-3 if columns == "offset" else 1e-4
    np.testing.assert_allclose(answer, judge.predict(plain), atol=tolerance)


@pytest.mark.parametrize("case", ["units", "offset"])
def test_least_squares_keeps_a_column_that_is_small_beside_another(case: str) -> None:
    x = torch.randn(200, 2, dtype=F64, generator=seeded())
    if case == "units":
        x = x * torch.tensor([1e8, 1.0], dtype=F64)
        y = x @ torch.tensor([[1e-8], [3.0]], dtype=F64)
    else:
        y = x @ torch.tensor([[1.0], [3.0]], dtype=F64)
        x = x + 1e7
    energy = ll.energies.LeastSquares.from_data(y, x=x)
    ll.fit(energy, (x, y), ll.CoordinateDescent(), steps=3)
    assert float(ll.score(energy, y, x=x).mean()) < 1e-3 * float(y.var())
