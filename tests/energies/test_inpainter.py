"""Inpainting: pixels hidden one by one, images of any size."""

import pytest
import torch

import lowland as ll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(1, 4, 4), (3, 7, 5), (2, 9, 16)])
def test_images_of_any_size_keep_it(size: tuple[int, ...]) -> None:
    energy = ll.energies.Inpainter(size, channels=(3, 4, 5), likelihood=True, generator=seeded())
    y = torch.randn(2, *size, generator=seeded(1))
    x = torch.rand(2, *size, generator=seeded(2)) < 0.5
    assert energy.reconstruct(y, x=x).shape == y.shape
    assert ll.encode(energy, y).shape[0] == 2


def test_smooth_images_are_filled_better_than_by_their_mean() -> None:
    g = seeded()
    line = torch.linspace(0, 3, 12)
    phase = 6 * torch.rand(600, 2, 1, 1, generator=g)
    y = (line + phase[:, 0]).sin().unsqueeze(2) * (line + phase[:, 1]).cos().unsqueeze(3)
    y = y.reshape(600, 1, 12, 12)
    energy = ll.energies.Inpainter.from_data(y, channels=(8, 16), generator=g)
    task = ll.pretext.Masked(0.5)
    ll.fit(energy, y[:500], ll.Masking(task), steps=150, batch_size=32, generator=g)
    x = task.observed((100, 1, 12, 12), g)
    found = ll.complete(energy, y[500:], observed=x, n=1).y[:, 0]
    error = (found - y[500:])[~x].square().mean()
    assert float(error) < 0.1 * float(y.var())


@pytest.mark.parametrize(
    ("event", "channels", "error"),
    [
        ((1, 3, 8), (4, 4, 4), ll.ShapeError),
        ((8,), (4,), ll.ShapeError),
        ((1, 8, 8), (), ll.DomainError),
        ((1, 8, 8), (4, 0), ll.DomainError),
    ],
)
def test_what_does_not_fit_is_refused(
    event: tuple[int, ...], channels: tuple[int, ...], error: type[Exception]
) -> None:
    with pytest.raises(error, match="Inpainter"):
        ll.energies.Inpainter(event, channels)
