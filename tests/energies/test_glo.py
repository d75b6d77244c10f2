"""A decoder and a code in a ball."""

import functools

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import lowland as ll
from lowland.energies._pyramid import laplacian_pyramid
from lowland.train.architectural.learned_codes import LearnedCodes

GLO = ll.energies.GLO


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def digits(n: int = 300) -> torch.Tensor:
    return torch.from_numpy(load_digits().data[:n] / 16).float().reshape(n, 1, 8, 8)


def test_the_energy_is_its_definition() -> None:
    energy, y = GLO(nn.Linear(2, 3), event=(3,), m=2), draw(4, 5, 3)
    z = 0.5 * torch.nn.functional.normalize(draw(4, 5, 2, seed=1), dim=-1)
    torch.testing.assert_close(energy(y, z=z), (y - energy.decoder(z)).square().sum(-1))
    assert energy.latent == ll.latent.Ball(2, 1.0)


def test_a_pyramid_adds_up_and_is_linear() -> None:
    image, other = draw(2, 3, 12, 9), draw(2, 3, 12, 9, seed=1)
    bands = laplacian_pyramid(image)
    assert [tuple(band.shape[-2:]) for band in bands] == [(12, 9), (6, 5), (3, 3)]
    for one, two, both in zip(
        bands, laplacian_pyramid(other), laplacian_pyramid(image - 2 * other), strict=True
    ):
        torch.testing.assert_close(one - 2 * two, both, atol=1e-5, rtol=1e-5)
    flat = laplacian_pyramid(torch.ones(1, 1, 16, 16))
    assert (flat[0][..., 4:-4, 4:-4].abs() < 1e-6).all()


def test_the_laplacian_cost_weighs_all_bands_alike() -> None:
    energy = GLO(
        nn.Sequential(nn.Linear(1, 256), nn.Unflatten(1, (1, 16, 16))),
        (1, 16, 16),
        1,
        cost="laplacian",
    )
    rebuilt = energy.decode(torch.zeros(1, 1))
    checks = (torch.arange(16).unsqueeze(1) + torch.arange(16)) % 2 * 2.0 - 1
    z = torch.zeros(1, 1)
    smooth, fine = energy(rebuilt + 1, z=z), energy(rebuilt + checks, z=z)
    assert energy(rebuilt, z=z).item() == 0
    # A squared error charges both alike; so do the weights 4^j, for bands with 4^-j of the pixels.
    torch.testing.assert_close(smooth, torch.full((1,), 256.0))
    torch.testing.assert_close(fine, torch.full((1,), 256.0), rtol=0.1, atol=0)


@pytest.mark.parametrize("cost", ["squared", "laplacian"])
def test_training_lowers_the_energy_of_held_out_digits(cost: str) -> None:
    y = digits(90)
    energy = GLO.from_data(y[:60], m=8, hidden=(32,), cost=cost, generator=seeded())
    before = ll.score(energy, y[60:]).mean()
    adam = functools.partial(torch.optim.Adam, lr=1e-2)
    fit = ll.fit(energy, y[:60], LearnedCodes(20), steps=8, optimizer=adam, generator=seeded())
    assert fit.history.loss[-1] < 0.7 * fit.history.loss[0]
    assert ll.score(energy, y[60:]).mean() < 0.85 * before


def test_gradient_descent_trains_it_without_a_table() -> None:
    y = digits(128)
    energy = GLO.from_data(y, m=8, hidden=(16,), generator=seeded())
    fit = ll.fit(energy, y, ll.GradientDescent(), steps=20, batch_size=64, generator=seeded())
    assert fit.history.loss[-1] < fit.history.loss[0]
    assert not any(p.requires_grad for p in energy.encoder.parameters())


def test_codes_are_lower_than_adams() -> None:
    y = digits(60)
    energy = GLO.from_data(y, m=8, hidden=(32,), generator=seeded()).requires_grad_(False)
    z = energy.guess_codes(y).requires_grad_()
    adam = torch.optim.Adam([z], lr=0.03)
    for _ in range(200):
        adam.zero_grad()
        energy(y, z=z).sum().backward()
        adam.step()
        with torch.no_grad():
            z.copy_(energy.latent.proximal(z, z[:, 0]))
    found = ll.infer(energy, y)
    assert (found.z.norm(dim=1) <= 1 + 1e-5).all()
    assert found.energy.mean() <= energy(y, z=z).mean().detach() + 1e-5


def test_a_decoder_may_take_x() -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(2, 3)

        def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return self.line(z) + x

    energy, x = GLO(Shift(), event=(3,), m=2, conditional=True), draw(5, 3)
    y = energy.decode(torch.full((5, 2), 0.3), x=x).detach()
    assert (ll.score(energy, y, x=x) < 1e-8).all()
    assert ll.predict(energy, x, n=1, generator=seeded()).y.shape[0] == 5
    with pytest.raises(ll.DomainError, match="conditional"):
        ll.score(energy, y)


@pytest.mark.parametrize("start", ["pca", "random"])
def test_the_encoder_fills_the_ball(start: str) -> None:
    y = digits()
    length = GLO.from_data(y, m=6, start=start, generator=seeded()).guess_codes(y).norm(dim=1)
    assert (length <= 1 + 1e-5).all()
    assert 0.05 < (length > 0.999).float().mean() < 0.2


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ll.DomainError, match="'cost'"):
        GLO(nn.Linear(2, 3), (3,), 2, cost="sharp")
    with pytest.raises(ll.DomainError, match="images"):
        GLO(nn.Linear(2, 3), (3,), 2, cost="laplacian")
    with pytest.raises(ll.DomainError, match="'start'"):
        GLO.from_data(draw(4, 3), m=2, start="zero")
    with pytest.raises(ll.ShapeError, match="decoder of GLO"):
        GLO(nn.Linear(2, 4), (3,), 2)(draw(5, 3), z=torch.zeros(5, 2))
    with pytest.raises(ll.DomainError, match="'code_steps'"):
        LearnedCodes(code_steps=0)
    with pytest.raises(ll.CapabilityError, match="GradientDescent"):
        LearnedCodes().require(ll.energies.KMeans(draw(3, 2)))
