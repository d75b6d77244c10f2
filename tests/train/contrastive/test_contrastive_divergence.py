"""Contrastive divergence: its formula, and what it converges to."""

import functools
import math
from typing import Any

import pytest
import torch
from contrasts import Precision, Walk, Y, frozen, one_step, seeded

import lowland as ll
from lowland.sample import MALA
from lowland.train.contrastive.chains import contrast

CD, PCD = ll.ContrastiveDivergence, ll.PersistentContrastiveDivergence


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_the_step_is_down_on_the_data_and_up_where_the_chains_end(alpha: float) -> None:
    energy = Precision()
    strategy = CD(k=3, sampler=Walk(0.5), alpha=alpha)
    # By hand: negatives are the data shifted by 1.5, F = p‖y − m‖²/2.
    p, m = torch.tensor(3.0, dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    p.requires_grad_(), m.requires_grad_()
    data = p * (Y - m).square().sum(1) / 2
    pushed = p * (Y + 1.5 - m).square().sum(1) / 2
    loss = data.mean() - pushed.mean() + alpha * (data.square().mean() + pushed.square().mean())
    loss.backward()
    fit = one_step(energy, Y, strategy)
    assert fit.history.loss[0] == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(energy.p.detach(), 3.0 - p.grad)
    torch.testing.assert_close(energy.m.detach(), 0.5 - m.grad)
    assert fit.state is not None
    assert fit.state["gap"].item() == pytest.approx((data.mean() - pushed.mean()).item())


@pytest.mark.parametrize("alpha", [0.0, 0.25])
@pytest.mark.parametrize("noise", [None, 0.5])
def test_a_gradient_in_closed_form_is_the_automatic_one(alpha: float, noise: float | None) -> None:
    y = Y[:, :2] if noise else (Y > 0).double()
    energy = ll.energies.RestrictedBoltzmann.from_data(y, 3, noise=noise, generator=seeded())
    a, b = y[:120], y[120:]
    found = contrast(energy, a, None, b, None, alpha=alpha)
    data, pushed = energy(a), energy(b)
    loss = data.mean() - pushed.mean() + alpha * (data.square().mean() + pushed.square().mean())
    loss.backward()
    assert found.gradients is not None
    assert not found.loss.requires_grad
    torch.testing.assert_close(found.loss, loss.detach())
    torch.testing.assert_close(found.gap, (data.mean() - pushed.mean()).detach())
    for name, parameter in energy.named_parameters():
        torch.testing.assert_close(found.gradients[name], parameter.grad)


def test_a_frozen_parameter_stays_though_its_gradient_is_known() -> None:
    y = (Y > 0).double()
    energy = ll.energies.RestrictedBoltzmann.from_data(y, 3, centred=False, generator=seeded())
    energy.visible_bias.requires_grad_(False)
    before = {name: value.clone() for name, value in energy.state_dict().items()}
    one_step(energy, y, CD(k=1, kick=0.5))
    moved = {n for n, value in energy.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {"weights", "hidden_bias"}


def test_chains_start_at_the_data_not_at_noise() -> None:
    # A peer's "CD-k" starts from noise: its negatives would be near 0, ours near 100.
    fit = one_step(Precision(), Y + 100, CD(k=1, sampler=Walk(1e-3)), optimizer=frozen)
    data, pushed = fit.history.data_energy[0], fit.history.negative_energy[0]
    assert pushed == pytest.approx(data, rel=1e-3)


def test_long_chains_give_the_gradient_of_the_likelihood() -> None:
    energy = Precision(p=1.5)
    y = Y.repeat(20, 1)
    away = (Y - 0.5).square().sum(1).mean().item()
    one_step(energy, y, CD(k=60), batch_size=len(y))
    # The gradient in p: half the mean square, less its expectation d/(2p).
    assert 1.5 - energy.p.item() == pytest.approx(away / 2 - 1 / 1.5, abs=0.05)


@pytest.mark.parametrize("strategy", [CD(k=5), PCD(k=5, buffer=400)])
def test_recovers_the_normal_distribution_of_the_data(strategy: Any) -> None:
    y = 0.7 * Y.repeat(3, 1) + torch.tensor([1.0, -1.0], dtype=torch.float64)
    energy = Precision(p=1.0)
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    fit = ll.fit(energy, y, strategy, steps=150, batch_size=300, optimizer=adam, generator=seeded())
    torch.testing.assert_close(energy.m.detach(), y.mean(0), rtol=0.0, atol=0.15)
    assert energy.p.item() == pytest.approx(1 / y.var(0).mean().item(), rel=0.25)
    assert fit.caution is None
    acceptance = fit.history.acceptance[-1]
    assert acceptance is not None
    assert 0.3 < acceptance <= 1.0
    gap = fit.history.gap[-1]
    assert gap is not None
    assert abs(gap) < 1


def test_a_conditional_energy_moves_each_chain_under_its_own_x() -> None:
    x = torch.where(torch.arange(200) % 2 == 0, 1.0, -1.0).double().unsqueeze(1).expand(-1, 2)
    y = 2 * x + 0.5 * Y
    for strategy in (CD(k=10), PCD(k=10, buffer=200, reinit=0.0)):
        energy = Precision(p=1.0)
        adam = functools.partial(torch.optim.Adam, lr=0.1)
        fit = ll.fit(
            energy, (x, y), strategy, steps=60, batch_size=200, optimizer=adam, generator=seeded()
        )
        torch.testing.assert_close(
            energy.m.detach(), torch.full((2,), 2.0, dtype=torch.float64), rtol=0.0, atol=0.2
        )
    assert fit.state is not None
    # Chains under x = 1 lie around m, those under x = −1 around −m.
    sides = (fit.state["buffer"] * fit.state["buffer_x"]).mean(0)
    assert bool((sides > 1).all())


def test_a_latent_is_eliminated_for_the_chains() -> None:
    energy = ll.energies.KMeans(Y[:3])
    fit = one_step(energy, Y, CD(k=3), optimizer=functools.partial(torch.optim.SGD, lr=0.1))
    assert not torch.equal(energy.prototypes, Y[:3])
    assert fit.history.acceptance[0] is not None


def test_noise_on_the_data_blurs_what_is_learned() -> None:
    y = torch.zeros(300, 2, dtype=torch.float64)
    energy = Precision(p=1.0)
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    ll.fit(
        energy,
        y,
        CD(k=5, data_noise=0.5, sampler=MALA(largest=0.5)),
        steps=150,
        batch_size=300,
        optimizer=adam,
        generator=seeded(),
    )
    assert energy.p.item() == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CD(k=0),
        lambda: CD(kick=-1.0),
        lambda: CD(alpha=-0.1),
        lambda: CD(clip=0.0),
        lambda: CD(data_noise=math.nan),
        lambda: CD(runaway=0.0),
        lambda: PCD(buffer=0),
        lambda: PCD(reinit=1.5),
        lambda: PCD(reinit=-0.1),
        lambda: PCD(fresh="uniform"),
    ],
)
def test_options_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ll.DomainError):
        make()
