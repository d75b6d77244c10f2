"""Pictures of what pretext tasks show."""

import numpy as np
import pytest
import torch

import lowland as ll
from lowland.pretext import GaussianNoise, Given, Masked


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array(), dtype=float) for image in figure.axes[0].images]


def test_hidden_pixels_are_missing_and_the_others_as_they_are() -> None:
    y = torch.rand(2, 1, 4, 4, generator=seeded())
    task = Masked(0.5, block=(2, 2))
    pictures = drawn(ll.plot.views(y, task, draws=1, generator=seeded(1)))
    seen = task.observed((2, 1, 4, 4), seeded(1))
    assert len(pictures) == 4
    for item in range(2):
        np.testing.assert_allclose(pictures[item], y[item, 0].numpy(), rtol=1e-6)
        mask = seen[item, 0].numpy()
        shown = np.ma.getdata(pictures[2 + item])
        np.testing.assert_allclose(shown[mask], y[item, 0].numpy()[mask], rtol=1e-6)
        assert np.isnan(shown[~mask]).all()


def test_a_fixed_mask_and_a_change_are_drawn_too() -> None:
    y = torch.rand(3, 4, 4, generator=seeded())
    half = Given(torch.arange(16).reshape(4, 4) < 8)
    assert len(drawn(ll.plot.views(y, half, draws=1))) == 6
    changed = drawn(ll.plot.views(y, GaussianNoise(0.1), draws=2, generator=seeded(1)))
    assert len(changed) == 9
    assert not np.allclose(changed[3], changed[6])


@pytest.mark.wrong_types
def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(ll.CapabilityError, match="pretext task"):
        ll.plot.views(torch.rand(2, 4, 4), 0.5)
    with pytest.raises(ll.DomainError, match="draws"):
        ll.plot.views(torch.rand(2, 4, 4), Masked(0.5), draws=0)
