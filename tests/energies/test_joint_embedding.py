"""Joint embeddings: the squared distance between what a network says of two views."""

import pytest
import torch
from torch import nn

import lowland as ll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight)
    return layer


def test_the_energy_is_the_distance_from_the_prediction() -> None:
    a, b, c = (torch.randn(3, 3, generator=seeded(i)) for i in range(3))
    energy = ll.energies.JointEmbedding(linear(a), (3,), linear(b), linear(c))
    x, y = torch.randn(2, 5, 3, generator=seeded(3)).unbind(0)
    expected = (x @ (c @ b @ a).T - y @ (b @ a).T).square().sum(1)
    torch.testing.assert_close(energy(y, x=x), expected)
    torch.testing.assert_close(ll.encode(energy, y), (y @ a.T).detach())


def test_without_a_view_each_fold_is_blanked_in_turn() -> None:
    energy = ll.energies.JointEmbedding(nn.Identity(), (4,), folds=2)
    y = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    # What is blanked moves the identity by its own length, and each element is blanked once.
    torch.testing.assert_close(energy(y), torch.tensor([(1 + 4 + 9 + 16) / 2]))


def test_a_view_of_another_shape_is_refused() -> None:
    energy = ll.energies.JointEmbedding(nn.Identity(), (4,))
    with pytest.raises(ll.ShapeError, match="another view"):
        energy(torch.zeros(2, 4), x=torch.zeros(2, 3))


def test_images_get_convolutions_and_rows_a_perceptron() -> None:
    images = ll.energies.JointEmbedding.from_data(
        torch.zeros(1, 3, 9, 7), channels=(8, 24), generator=seeded()
    )
    assert ll.encode(images, torch.rand(2, 3, 9, 7)).shape == (2, 24)
    rows = ll.energies.JointEmbedding.from_data(torch.zeros(1, 5), hidden=(6,), d=4)
    assert ll.encode(rows, torch.rand(2, 5)).shape == (2, 6)
    assert rows.embed(torch.rand(2, 5)).shape == (2, 4)


def test_channels_that_cannot_be_grouped_are_refused() -> None:
    with pytest.raises(ll.DomainError, match="multiples of 8"):
        ll.energies.JointEmbedding.from_data(torch.zeros(1, 1, 8, 8), channels=(12,))
