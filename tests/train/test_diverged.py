import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.train import History

Y = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Level(ll.Energy):
    """E = f(a): what training does to a is the same for any data."""

    def __init__(self, power: int = 4, fails_at: int = -1) -> None:
        super().__init__((2,))
        self.power = power
        self.fails_at = fails_at
        self.a = nn.Parameter(torch.ones(()))
        self.losses = 0

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        value = self.a**self.power
        if torch.is_grad_enabled():
            self.losses += 1
            if self.losses == self.fails_at:
                value = value * math.nan
        return value + 0 * y.sum(-1)


class SteepRoot(ll.Energy):
    """A finite value with an infinite slope: the square root at 0."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.a = nn.Parameter(torch.zeros(()))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return self.a.sqrt() + 0 * y.sum(-1)


def sgd(lr: float) -> Any:
    return functools.partial(torch.optim.SGD, lr=lr)


def diverged(energy: ll.Energy, **options: Any) -> ll.DivergedError:
    with pytest.raises(ll.DivergedError) as caught:
        ll.fit(energy, Y, ll.GradientDescent(), generator=seeded(), **options)
    return caught.value


@pytest.mark.parametrize("record_every", [1, 3, 1000])
@pytest.mark.parametrize("fails_at", [1, 2, 5, 8])
def test_a_nan_loss_names_its_step_and_restores_good_parameters(
    record_every: int, fails_at: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"optimizer": sgd(0.01), "record_every": record_every}
    energy = Level(fails_at=fails_at)
    error = diverged(energy, steps=20, checkpoint=tmp_path, checkpoint_every=2, **options)
    assert error.step == fails_at
    assert error.restored_step is not None
    assert 0 <= error.restored_step < fails_at
    assert error.restored_step >= fails_at - 1 - record_every
    assert f"step {fails_at}" in str(error)
    assert f"step {error.restored_step}" in str(error)
    expected = Level()
    if error.restored_step:
        ll.fit(
            expected,
            Y,
            ll.GradientDescent(),
            steps=error.restored_step,
            generator=seeded(),
            **options,
        )
    assert torch.equal(energy.a, expected.a)
    assert isinstance(error.history, History)
    assert error.history.step == tuple(range(1, fails_at, record_every))
    assert all(math.isfinite(value) for value in error.history.loss)
    assert not energy.training
    assert math.isfinite(ll.load(tmp_path).a.item())  # type: ignore[arg-type,operator,union-attr]
    assert str(tmp_path) in str(error)


# a ← a − 4·a³ overflows within five steps: 1, −3, 105, −4.6e6, 3.9e20, …
@pytest.mark.parametrize("record_every", [1, 1000])
def test_parameters_that_blow_up(record_every: int) -> None:
    energy = Level()
    error = diverged(energy, steps=20, optimizer=sgd(1.0), record_every=record_every)
    assert error.step in (4, 5)
    assert math.isfinite(energy.a.item())
    assert bool(torch.isfinite(ll.score(energy, Y)).all())


def test_the_checkpoint_after_divergence_is_a_good_one(tmp_path: Path) -> None:
    # a = 3.9e20 is finite, but its energy is not: that is no good checkpoint.
    energy = Level()
    diverged(
        energy,
        steps=20,
        optimizer=sgd(1.0),
        record_every=1000,
        checkpoint=tmp_path,
        checkpoint_every=1,
    )
    assert bool(torch.isfinite(ll.score(ll.load(tmp_path), Y)).all())


def test_the_last_step_is_looked_at_too(tmp_path: Path) -> None:
    energy = Level()
    error = diverged(energy, steps=4, optimizer=sgd(1.0), checkpoint=tmp_path)
    assert error.step == 4
    assert bool(torch.isfinite(ll.score(energy, Y)).all())
    assert bool(torch.isfinite(ll.score(ll.load(tmp_path), Y)).all())


def test_parameters_that_become_infinite_are_divergence_not_a_bad_checkpoint(
    tmp_path: Path,
) -> None:
    # 0, −1.8e38, −inf: the second step's loss is finite, and it is neither recorded nor the last.
    energy = Level(power=1)
    with torch.no_grad():
        energy.a.zero_()
    with pytest.raises(ll.DivergedError) as caught:
        ll.fit(
            energy,
            Y[:1],
            ll.GradientDescent(),
            steps=9,
            optimizer=sgd(1.8e38),
            record_every=1000,
            checkpoint=tmp_path,
            checkpoint_every=1,
            generator=seeded(),
        )
    assert caught.value.step in (2, 3)
    assert math.isfinite(energy.a.item())
    assert math.isfinite(ll.load(tmp_path).a.item())  # type: ignore[arg-type,operator,union-attr]


def test_an_infinite_gradient_is_named_and_changes_nothing(tmp_path: Path) -> None:
    energy = SteepRoot()
    error = diverged(energy, steps=3, optimizer=sgd(0.1), checkpoint=tmp_path)
    assert "gradient of 'a' is not finite" in str(error)
    assert (error.step, error.restored_step) == (1, 0)
    assert energy.a.item() == 0.0


def test_an_optimizer_whose_state_overflows_is_divergence(tmp_path: Path) -> None:
    # The square of a gradient of 4e27 is no float32: Adam would divide by infinity and stand still.
    energy = Level()
    with torch.no_grad():
        energy.a.fill_(1e9)
    adam = functools.partial(torch.optim.Adam, lr=1e-3)
    error = diverged(energy, steps=3, optimizer=adam, checkpoint=tmp_path)
    assert error.step == 1


def test_a_solution_that_is_not_finite() -> None:
    class Broken(ll.energies.KMeans):
        def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
            super().solve_parameters(statistics)
            with torch.no_grad():
                self.prototypes.fill_(math.nan)

    energy = Broken(Y[:3])
    with pytest.raises(ll.DivergedError) as caught:
        ll.fit(energy, Y, ll.CoordinateDescent(), steps=9)
    assert caught.value.step in (1, 2)
    assert bool(torch.isfinite(energy.prototypes).all())


def test_a_solution_that_is_not_finite_in_the_last_step() -> None:
    class Broken(ll.energies.KMeans):
        def solve_parameters(self, statistics: dict[str, Tensor]) -> None:
            with torch.no_grad():
                self.prototypes.fill_(math.nan)

    energy = Broken(Y[:3])
    with pytest.raises(ll.DivergedError):
        ll.fit(energy, Y, ll.CoordinateDescent(), steps=1)
    assert bool(torch.isfinite(energy.prototypes).all())


def test_nothing_is_substituted_for_a_value_that_is_not_finite() -> None:
    energy = Level(fails_at=3)
    error = diverged(energy, steps=20, optimizer=sgd(0.01), record_every=1)
    assert "nan" in str(error)
    assert isinstance(error.history, History)
    assert error.history.step == (1, 2)


def test_a_diverged_run_can_be_resumed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": sgd(0.01), "checkpoint": tmp_path}
    diverged(Level(fails_at=8), steps=20, checkpoint_every=3, **options)
    resumed, straight = Level(), Level()
    fit = ll.fit(resumed, Y, ll.GradientDescent(), steps=20, resume=True, **options)
    ll.fit(straight, Y, ll.GradientDescent(), steps=20, optimizer=sgd(0.01), generator=seeded())
    assert fit.steps == 20
    assert torch.equal(resumed.a, straight.a)
