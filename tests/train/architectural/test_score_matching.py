import copy
import functools
import math
from typing import Any

import pytest
import torch
from small_energies import Boltzmann, Quadratic, boltzmann, precision_matrix
from torch import Tensor, nn

import lowland as ll
from lowland.capabilities import Curves


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss_of(strategy: Any, energy: ll.Energy, y: Tensor, seed: int = 0) -> Tensor:
    return strategy.loss(energy, y, None, seeded(seed)).loss


@pytest.mark.parametrize("d", [1, 3, 4, 5, 10])
def test_the_exact_loss_of_a_quadratic_is_its_formula(d: int) -> None:
    energy = Quadratic(precision_matrix(d))
    y = torch.randn(50, d, generator=seeded(), dtype=torch.float64)
    expected = (y @ energy.precision).square().sum(1).mean() / 2 - energy.precision.trace()
    assert loss_of(ll.ScoreMatching(), energy, y).item() == pytest.approx(
        expected.item(), rel=1e-12
    )


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_the_exact_loss_of_a_network_is_that_of_its_dense_hessian(shape: tuple[int, ...]) -> None:
    y = torch.randn(6, *shape, generator=seeded(), dtype=torch.float64)
    energy = ll.energies.Network.from_data(y, hidden=(8, 8), generator=seeded())

    def single(point: Tensor) -> Tensor:
        return energy(point.unsqueeze(0)).squeeze(0)

    size = math.prod(shape)
    terms = []
    for point in y:
        hessian = torch.autograd.functional.hessian(single, point).reshape(size, size)
        slope = torch.autograd.functional.jacobian(single, point)
        terms.append(slope.square().sum() / 2 - hessian.trace())
    expected = torch.stack(terms).mean().item()
    assert loss_of(ll.ScoreMatching(), energy, y).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("strategy", [ll.ScoreMatching(), ll.SlicedScoreMatching(3)])
@pytest.mark.parametrize("activation", ["silu", "softplus", "gelu", "tanh"])
@pytest.mark.parametrize("hidden", [(6,), (6, 5), (7, 6, 5)])
def test_curvature_carried_forward_has_the_gradient_of_the_automatic_one(
    hidden: tuple[int, ...], activation: str, strategy: Any
) -> None:
    y = 2 * torch.randn(9, 3, generator=seeded(), dtype=torch.float64)
    energy = ll.energies.Network.from_data(
        y, hidden=hidden, activation=activation, generator=seeded()
    )
    assert isinstance(energy, Curves)
    plain = ll.energies.Network(nn.Sequential(nn.Identity(), energy.net), (3,))
    assert not isinstance(plain, Curves)
    losses = [loss_of(strategy, one, y) for one in (energy, plain)]
    torch.testing.assert_close(*losses)
    # The last is the bias of the head, which adds to all energies alike.
    parameters = list(energy.parameters())[:-1]
    carried, automatic = (torch.autograd.grad(loss, parameters) for loss in losses)
    for a, b in zip(carried, automatic, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(2, 1),
        nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(2, 4), nn.Softplus(beta=2), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(2, 4), nn.GELU(approximate="tanh"), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(2, 4), nn.SiLU(), nn.Dropout(), nn.Linear(4, 1)),
        nn.Sequential(nn.SiLU(), nn.Linear(2, 1)),
        nn.Sequential(nn.Linear(2, 1), nn.Flatten()),
        nn.Sequential(
            torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 4)), nn.SiLU(), nn.Linear(4, 1)
        ),
    ],
    ids=str,
)
def test_a_network_of_other_layers_promises_no_curvature(net: nn.Module) -> None:
    assert not isinstance(ll.energies.Network(net, (2,)), Curves)


def test_a_copied_network_carries_its_own_weights() -> None:
    y = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    energy = ll.energies.Network.from_data(y, hidden=(4,), generator=seeded())
    other = copy.deepcopy(energy)
    with torch.no_grad():
        other.net[1].weight.mul_(2.0)  # type: ignore[index, union-attr, operator]
    assert isinstance(energy, Curves)
    assert isinstance(other, Curves)
    assert not torch.equal(energy.curve(y)[1], other.curve(y)[1])


@pytest.mark.parametrize("slices", [1, 3])
def test_slices_count_the_diagonal_exactly(slices: int) -> None:
    energy = Quadratic(torch.diag(torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)))
    y = torch.randn(20, 3, generator=seeded(), dtype=torch.float64)
    exact = loss_of(ll.ScoreMatching(), energy, y)
    sliced = loss_of(ll.SlicedScoreMatching(slices), energy, y)
    assert sliced.item() == pytest.approx(exact.item(), rel=1e-12)


def test_the_mean_over_slices_is_the_exact_loss() -> None:
    energy = Quadratic(precision_matrix(4))
    y = torch.randn(4000, 4, generator=seeded(), dtype=torch.float64)
    exact = loss_of(ll.ScoreMatching(), energy, y).item()
    matrix = energy.precision.detach()
    # The variance of a slice is twice the sum of the squared elements off the diagonal.
    spread = (2 * (matrix.square().sum() - matrix.diagonal().square().sum())).sqrt().item()
    sliced = loss_of(ll.SlicedScoreMatching(8), energy, y).item()
    assert sliced == pytest.approx(exact, abs=4.5 * spread / math.sqrt(4000 * 8))
    assert sliced != pytest.approx(exact, rel=1e-9)


def test_the_gradient_vanishes_at_the_inverse_of_the_second_moments() -> None:
    y = torch.randn(300, 10, generator=seeded(), dtype=torch.float64) @ precision_matrix(10)
    best = torch.linalg.inv(y.T @ y / len(y))
    for factor, size in ((1.0, 1e-10), (1.1, None)):
        energy = Quadratic(factor * best)
        (slope,) = torch.autograd.grad(loss_of(ll.ScoreMatching(), energy, y), energy.precision)
        assert (slope.norm() < size) if size else (slope.norm() > 0.1)


@pytest.mark.parametrize(
    ("strategy", "tolerance"), [(ll.ScoreMatching(), 1e-3), (ll.SlicedScoreMatching(4), 0.05)]
)
def test_a_precision_matrix_in_ten_dimensions_is_recovered(strategy: Any, tolerance: float) -> None:
    # Where the trace is divided by d by mistake, a tenth of the precision comes out.
    y = Quadratic(precision_matrix(10)).draw(2000, seeded())
    best = torch.linalg.inv(y.T @ y / len(y))
    energy = Quadratic(torch.eye(10, dtype=torch.float64))
    sgd = functools.partial(torch.optim.SGD, lr=0.4)
    ll.fit(energy, y, strategy, steps=120, batch_size=2000, optimizer=sgd, generator=seeded())
    found = (energy.precision + energy.precision.T).detach() / 2
    assert torch.linalg.norm(found - best) < tolerance * torch.linalg.norm(best)


def test_a_finite_latent_is_summed_over() -> None:
    y = torch.randn(30, 2, generator=seeded(), dtype=torch.float64)
    energy = ll.energies.KMeans(y[:3])

    def log_density(point: Tensor) -> Tensor:
        return torch.logsumexp(-(point - y[:3]).square().sum(1), 0)

    terms = []
    for point in y:
        score = torch.autograd.functional.jacobian(log_density, point)
        trace = torch.autograd.functional.hessian(log_density, point).trace()
        terms.append(score.square().sum() / 2 + trace)
    expected = torch.stack(terms).mean().item()
    assert loss_of(ll.ScoreMatching(), energy, y).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("strategy", [ll.ScoreMatching(), ll.SlicedScoreMatching()])
def test_what_has_no_slope_or_curvature_is_refused(strategy: Any) -> None:
    machine = boltzmann(3)
    with pytest.raises(ll.CapabilityError, match=r"needs slopes in y.*Binary.*RatioMatching"):
        ll.fit(machine, machine.states(), strategy, steps=1)
    y = torch.randn(20, 6, generator=seeded())
    coding = ll.energies.SparseCoding((6, 9), penalty=0.3, generator=seeded())
    with pytest.raises(ll.CapabilityError, match=r"moves with y. Use DenoisingScoreMatching"):
        ll.fit(coding, y, strategy, steps=1)
    for size in (2, 6):
        bent = nn.Sequential(nn.Linear(size, 8), nn.ReLU(), nn.Linear(8, 1))
        with pytest.raises(ll.CapabilityError, match=r"needs curvature in y.*ReLU"):
            ll.fit(ll.energies.Network(bent, (size,)), y[:, :size], strategy, steps=1)


@pytest.mark.parametrize("strategy", [ll.ScoreMatching(), ll.SlicedScoreMatching()])
def test_a_missing_value_is_named(strategy: Any) -> None:
    y = torch.randn(20, 2, generator=seeded())
    y[3, 1] = math.nan
    with pytest.raises(ll.DomainError, match=r"must be finite.*\(3, 1\)|row 3"):
        ll.fit(Quadratic(torch.eye(2)), y, strategy, steps=1)


@pytest.mark.wrong_types
@pytest.mark.parametrize("slices", [0, -1, True, 1.5])
def test_slices_are_counted(slices: Any) -> None:
    with pytest.raises(ll.DomainError, match="'slices' of SlicedScoreMatching"):
        ll.SlicedScoreMatching(slices)


def test_the_energies_of_these_tests_are_what_they_say() -> None:
    machine = Boltzmann(torch.zeros(3, 3), torch.zeros(3))
    assert machine.log_z() == pytest.approx(3 * math.log(2))
    quadratic = Quadratic(precision_matrix(3))
    draws = quadratic.draw(100_000, seeded())
    assert torch.allclose(draws.T.cov(), torch.linalg.inv(quadratic.precision), atol=0.05)
