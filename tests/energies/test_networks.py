"""Network and Autoencoder, and the layers that they share."""

import pytest
import torch
from torch import nn

import lowland as ll
from lowland.energies._layers import apply_network, perceptron

Network, Autoencoder = ll.energies.Network, ll.energies.Autoencoder


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("energy", [Network, Autoencoder])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_built_for_data(energy: type[ll.Energy], dtype: torch.dtype) -> None:
    y = torch.randn(6, 1, 2, 3, generator=seeded()).to(dtype)
    built = [energy.from_data(y, generator=seeded(3)) for _ in range(2)]
    assert built[0].dtype == dtype
    assert torch.equal(ll.score(built[0], y), ll.score(built[1], y))
    assert ll.score(built[0], y.reshape(2, 3, 1, 2, 3)).shape == (2, 3)
    torch.testing.assert_close(ll.score(built[0], y[0]), ll.score(built[0], y)[0])
    code = ll.encode(built[0], y)
    assert code.shape[0] == 6
    torch.testing.assert_close(
        ll.encode(built[0], y.reshape(2, 3, 1, 2, 3)), code.reshape(2, 3, -1)
    )


def test_the_default_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    Network.from_data(torch.zeros(3, 2), generator=seeded())
    Autoencoder.from_data(torch.zeros(3, 2), generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_are_positive(size: int) -> None:
    with pytest.raises(ll.DomainError, match="Layer sizes"):
        Network.from_data(torch.zeros(3, 2), hidden=(size,))
    with pytest.raises(ll.DomainError, match="Layer sizes"):
        Autoencoder.from_data(torch.zeros(3, 2), code=size)


def test_a_perceptron_is_alternating_layers() -> None:
    layers = perceptron([3, 5, 2], seeded())
    assert [type(layer) for layer in layers] == [nn.Linear, nn.SiLU, nn.Linear]
    assert layers[0].weight.abs().max() <= 3**-0.5


def test_networks_see_one_batch_axis() -> None:
    net = nn.Flatten()
    assert apply_network(net, torch.zeros(2, 3, 4, 5), (4, 5)).shape == (2, 3, 20)
    assert apply_network(net, torch.zeros(4, 5), (4, 5)).shape == (20,)


def test_a_network_of_two_outputs_is_refused() -> None:
    with pytest.raises(ll.ShapeError, match=r"'net' of Network.*\(4, 2\)"):
        Network(nn.Linear(3, 2), event=(3,))(torch.zeros(4, 3))


def test_a_network_may_return_a_column_or_a_vector() -> None:
    class Total(nn.Module):
        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return y.sum(-1)

    y = torch.arange(6.0).reshape(2, 3)
    assert Network(Total(), event=(3,))(y).tolist() == [3, 12]
    with pytest.raises(ll.CapabilityError, match="Linear"):
        ll.encode(Network(Total(), event=(3,)), y)


def test_the_features_are_what_enters_the_head() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    energy, y = Network(net, event=(3,)), torch.randn(5, 3, generator=seeded())
    torch.testing.assert_close(ll.encode(energy, y), net[1](net[0](y)).detach())
    assert not net[2]._forward_pre_hooks


def test_a_decoder_of_another_shape_is_refused() -> None:
    with pytest.raises(ll.ShapeError, match=r"decoder of Autoencoder.*\(2, 3\).*\(2, 4\)"):
        Autoencoder(nn.Identity(), nn.Linear(3, 4), event=(3,))(torch.zeros(2, 3))


def test_the_energy_is_the_reconstruction_error() -> None:
    energy = Autoencoder(nn.Identity(), nn.Hardtanh(), event=(2,))
    y = torch.tensor([[3.0, 0.5], [-0.2, -4.0]])
    assert energy(y).tolist() == [4, 9]
    assert ll.project(energy, y).tolist() == [[1.0, 0.5], [-0.20000000298023224, -1.0]]
