import functools
import io
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.train import Record

Y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
sgd = functools.partial(torch.optim.SGD, lr=1e-2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def autoencoder(dtype: torch.dtype = torch.float32) -> ll.energies.Autoencoder:
    y = Y.to(dtype)
    return ll.energies.Autoencoder.from_data(y, hidden=(8,), code=4, generator=seeded(1))


def kmeans(k: int = 3) -> ll.energies.KMeans:
    return ll.energies.KMeans(Y[:k])


class Bowl(ll.Energy):
    """One trainable number, so that a step can be done by hand."""

    def __init__(self, event: tuple[int, ...] = (2,)) -> None:
        super().__init__(event)
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return self.a * y.square().sum(-1)


# What comes back.


def test_history_columns_and_record_every() -> None:
    fit = ll.fit(
        autoencoder(),
        Y,
        ll.Denoising(),
        steps=25,
        batch_size=16,
        record_every=10,
        generator=seeded(),
    )
    history = fit.history
    assert history.step == (1, 11, 21, 25)
    assert len(history) == 4
    columns = (history.seconds, history.loss, history.data_energy, history.negative_energy)
    assert {len(column) for column in columns} == {4}
    assert list(history.seconds) == sorted(history.seconds)
    assert all(value is not None and value > 0 for value in history.negative_energy)


def test_strategies_of_all_the_data_record_each_step() -> None:
    history = ll.fit(kmeans(), Y, ll.CoordinateDescent(), steps=4).history
    assert history.step == (1, 2, 3, 4)
    assert history.negative_energy == (None,) * 4


def test_loss_and_energy_of_a_record_are_of_one_moment() -> None:
    # A Record is "before the step that it counts", and this loss is the mean energy of the data.
    fit = ll.fit(
        Bowl(), Y, ll.GradientDescent(), steps=5, optimizer=sgd, record_every=1, generator=seeded()
    )
    assert fit.history.data_energy == pytest.approx(fit.history.loss, rel=1e-6)


def test_a_step_is_the_optimizers_step() -> None:
    energy = Bowl()
    ll.fit(energy, Y, ll.GradientDescent(), steps=1, optimizer=sgd, generator=seeded())
    expected = 1 - 0.01 * Y.square().sum(-1).mean().item()
    assert energy.a.item() == pytest.approx(expected, rel=1e-6)


def test_callbacks_all_see_each_record_and_can_end_training() -> None:
    seen: list[int] = []

    def watch(record: Record) -> None:
        seen.append(record.step)

    def stop(record: Record) -> bool:
        return record.step >= 5

    fit = ll.fit(
        kmeans(),
        Y,
        ll.GradientDescent(),
        steps=50,
        record_every=2,
        callbacks=(stop, watch),
        generator=seeded(),
    )
    assert (fit.stopped, fit.converged, fit.steps) == ("callback", False, 5)
    assert seen == [1, 3, 5]


def test_only_true_ends_training() -> None:
    fit = ll.fit(kmeans(), Y, ll.GradientDescent(), steps=3, callbacks=(lambda record: False,))
    assert fit.stopped == "steps"


def test_an_error_in_a_callback_is_the_users_to_see() -> None:
    def fail(record: Record) -> None:
        raise LookupError("mine")

    energy = kmeans()
    with pytest.raises(LookupError, match="mine"):
        ll.fit(energy, Y, ll.GradientDescent(), steps=3, callbacks=(fail,))
    assert not energy.training


def test_training_mode_inside_evaluation_mode_after() -> None:
    modes: list[bool] = []
    energy = Bowl().eval()
    forward = energy.forward

    def spy(y: Tensor, **given: Any) -> Tensor:
        if torch.is_grad_enabled():
            modes.append(energy.training)
        return forward(y, **given)

    energy.forward = spy  # type: ignore[method-assign]
    ll.fit(energy, Y, ll.GradientDescent(), steps=2)
    assert modes == [True, True]
    assert not energy.training


def test_the_bar_shows_loss_and_energies(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    ll.fit(autoencoder(), Y, ll.Denoising(), steps=3, progress=True, generator=seeded())
    text = screen.getvalue()
    assert "Autoencoder by Denoising" in text
    assert "loss" in text
    assert "negatives" in text
    screen.truncate(0)
    ll.fit(autoencoder(), Y, ll.Denoising(), steps=3, progress=None, generator=seeded())
    assert "loss" not in screen.getvalue()
