"""InfoNCE: the softmax of its formula, and embeddings that stay apart."""

import pytest
import torch

import lowland as ll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_the_formula() -> None:
    a, b = torch.randn(2, 7, 3, generator=seeded(), dtype=torch.float64).unbind(0)
    energy = ll.energies.JointEmbedding(torch.nn.Identity(), (3,))
    found = ll.InfoNCE(temperature=0.3).cost(energy, a, b, seeded())
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    table = torch.cdist(a, b).square() / 0.6
    there = table.diagonal() + torch.log(torch.exp(-table).sum(1))
    back = table.diagonal() + torch.log(torch.exp(-table).sum(0))
    assert float(found) == pytest.approx(float((there + back).mean() / 2))


def test_it_pulls_pairs_together_and_others_apart() -> None:
    y = torch.randn(300, 6, generator=seeded())
    energy = ll.energies.JointEmbedding.from_data(y, hidden=(32,), d=4, generator=seeded())
    views = ll.pretext.GaussianNoise(0.2)
    fit = ll.fit(energy, y, ll.InfoNCE(views), steps=200, generator=seeded())
    data, pushed = fit.history.data_energy[-1], fit.history.negative_energy[-1]
    assert data < 0.3 * pushed
    assert fit.caution is None


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ll.DomainError, match="temperature"):
        ll.InfoNCE(temperature=0.0)
