"""Contrastive divergence: its formula, its lineages, and what it says when it goes wrong."""

import functools
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.sample import MALA, Langevin, Target
from lowland.train.contrastive.chains import Clipped, contrast, kicked

CD, PCD = ll.ContrastiveDivergence, ll.PersistentContrastiveDivergence
Y = torch.randn(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
sgd = functools.partial(torch.optim.SGD, lr=1.0)
frozen = functools.partial(torch.optim.SGD, lr=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Precision(ll.Energy):
    """E = p‖y − m‖²/2, a normal distribution; with an x its mean is mx."""

    def __init__(self, event: tuple[int, ...] = (2,), p: float = 3.0, domain: Any = None) -> None:
        super().__init__(event, domain=domain)
        self.p = nn.Parameter(torch.tensor(p, dtype=torch.float64))
        self.m = nn.Parameter(torch.full(event, 0.5, dtype=torch.float64))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        away = y.to(self.m) - (self.m if x is None else self.m * x)
        return self.p * away.flatten(-len(self.event)).square().sum(-1) / 2

    def configuration(self) -> dict[str, object]:
        return {"event": self.event}


class Steps(NamedTuple):
    y: Tensor
    energy: Tensor
    rejected: Tensor
    nonfinite: Tensor


class Walk:
    """A sampler that adds a fixed shift at each step, so that where chains come from shows."""

    def __init__(self, shift: float = 0.0, refuse: bool = False) -> None:
        self.shift, self.refuse = shift, refuse

    def init(self, target: Target, y: Tensor, like: Any = None) -> Steps:
        none = torch.zeros(len(y), dtype=torch.int64)
        return Steps(y, target.energy(y), none, none)

    def step(
        self,
        target: Target,
        state: Any,
        beta: float,
        generator: torch.Generator | None,
        *,
        adapt: bool = False,
    ) -> Any:
        if self.refuse:
            return state._replace(rejected=state.rejected + 1)
        return state._replace(y=state.y + self.shift)


def one_step(energy: ll.Energy, data: Any, strategy: ll.train.Strategy, **more: Any) -> ll.Fit:
    options: dict[str, Any] = {"steps": 1, "batch_size": 200, "generator": seeded(3), **more}
    return ll.fit(energy, data, strategy, **{"optimizer": sgd, **options})


# The formula.


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


# The buffer.


def lineages(shift: float, reinit: float, steps: int) -> ll.Fit:
    """Chains in one dimension, each moved by `shift` whenever it is taken."""
    y = torch.arange(1000, dtype=torch.float64).unsqueeze(1) * 1000
    strategy = PCD(
        k=1, sampler=Walk(shift), buffer=1000, reinit=reinit, fresh="data", runaway=math.inf
    )
    return ll.fit(
        Precision((1,)),
        y,
        strategy,
        steps=steps,
        batch_size=100,
        optimizer=frozen,
        generator=seeded(),
    )


def test_every_chain_that_was_not_replaced_on_purpose_is_still_there() -> None:
    # A peer draws from some slots and writes back to others: after 400 steps 8 of 1,000 are left.
    state = lineages(shift=1.0, reinit=0.0, steps=400).state
    assert state is not None
    ancestor = torch.div(state["buffer"], 1000, rounding_mode="floor").flatten().sort().values
    assert torch.equal(ancestor, torch.arange(1000, dtype=torch.float64))
    # Each chain was moved as often as its age says: draw and write-back use the same slot.
    assert torch.equal(state["buffer"].flatten() % 1000, state["age"].double())
    assert int(state["age"].sum()) == 400 * 100


def test_chains_are_started_anew_as_often_as_asked() -> None:
    state = lineages(shift=0.0, reinit=0.25, steps=200).state
    assert state is not None
    # In 20 of its turns a chain is not started anew with a chance of .75 each.
    old = (state["age"] > 10).double().mean().item()
    assert old == pytest.approx(0.75**10, abs=0.04)
    none = lineages(shift=0.0, reinit=1.0, steps=20).state
    assert none is not None
    assert int(none["age"].max()) == 1


def test_a_step_that_fails_leaves_the_chains_as_they_were() -> None:
    energy = Precision()
    strategy = PCD(k=1, sampler=Walk(5.0), buffer=50, reinit=0.0, runaway=0.5)
    g = seeded()
    state = strategy.begin(energy, lambda n: (Y[:n], None), g)
    before = {name: value.clone() for name, value in state.items()}
    with pytest.raises(ll.DivergedError, match="runs away"):
        strategy.step(energy, state, Y[:20], None, optimizer=sgd(energy.parameters()), generator=g)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


@pytest.mark.parametrize("fresh", ["noise", "data"])
def test_new_chains_begin_where_they_are_told_to(fresh: str) -> None:
    y = 5 + 3 * Y
    strategy = PCD(k=1, sampler=Walk(0.0), buffer=2000, fresh=fresh)
    state = strategy.begin(Precision(), lambda n: (y[:n], None), seeded())
    rows = {tuple(row) for row in y.tolist()}
    assert all(tuple(row) in rows for row in state["buffer"].tolist()) == (fresh == "data")
    torch.testing.assert_close(state["buffer"].mean(0), y.mean(0), rtol=0.0, atol=0.4)
    torch.testing.assert_close(state["buffer"].std(0), y.std(0), rtol=0.1, atol=0.0)


# Resuming.


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("sampler", [None, MALA(shared=False), Langevin(0.05)])
@pytest.mark.parametrize("persistent", [False, True])
def test_resuming_is_exact_to_the_bit(
    persistent: bool, sampler: Any, conditional: bool, tmp_path: Path
) -> None:
    strategy = PCD(k=2, sampler=sampler, buffer=40) if persistent else CD(k=2, sampler=sampler)
    data: Any = (Y[:, :1].expand(-1, 2).contiguous(), Y) if conditional else Y
    options: dict[str, Any] = {"batch_size": 30, "optimizer": sgd}
    options["optimizer"] = functools.partial(torch.optim.Adam, lr=0.05)
    straight, resumed = Precision(), Precision()
    one = ll.fit(straight, data, strategy, steps=11, generator=seeded(), **options)
    ll.fit(Precision(), data, strategy, steps=5, generator=seeded(), checkpoint=tmp_path, **options)
    two = ll.fit(
        resumed,
        data,
        strategy,
        steps=11,
        generator=seeded(99),
        checkpoint=tmp_path,
        resume=True,
        **options,
    )
    assert torch.equal(straight.p, resumed.p)
    assert torch.equal(straight.m, resumed.m)
    assert one.state is not None
    assert two.state is not None
    assert one.state.keys() == two.state.keys()
    assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())


@pytest.mark.parametrize("write", [3, 4, 5, 6])
def test_a_full_disk_is_said_and_the_checkpoint_before_goes_on(
    write: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = PCD(k=1, buffer=40)
    options: dict[str, Any] = {"batch_size": 30, "checkpoint": tmp_path, "checkpoint_every": 3}
    straight, energy, resumed = Precision(), Precision(), Precision()
    ll.fit(straight, Y, strategy, steps=12, generator=seeded(), batch_size=30)
    replace, calls = os.replace, iter(range(1, 1000))

    def full(*places: Any) -> None:
        # Each of the run's two parts is two files, written at steps 0, 3, 6, …
        if next(calls) > 2 * write:
            raise OSError(28, "No space left on device")
        replace(*places)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ll.CheckpointError, match="No space left"):
            ll.fit(energy, Y, strategy, steps=12, generator=seeded(), **options)
    assert math.isfinite(energy.p.item())
    fit = ll.fit(resumed, Y, strategy, steps=12, generator=seeded(9), resume=True, **options)
    assert fit.steps == 12
    assert torch.equal(resumed.p, straight.p)
    assert torch.equal(resumed.m, straight.m)


# What goes wrong is said.


@pytest.mark.parametrize("persistent", [False, True])
def test_chains_that_stand_still_are_said(persistent: bool) -> None:
    # Every proposal is refused, the gap is 0 and the loss looks perfect.
    sampler = Walk(refuse=True)
    strategy = PCD(k=2, sampler=sampler, fresh="data") if persistent else CD(k=2, sampler=sampler)
    fit = one_step(Precision(), Y, strategy, steps=5)
    assert fit.history.acceptance[-1] == 0.0
    assert fit.caution is not None
    assert "stale" in fit.caution


def test_a_fixed_step_that_is_too_long_goes_stale_and_says_so() -> None:
    hot = MALA(step_size=30.0, largest=31.0, acceptance=0.01)
    y = 0.5 + Y / math.sqrt(50)
    fit = one_step(Precision(p=50.0), y, CD(k=2, sampler=hot), steps=5, optimizer=frozen)
    assert fit.caution is not None
    assert "stale" in fit.caution
    tuned = one_step(
        Precision(p=50.0), y, CD(k=10, sampler=MALA(step_size=30.0)), steps=60, optimizer=frozen
    )
    assert tuned.caution is None


def test_a_gap_that_runs_away_ends_training_and_keeps_good_parameters() -> None:
    # Steps that are too long lead off the surface, and pushing up there makes it worse.
    energy = Precision(p=1.0)
    with pytest.raises(ll.DivergedError, match="runs away") as caught:
        ll.fit(
            energy,
            Y,
            CD(k=10, sampler=Langevin(2.5)),
            steps=500,
            batch_size=200,
            optimizer=functools.partial(torch.optim.SGD, lr=1e-3),
            generator=seeded(),
        )
    assert "limit of 50" in str(caught.value)
    assert math.isfinite(energy.p.item())
    history = caught.value.history
    assert isinstance(history, ll.train.History)
    assert all(math.isfinite(value) for value in history.loss)


def test_a_runaway_may_be_let_run() -> None:
    strategy = CD(k=10, sampler=Langevin(2.5), runaway=math.inf)
    fit = one_step(Precision(p=1.0), Y, strategy, optimizer=frozen)
    assert abs(fit.history.loss[0]) > 50


class Hole(Precision):
    """No number inside a disc."""

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        value = super().forward(y, x=x)
        return torch.where((y - 3).square().sum(-1) < 1, math.nan, value)


def test_where_the_energy_is_no_number_no_chain_goes() -> None:
    # A peer turns such positions into 0 and goes on from there.
    fit = one_step(
        Hole(p=0.1),
        Y.clamp(max=2.0),
        PCD(k=20, buffer=200, fresh="data"),
        steps=10,
        optimizer=frozen,
    )
    assert fit.state is not None
    assert bool(torch.isfinite(fit.state["buffer"]).all())
    assert bool(((fit.state["buffer"] - 3).square().sum(1) >= 1).all())
    assert bool((fit.state["buffer"] != 0).any(1).all())


def test_a_datum_without_a_finite_energy_is_an_error_not_a_number() -> None:
    y = torch.full((10, 2), 3.0, dtype=torch.float64)
    energy = Hole()
    with pytest.raises(ll.DivergedError, match="energy is nan"):
        one_step(energy, y, CD(k=1))
    assert energy.p.item() == 3.0


class Steep(ll.Energy):
    """Finite everywhere, with an infinite slope in its parameter."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.a = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return (1 + self.a.sqrt()) * y.square().sum(-1)


def test_an_infinite_gradient_is_named_and_changes_nothing() -> None:
    energy = Steep()
    with pytest.raises(ll.DivergedError, match="gradient of 'a' is not finite"):
        one_step(energy, Y, CD(k=1))
    assert energy.a.item() == 0.0


# The kit.


def test_clipping_shortens_slopes_and_leaves_energies() -> None:
    target = Clipped(lambda y: y.square().sum(-1) / 2, 1.0)
    y = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    energy, gradient = target.slope(y)
    torch.testing.assert_close(energy, torch.tensor([12.5, 0.125]))
    torch.testing.assert_close(gradient, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))
    torch.testing.assert_close(target.gradient(y), gradient)


def test_clipped_chains_with_an_accept_test_still_aim_at_the_energy() -> None:
    target = Clipped(lambda y: y.square().sum(-1) / 2, 0.5)
    start = 3 * torch.randn(4000, 1, generator=seeded())
    end = ll.train.contrastive.chains.advance(
        MALA(step_size=0.5), target, start, 60, generator=seeded(1)
    )
    assert end.y.mean().item() == pytest.approx(0.0, abs=5 / math.sqrt(4000))
    assert end.y.var().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / 4000))


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


@pytest.mark.parametrize("domain", [ll.Real(), ll.Binary(), ll.Categorical(5)])
def test_a_kick_stays_in_the_domain(domain: Any) -> None:
    y = torch.zeros(20_000, 1)
    y = y.long() if isinstance(domain, ll.Categorical) else y
    assert kicked(domain, y, 0.0, seeded()) is y
    moved = kicked(domain, y, 0.2, seeded())
    domain.check(moved)
    if isinstance(domain, ll.Real):
        assert moved.std().item() == pytest.approx(0.2, rel=0.03)
    else:
        assert (moved != y).double().mean().item() == pytest.approx(0.2, abs=0.015)
    if isinstance(domain, ll.Categorical):
        counts = torch.bincount(moved.flatten(), minlength=5)[1:]
        assert counts.min() > 0.85 * counts.max()


class Flip(Walk):
    """Flips the first symbol at each step."""

    def step(self, target: Target, state: Any, beta: float, generator: Any, **more: Any) -> Any:
        y = state.y.clone()
        y[:, 0] = 1 - y[:, 0]
        return state._replace(y=y)


@pytest.mark.parametrize("strategy", [CD(k=1, sampler=Flip()), PCD(k=1, sampler=Flip())])
def test_symbols_are_served_by_a_sampler_of_their_own(strategy: Any) -> None:
    y = torch.randint(2, (50, 3), generator=seeded()).double()
    energy = Precision((3,), domain=ll.Binary())
    fit = one_step(energy, y, strategy, steps=3, optimizer=frozen)
    assert fit.state is not None
    if "buffer" in fit.state:
        ll.Binary().check(fit.state["buffer"])
        assert fit.state["buffer"].mean().item() == pytest.approx(0.5, abs=0.05)


class Fields(ll.Energy):
    """E = −bᵀ(y = 1): each symbol on its own, whose maximum likelihood is its frequency."""

    def __init__(self, domain: Any) -> None:
        super().__init__((3,), domain=domain)
        self.b = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        ones = y if y.is_floating_point() else (y == 1).to(self.b)
        return -(ones * self.b).sum(-1)


@pytest.mark.parametrize("strategy", [CD(k=6), PCD(k=6, buffer=300, reinit=0.0)])
@pytest.mark.parametrize("domain", [ll.Binary(), ll.Categorical(3)])
def test_symbols_are_moved_by_the_sampler_of_their_domain(domain: Any, strategy: Any) -> None:
    chance = torch.tensor([0.2, 0.5, 0.8]).double()
    y = (torch.rand(400, 3, generator=seeded(4), dtype=torch.float64) < chance).double()
    y = y if isinstance(domain, ll.Binary) else y.long()
    energy = Fields(domain)
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    ll.fit(energy, y, strategy, steps=80, batch_size=400, optimizer=adam, generator=seeded())
    seen = y.double().mean(0)
    others = 1 if isinstance(domain, ll.Binary) else 2
    torch.testing.assert_close(
        energy.b.detach(), (seen / (1 - seen)).log() + math.log(others), rtol=0.0, atol=0.25
    )


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
