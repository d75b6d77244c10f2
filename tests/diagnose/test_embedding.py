"""Embeddings that collapse are told from those that do not."""

import math

import pytest
import torch

import lowland as ll
from lowland.diagnose import embedding


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(d: int) -> ll.energies.JointEmbedding:
    return ll.energies.JointEmbedding(torch.nn.Identity(), event=(d,))


def test_the_effective_rank_is_the_exponential_of_the_spectrums_entropy() -> None:
    scales = torch.tensor([2.0, 1.0, 0.5, 0.0])
    found = embedding(plain(4), torch.randn(20_000, 4, generator=seeded()) * scales)
    shares = [4 / 5.25, 1 / 5.25, 0.25 / 5.25]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert found.effective_rank == pytest.approx(expected, rel=0.02)
    torch.testing.assert_close(found.deviations, scales.double(), atol=0.03, rtol=0)
    assert not found.collapsed


def test_embeddings_that_are_the_same_are_collapsed() -> None:
    found = embedding(plain(3), 5 + 0.01 * torch.randn(100, 3, generator=seeded()))
    assert found.collapsed
    assert "same for all data" in found.verdicts[0]


def test_embeddings_along_a_line_are_collapsed() -> None:
    line = torch.randn(100, 1, generator=seeded()) * torch.tensor([[1.0, -2.0, 0.5]])
    found = embedding(plain(3), line)
    assert found.collapsed
    assert "of its 3 dimensions, 1 carry" in found.verdicts[0]
    assert found.effective_rank == pytest.approx(1.0, abs=1e-4)


def test_features_of_other_energies_are_looked_at() -> None:
    y = torch.randn(50, 4, generator=seeded())
    found = embedding(ll.energies.PCA.from_data(y, m=2), y)
    assert found.dimension == 2


def test_too_few_data_are_refused() -> None:
    with pytest.raises(ll.DomainError, match="at least 10"):
        embedding(plain(2), torch.zeros(9, 2))


def test_an_energy_without_features_is_refused() -> None:
    with pytest.raises(ll.CapabilityError, match="embeddings or features"):
        embedding(ll.energies.Ring((2,)), torch.randn(20, 2, generator=seeded()))
