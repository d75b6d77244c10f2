"""The blurry yardstick."""

import pytest
import torch

import lowland as ll

F64 = torch.float64


def test_fits_need_a_condition() -> None:
    with pytest.raises(ll.CapabilityError, match=r"predicts y from x.*Given"):
        ll.energies.LeastSquares.from_data(torch.zeros(3, 2))


def test_the_shapes_must_fit() -> None:
    with pytest.raises(ll.ShapeError, match=r"\(2, inputs\).*\(3, 1\)"):
        ll.energies.LeastSquares(torch.zeros(3, 1), torch.zeros(2), event=(2,))


def test_any_shape_of_x_and_y() -> None:
    x = torch.randn(30, 2, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x.sum((1, 2)), x[:, 0, 0] - 3], -1).reshape(30, 1, 2)
    energy = ll.energies.LeastSquares.from_data(y, x=x)
    ll.fit(energy, (x, y), ll.CoordinateDescent(), steps=5)
    assert ll.score(energy, y, x=x).max() < 1e-18
    two = ll.score(energy, y.reshape(5, 6, 1, 2), x=x.reshape(5, 6, 2, 2))
    assert two.shape == (5, 6)
    torch.testing.assert_close(ll.score(energy, y[0], x=x[0]), two[0, 0])


def test_a_plain_vector_of_conditions() -> None:
    x = torch.arange(5.0, dtype=F64)
    energy = ll.energies.LeastSquares.from_data((2 * x + 1).unsqueeze(1), x=x)
    ll.fit(energy, (x, (2 * x + 1).unsqueeze(1)), ll.CoordinateDescent(), steps=2)
    torch.testing.assert_close(
        ll.predict(energy, torch.tensor([10.0], dtype=F64), n=1).y.flatten(),
        torch.tensor([21.0], dtype=F64),
    )
