"""A restarted module has the shape of what it copies and nothing of what that learned."""

import pytest
import torch
from torch import nn

import lowland as ll
from lowland import CapabilityError
from lowland.estimators import restarted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_layers_begin_as_torch_begins_them() -> None:
    net = nn.Sequential(nn.Linear(400, 300), nn.BatchNorm1d(300), nn.LayerNorm(300))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net[1].running_mean.fill_(3.0)
    again = restarted(net, generator())
    limit = 1 / 400**0.5
    weight = again[0].weight.detach()
    assert float(weight.abs().max()) <= limit
    assert float(weight.std()) == pytest.approx(limit / 3**0.5, rel=0.01)
    assert torch.equal(again[1].running_mean, torch.zeros(300))
    assert torch.equal(again[2].weight, torch.ones(300))
    assert float(net[0].weight.detach().mean()) == 7.0


def test_prototypes_keep_their_values_and_lose_their_places() -> None:
    y = ll.data.digits().y
    energy = ll.energies.KMeans.from_data(y, k=16, start="random", generator=generator())
    again = restarted(energy, generator(1))
    assert torch.equal(again.prototypes.flatten().sort()[0], energy.prototypes.flatten().sort()[0])
    assert not torch.equal(again.prototypes, energy.prototypes)

    # Neighbouring pixels of a prototype agree, and those of the shuffled one do not.
    def likeness(prototypes: torch.Tensor) -> float:
        left, right = prototypes[..., :-1].flatten(), prototypes[..., 1:].flatten()
        return float(torch.corrcoef(torch.stack([left, right]))[0, 1])

    assert likeness(energy.prototypes.detach()) > 0.3
    assert abs(likeness(again.prototypes.detach())) < 0.1


def test_one_seed_gives_one_restart_and_leaves_the_global_state() -> None:
    net = nn.Linear(5, 4)
    before = torch.default_generator.get_state()
    first, second, other = (restarted(net, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(torch.default_generator.get_state(), before)


def test_units_of_the_data_stay() -> None:
    y = torch.randn(50, 2, generator=generator()) * 10 + 3
    scaling = ll.Scaling.from_data(y)
    energy = ll.Scaled(
        ll.energies.KMeans.from_data(scaling(y), k=4, generator=generator()), scaling
    )
    again = restarted(energy, generator(1))
    assert torch.equal(again.scaling.scale, scaling.scale)
    # What the outer energy offers is the copy's own, not the original's.
    assert torch.equal(again.encode(y), again.energy.encode(scaling(y)))
    assert not torch.equal(again.encode(y), energy.encode(y))


def test_what_has_no_weights_is_refused() -> None:
    with pytest.raises(CapabilityError, match="no parameters"):
        restarted(nn.Flatten())


def test_what_cannot_be_copied_is_refused() -> None:
    net = nn.Linear(2, 2)
    net.kept = net(torch.ones(1, 2))  # part of a graph
    with pytest.raises(CapabilityError, match="cannot be copied"):
        restarted(net)
