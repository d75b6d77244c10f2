"""Units of the data."""

import math

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import lowland as ll

F64 = torch.float64


def data(n: int = 40, d: int = 3) -> torch.Tensor:
    y = torch.randn(n, d, dtype=F64, generator=torch.Generator().manual_seed(0))
    return y * torch.tensor([1.0, 100.0, 1e-3], dtype=F64) + torch.tensor([0.0, 1e4, 5.0])


@pytest.mark.parametrize(
    ("method", "oracle"), [("standard", StandardScaler), ("range", MinMaxScaler)]
)
def test_equals_scikit_learn(method: str, oracle: type) -> None:
    y = data()
    scaling = ll.Scaling.from_data(y, method)
    np.testing.assert_allclose(scaling(y), oracle().fit_transform(y.numpy()), atol=1e-9)
    torch.testing.assert_close(scaling.inverse(scaling(y)), y)


def test_an_image_has_one_unit() -> None:
    y = data(48).reshape(24, 1, 2, 3)
    scaling = ll.Scaling.from_data(y, "range")
    assert scaling.shift.shape == scaling.scale.shape == ()
    assert float(scaling(y).min()) == 0
    assert float(scaling(y).max()) == 1


def test_none_changes_nothing() -> None:
    y = data()
    assert torch.equal(ll.Scaling.from_data(y, "none")(y), y)


@pytest.mark.parametrize("method", ["standard", "range"])
def test_a_column_far_from_zero_keeps_its_spread(method: str) -> None:
    y = torch.tensor([[16777216.0], [16777218.0], [16777220.0]])
    scaled = ll.Scaling.from_data(y, method)(y)
    assert torch.isfinite(scaled).all()
    assert len(scaled.unique()) == 3


def test_a_constant_column_is_named() -> None:
    y = torch.ones(4, 2)
    y[:, 0] = torch.arange(4)
    with pytest.raises(ll.DomainError, match=r"constant column.*height"):
        ll.Scaling.from_data(y, names=("age", "height"))
    with pytest.raises(ll.DomainError, match="number 1"):
        ll.Scaling.from_data(y, "range")
    ll.Scaling.from_data(y, "none")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.zeros(0, 2), r"at least one item.*\(0, 2\)"),
        (torch.tensor([[0], [2]]), "floating point.*int64"),
        (torch.tensor([[0.0], [math.nan]]), "finite|NaN"),
        (torch.tensor([[0.0], [math.inf]]), "finite|NaN"),
    ],
    ids=["empty", "int", "nan", "inf"],
)
def test_bad_data_are_called_what_they_are(y: torch.Tensor, message: str) -> None:
    with pytest.raises(ll.DomainError, match=message):
        ll.Scaling.from_data(y)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ll.DomainError, match=r"'method'.*'minmax'"):
        ll.Scaling.from_data(data(), "minmax")


@pytest.mark.parametrize(("shift", "scale"), [(0, 0), (0, -1), (0, math.nan), (math.inf, 1)])
def test_a_scale_is_positive_and_finite(shift: float, scale: float) -> None:
    with pytest.raises(ll.DomainError, match="positive finite scales"):
        ll.Scaling(torch.tensor(float(shift)), torch.tensor(float(scale)))


def scaled() -> tuple[ll.Scaled, ll.energies.KMeans, ll.Scaling]:
    y = data()
    scaling = ll.Scaling.from_data(y)
    inner = ll.energies.KMeans.from_data(
        scaling(y), k=6, generator=torch.Generator().manual_seed(1)
    )
    return ll.Scaled(inner, scaling), inner, scaling


def test_questions_agree_with_the_inner_energy_in_its_units() -> None:
    outer, inner, scaling = scaled()
    y = data()[:9]
    torch.testing.assert_close(ll.score(outer, y), ll.score(inner, scaling(y)))
    torch.testing.assert_close(
        ll.free_energy(outer, y, beta=2.0), ll.free_energy(inner, scaling(y), beta=2.0)
    )
    assert torch.equal(ll.infer(outer, y).z, ll.infer(inner, scaling(y)).z)
    torch.testing.assert_close(ll.encode(outer, y), ll.encode(inner, scaling(y)))
    torch.testing.assert_close(ll.project(outer, y), scaling.inverse(ll.project(inner, scaling(y))))
    torch.testing.assert_close(
        ll.project(outer, y, beta=0.7), scaling.inverse(ll.project(inner, scaling(y), beta=0.7))
    )


def test_the_capabilities_speak_the_outer_units() -> None:
    outer, _, _ = scaled()
    y = data()[:5]
    for j in range(6):
        z = torch.full((5,), j)
        torch.testing.assert_close(outer.tabulate(y)[:, j], outer(y, z=z))
    torch.testing.assert_close(
        outer(outer.decode(torch.arange(6)), z=torch.arange(6)), torch.zeros(6, dtype=F64)
    )


def test_the_condition_has_units_of_its_own() -> None:
    inner = ll.energies.LeastSquares(torch.tensor([[2.0]]), torch.tensor([1.0]), event=(1,))
    units = ll.Scaling(torch.tensor([10.0]), torch.tensor([5.0]))
    outer = ll.Scaled(inner, ll.Scaling(torch.tensor([100.0]), torch.tensor([3.0])), units)
    x = torch.tensor([[20.0]])  # 2 inside, so y is 5 inside, 115 outside
    torch.testing.assert_close(ll.predict(outer, x, n=1).y.flatten(), torch.tensor([115.0]))
    torch.testing.assert_close(
        ll.project(outer, torch.zeros(1, 1), x=x).flatten(), torch.tensor([115.0])
    )
