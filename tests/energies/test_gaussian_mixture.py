import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris
from sklearn.mixture import GaussianMixture as SklearnMixture

import lowland as ll
from lowland.energies import _soft_moments
from lowland.energies._covariances import at_least
from lowland.train.architectural.expectation_maximization import (
    ExpectationMaximization,
    soft_sweeper_of,
)

GaussianMixture = ll.energies.GaussianMixture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(n: int, d: int, k: int, seed: int = 0) -> torch.Tensor:
    g = seeded(seed)
    centres = 3 * torch.randn(k, d, generator=g, dtype=torch.float64)
    mixing = torch.eye(d).double() + 0.5 * torch.randn(k, d, d, generator=g, dtype=torch.float64)
    z = torch.randint(k, (n,), generator=g)
    noise = torch.randn(n, d, 1, generator=g, dtype=torch.float64)
    return centres[z] + (mixing[z] @ noise).squeeze(-1)


def start(y: torch.Tensor, k: int, covariance: str, floor: float = 0.0) -> GaussianMixture:
    return GaussianMixture.from_data(
        y, k=k, covariance=covariance, start="random", floor=floor, generator=seeded()
    )


def peer_of(energy: GaussianMixture, steps: int) -> SklearnMixture:
    covariances = energy.covariances.detach().double().numpy()
    precisions = np.linalg.inv(covariances) if energy.full else 1 / covariances
    return SklearnMixture(
        len(energy.means),
        covariance_type="full" if energy.full else "diag",
        weights_init=energy.configuration()["weights"].numpy(),
        means_init=energy.means.detach().double().numpy(),
        precisions_init=precisions,
        max_iter=steps,
        tol=0,
        reg_covar=0,
        init_params="random_from_data",
    )


def minus_log_density(energy: GaussianMixture, y: torch.Tensor) -> torch.Tensor:
    return ll.free_energy(energy, y, beta=1.0, measure="sum").detach()


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("data", ["iris", "clusters", "shifted"])
def test_equals_expectation_maximisation_of_scikit_learn(covariance: str, data: str) -> None:
    y = torch.as_tensor(load_iris().data) if data == "iris" else clusters(900, 5, 4)
    if data == "shifted":
        y = y + 1e3
    energy = start(y, 3, covariance)
    peer = peer_of(energy, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged, as meant
        peer.fit(y.numpy())
    fit = ll.fit(energy, y, ExpectationMaximization(tolerance=0.0), steps=12)
    assert fit.steps == 12
    torch.testing.assert_close(
        energy.weights.data, torch.as_tensor(peer.weights_), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(energy.means.data, torch.as_tensor(peer.means_), atol=1e-6, rtol=0)
    got = energy.covariances.detach()
    torch.testing.assert_close(got, torch.as_tensor(peer.covariances_), atol=1e-6, rtol=1e-6)
    want = torch.as_tensor(peer.score_samples(y.numpy()))
    torch.testing.assert_close(-minus_log_density(energy, y), want, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        ll.encode(energy, y), torch.as_tensor(peer.predict_proba(y.numpy())), atol=1e-6, rtol=0
    )
    mean = ll.free_energy(energy, y, beta=1.0).detach()
    torch.testing.assert_close(mean, -want + math.log(3), atol=1e-6, rtol=0)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(10, 120),
    d=st.integers(1, 4),
    k=st.integers(1, 6),
    covariance=st.sampled_from(["full", "diagonal"]),
    floor=st.sampled_from([1e-6, 1e-2, 1.0]),
)
def test_the_log_density_never_falls(
    seed: int, n: int, d: int, k: int, covariance: str, floor: float
) -> None:
    # From data a start obeys the floor, which is what every later step is the best under.
    energy = start(clusters(n, d, 3, seed), k, covariance, floor)
    y = clusters(n, d, 3, seed)
    fit = ll.fit(energy, y, ExpectationMaximization(tolerance=0.0), steps=40)
    losses = [*fit.history.loss, minus_log_density(energy, y).mean().item()]
    if fit.reseeded == 0:
        rises = [b - a for a, b in pairwise(losses)]
        assert max(rises) <= 1e-9 * (1 + max(map(abs, losses)))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("trusted", [8, 1e-5, 0])  # expanded all, in part, none
def test_a_fused_pass_equals_the_definition(
    covariance: str, dtype: torch.dtype, trusted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_soft_moments, "_TRUSTED", trusted)
    y = clusters(5000, 6, 4).to(dtype)
    energy = GaussianMixture.from_data(y, k=5, covariance=covariance, generator=seeded())
    fused = soft_sweeper_of(energy, y, None)()
    plain = soft_sweeper_of(energy, y, None, by_definition=True)()
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-6} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1}
    )
    torch.testing.assert_close(fused.free_energy, plain.free_energy, **tolerance)
    torch.testing.assert_close(fused.energy, plain.energy, **tolerance)
    torch.testing.assert_close(fused.counts, plain.counts, **tolerance)
    for name, value in plain.statistics.items():
        torch.testing.assert_close(fused.statistics[name], value, **tolerance)


def test_components_too_narrow_for_the_expansion_are_compared_one_by_one() -> None:
    y = torch.cat([clusters(200, 2, 2), 1e4 + 0.1 * clusters(200, 2, 2)]).float()
    energy = GaussianMixture.from_data(y, k=2, floor=1e-6, generator=seeded())
    fused, plain = (
        soft_sweeper_of(energy, y, None, by_definition=choice)() for choice in (False, True)
    )
    torch.testing.assert_close(fused.free_energy, plain.free_energy, rtol=1e-6, atol=0)
    for name, value in plain.statistics.items():
        torch.testing.assert_close(fused.statistics[name], value, rtol=1e-4, atol=1e-3)
    ll.fit(energy, y, ExpectationMaximization(), steps=50)
    assert torch.isfinite(minus_log_density(energy, y)).all()


def test_hard_weights_give_the_statistics_of_codes() -> None:
    y, z = clusters(40, 3, 2), torch.randint(4, (40,), generator=seeded())
    energy = start(y, 4, "full")
    hard = energy.statistics(y, z)
    soft = energy.soft_statistics(y, energy.latent.vectors(z, torch.float64))
    for name, value in hard.items():
        torch.testing.assert_close(soft[name], value)


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_draws_have_the_density_of_the_free_energy(beta: float, covariance: str) -> None:
    covariances = torch.tensor([[[1.0]], [[0.04]]], dtype=torch.float64)
    if covariance == "diagonal":
        covariances = covariances.squeeze(-1)
    means = torch.tensor([[-2.0], [1.5]], dtype=torch.float64)
    energy = GaussianMixture(torch.tensor([0.7, 0.3]), means, covariances)
    grid = torch.linspace(-12, 12, 40_001, dtype=torch.float64).unsqueeze(1)
    density = (-beta * ll.free_energy(energy, grid, beta=beta)).exp().detach()
    share = (density * (grid[:, 0] > 0.5)).sum() / density.sum()
    mean = (density * grid[:, 0]).sum() / density.sum()
    draws = ll.sample(energy, 40_000, beta=beta, generator=seeded()).last
    assert float((draws > 0.5).double().mean()) == pytest.approx(float(share), abs=0.01)
    assert float(draws.mean()) == pytest.approx(float(mean), abs=0.03)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_completion_is_the_conditional_mean(covariance: str) -> None:
    y = clusters(60, 5, 2).reshape(60, 5)
    energy = GaussianMixture.from_data(y, k=3, covariance=covariance, generator=seeded())
    observed = torch.rand(60, 5, generator=seeded()) < 0.5
    z = torch.randint(3, (60,), generator=seeded())
    blind = torch.where(observed, y, torch.nan)
    filled = energy.complete_codes(blind, observed, z).detach()
    sigma = energy.covariances.detach()
    for i in range(60):
        o, h, j = observed[i], ~observed[i], int(z[i])
        full = sigma[j] if covariance == "full" else sigma[j].diag()
        away = torch.linalg.solve(full[o][:, o], (y[i] - energy.means[j].detach())[o])
        want = energy.means[j].detach()[h] + full[h][:, o] @ away
        torch.testing.assert_close(filled[i, h], want)
        assert torch.equal(filled[i, o], y[i, o])
    points = filled.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(points, z=z).sum(), points)
    assert slope[~observed].abs().max() < 1e-8


def test_completions_take_any_batch() -> None:
    y = torch.randn(7, 2, 3, generator=seeded())
    energy = GaussianMixture.from_data(y, k=2, floor=0.1, generator=seeded())
    observed = torch.zeros(7, 1, 2, 3, dtype=torch.bool)
    observed[..., 0] = True
    codes = torch.arange(2).expand(7, 2)
    filled = energy.complete_codes(y.unsqueeze(1), observed, codes)
    assert filled.shape == (7, 2, 2, 3)
    torch.testing.assert_close(
        filled[3, 1], energy.complete_codes(y[3], observed[3, 0], torch.tensor(1))
    )


def test_an_empty_component_starts_again_at_the_item_of_lowest_density() -> None:
    y = torch.cat([clusters(50, 2, 1), torch.tensor([[40.0, 40.0]]).double()])
    means = torch.stack([y[0], torch.tensor([-1e4, 0.0]).double()])
    energy = GaussianMixture(torch.full((2,), 0.5), means, torch.ones(2, 2).double() * 4)
    fit = ll.fit(energy, y, ExpectationMaximization(), steps=1)
    assert fit.reseeded == 1
    torch.testing.assert_close(energy.means[1].data, y[-1])
    assert torch.equal(energy.covariances[1].detach(), torch.full((2,), 4.0).double())


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collapse_stops_at_the_floor(covariance: str, dtype: torch.dtype) -> None:
    for y in (torch.ones(30, 2), torch.arange(3).repeat(20).reshape(-1, 1).expand(-1, 2)):
        energy = start(y.to(dtype), 3, covariance, floor=1e-3)
        ll.fit(energy, y.to(dtype), ExpectationMaximization(), steps=60)
        spread = energy.covariances.detach()
        if covariance == "full":
            spread = torch.linalg.eigvalsh(spread)
        assert spread.min() >= 1e-3 * (1 - 1e-3)
        assert torch.isfinite(minus_log_density(energy, y.to(dtype))).all()


def test_a_singular_covariance_without_a_floor_is_refused() -> None:
    y = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    energy = GaussianMixture(torch.ones(1), y[:1], torch.ones(1, 2, 2) + torch.eye(2), floor=0.0)
    with pytest.raises(ll.DivergedError, match=r"component 0 is singular.*'floor'"):
        ll.fit(energy, y, ExpectationMaximization(), steps=5)


def test_the_floor_raises_eigenvalues_and_nothing_else() -> None:
    basis = torch.linalg.qr(torch.randn(3, 3, generator=seeded(), dtype=torch.float64)).Q
    low, high = (
        basis @ torch.tensor(values, dtype=torch.float64).diag() @ basis.T
        for values in ([1e-9, 0.5, 2.0], [0.1, 0.5, 2.0])
    )
    torch.testing.assert_close(at_least(torch.stack([low, high]), 0.1), torch.stack([high, high]))
    assert torch.equal(at_least(high.unsqueeze(0), 1e-6)[0], high)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_gradients_train_it_too(covariance: str) -> None:
    y = clusters(200, 2, 3)
    energy = start(y, 3, covariance, floor=1e-6)
    before = minus_log_density(energy, y).mean()
    ll.fit(energy, y, ll.GradientDescent(beta=1.0), steps=60, batch_size=200, generator=seeded())
    assert minus_log_density(energy, y).mean() < before


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_the_disk_keeps_an_ill_conditioned_one(covariance: str, tmp_path) -> None:
    y = torch.as_tensor(load_digits().data[:500], dtype=torch.float32)  # with constant pixels
    energy = GaussianMixture.from_data(y, k=6, covariance=covariance, generator=seeded())
    ll.fit(energy, y, ExpectationMaximization(), steps=3)
    ll.save(energy, tmp_path)
    loaded = ll.load(tmp_path)
    assert torch.equal(ll.score(loaded, y), ll.score(energy, y))
    assert loaded.floor == energy.floor


@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_a_diagonal_one_obeys_every_law(floor: float) -> None:
    y = clusters(60, 4, 3).reshape(60, 2, 2)
    ll.testing.check_energy(
        GaussianMixture.from_data(y, k=3, covariance="diagonal", floor=floor, generator=seeded())
    )


def test_processes_that_add_up_their_sums_take_the_same_steps() -> None:
    y = clusters(300, 3, 3)
    whole, shared = start(y, 3, "full"), start(y, 3, "full")
    doubled = ExpectationMaximization(reduce=lambda sums: {n: 2 * s for n, s in sums.items()})
    # Two processes with the same shard: weights and moments are those of the data twice.
    ll.fit(whole, torch.cat([y, y]), ExpectationMaximization(), steps=5)
    ll.fit(shared, y, doubled, steps=5)
    torch.testing.assert_close(shared.means.data, whole.means.data)
    torch.testing.assert_close(shared.covariances.detach(), whole.covariances.detach())


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("begin", ["k-means", "k-means++", "random"])
def test_a_start_from_data_is_seeded(covariance: str, begin: str) -> None:
    y = clusters(80, 3, 4).reshape(80, 3, 1)
    one, two = (
        GaussianMixture.from_data(y, k=4, covariance=covariance, start=begin, generator=seeded(3))
        for _ in range(2)
    )
    assert one.means.shape == (4, 3, 1)
    assert torch.equal(one.means, two.means)


def test_bad_arguments_are_refused() -> None:
    w, mean, one = torch.full((2,), 0.5), torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(ll.ShapeError, match="'covariances' of shape"):
        GaussianMixture(w, mean, torch.ones(2, 2))
    with pytest.raises(ll.DomainError, match=r"'weights'.*sum to 1"):
        GaussianMixture(torch.ones(2), mean, one)
    with pytest.raises(ll.DomainError, match="component 1"):
        GaussianMixture(w, mean, torch.stack([one[0], -one[0]]))
    with pytest.raises(ll.DomainError, match="'floor'"):
        GaussianMixture(w, mean, one, floor=-1.0)
    with pytest.raises(ll.DomainError, match="'covariance'"):
        GaussianMixture.from_data(torch.randn(5, 2), k=2, covariance="tied")
    with pytest.raises(ll.DomainError, match="'k'"):
        GaussianMixture.from_data(torch.randn(5, 2), k=6)
    with pytest.raises(ll.DomainError, match="'y'"):
        GaussianMixture.from_data(torch.full((5, 2), torch.nan), k=2)
    with pytest.raises(ll.DomainError, match="'tolerance'"):
        ExpectationMaximization(tolerance=-1.0)
    with pytest.raises(ll.CapabilityError, match="ExpectationMaximization"):
        ll.fit(ll.energies.KMeans(mean), one, ExpectationMaximization(), steps=1)
