"""Energies with a formula."""

import math

import pytest
import torch

import lowland as ll

F64 = torch.float64


def spread(d: int = 3) -> torch.Tensor:
    root = torch.randn(d, d, dtype=F64, generator=torch.Generator().manual_seed(0))
    return root @ root.T + 0.1 * torch.eye(d, dtype=F64)


def test_gaussian_equals_torch_distributions() -> None:
    mean = torch.arange(3.0, dtype=F64)
    law = torch.distributions.MultivariateNormal(mean, spread())
    y = torch.randn(9, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    energy = ll.energies.Gaussian(mean, spread())
    torch.testing.assert_close(-energy(y) - (-energy(mean)), law.log_prob(y) - law.log_prob(mean))


def test_gaussian_is_what_its_saved_numbers_say() -> None:
    y = torch.ones(1, 2)
    narrow = ll.energies.Gaussian(torch.zeros(2), torch.eye(2))
    wide = ll.energies.Gaussian(torch.zeros(2), 4 * torch.eye(2))
    wide.load_state_dict(narrow.state_dict())
    torch.testing.assert_close(wide(y), narrow(y))


@pytest.mark.parametrize(
    ("mean", "covariance", "error"),
    [
        (torch.zeros(2), torch.eye(3), ll.ShapeError),
        (torch.zeros(1, 2), torch.eye(2), ll.ShapeError),
        (torch.zeros(2), -torch.eye(2), ll.DomainError),
        (torch.zeros(2), torch.zeros(2, 2), ll.DomainError),
        (torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), ll.DomainError),
        (torch.zeros(2), torch.full((2, 2), math.nan), ll.DomainError),
    ],
)
def test_gaussian_refuses(
    mean: torch.Tensor, covariance: torch.Tensor, error: type[Exception]
) -> None:
    with pytest.raises(error, match="Gaussian"):
        ll.energies.Gaussian(mean, covariance)


def test_the_wells_and_the_barrier() -> None:
    energy = ll.energies.DoubleWell((3,), height=7.0)
    y = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0.0, 0, 0], [1.0, 2.0, 1.0]])
    assert energy(y).tolist() == [0, 0, 7, 2.5]


def test_the_ring() -> None:
    energy = ll.energies.Ring((3,), radius=2.0, width=0.5)
    y = torch.tensor([[2.0, 0, 0], [0, 0, -2.0], [0.0, 0, 0], [0, 3.0, 4.0]])
    torch.testing.assert_close(energy(y), torch.tensor([0.0, 0.0, 8.0, 18.0]))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_sizes_are_positive(value: float) -> None:
    with pytest.raises(ll.DomainError, match="'height' of DoubleWell"):
        ll.energies.DoubleWell(height=value)
    with pytest.raises(ll.DomainError, match="'radius' of Ring"):
        ll.energies.Ring(radius=value)
    with pytest.raises(ll.DomainError, match="'width' of Ring"):
        ll.energies.Ring(width=value)


@pytest.mark.parametrize("energy", [ll.energies.DoubleWell, ll.energies.Ring])
@pytest.mark.parametrize("event", [(), (2, 2)])
def test_the_event_is_a_vector(energy: type[ll.Energy], event: tuple[int, ...]) -> None:
    with pytest.raises(ll.ShapeError, match="one axis"):
        energy(event)
