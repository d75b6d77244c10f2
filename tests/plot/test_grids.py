"""Grids show the items they were given, in their places, and leave out what is missing."""

import io
import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lowland import CapabilityError, Completion, DomainError, ShapeError, data
from lowland.energies import KMeans, Network
from lowland.plot import completions, images, projections, prototypes, samples


def _digits(n: int) -> Tensor:
    return data.digits().y[:n].float()


def _shown(panel: Axes) -> list[np.ndarray]:
    return [np.ma.filled(picture.get_array(), np.nan) for picture in panel.images]


def _hatched(panel: Axes) -> int:
    return sum(patch.get_hatch() is not None for patch in panel.patches)


def _texts(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.texts]


def _pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


@pytest.mark.parametrize("channels", [True, False])
def test_every_image_is_shown_row_by_row(channels: bool) -> None:
    batch = _digits(7)
    panel = images(batch if channels else batch[:, 0], columns=3).axes[0]
    for shown, expected in zip(_shown(panel), batch[:, 0], strict=True):
        np.testing.assert_array_equal(shown, expected.numpy())
    corners = [(picture.get_extent()[0], picture.get_extent()[3]) for picture in panel.images]
    assert len({left for left, _ in corners}) == 3
    assert corners == sorted(corners, key=lambda corner: (corner[1], corner[0]))
    assert {picture.get_clim() for picture in panel.images} == {
        (float(batch.min()), float(batch.max()))
    }


def test_colour_is_kept() -> None:
    batch = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    panel = images(batch, limits=(0, 1)).axes[0]
    np.testing.assert_allclose(_shown(panel)[1][..., :3], batch[1].movedim(0, -1), rtol=1e-6)
    left, right, bottom, top = panel.images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(5 / 4)


def test_missing_images_are_hatched_and_nothing_is_put_in_their_place() -> None:
    batch = _digits(4)
    batch[2] = math.nan
    panel = images(batch).axes[0]
    assert _hatched(panel) == 1
    assert np.isnan(_shown(panel)[2]).all()
    assert {picture.get_clim() for picture in panel.images} == {
        (0.0, float(batch[~batch.isnan()].max()))
    }
    assert _hatched(images(torch.full((2, 3, 4, 4), math.nan)).axes[0]) == 2


def test_hatching_lies_below_the_pixels_that_are_known() -> None:
    black = torch.zeros(1, 4, 4)
    half = black.clone()
    half[..., 2:] = math.nan
    full_tone, half_tone = (_pixels(images(y, limits=(0, 1))) for y in (black, half))
    black_pixels = (full_tone.sum(-1) == 0).sum()
    assert (half_tone.sum(-1) == 0).sum() == pytest.approx(black_pixels / 2, rel=0.05)


def test_titles_stand_under_the_images() -> None:
    assert _texts(images(_digits(2), titles=["a", "b"]).axes[0]) == ["a", "b"]
    with pytest.raises(DomainError, match="one text for each of 2"):
        images(_digits(2), titles=["a"])


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 8, 8), (5, 1, 1, 8, 8)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"'batch' must hold images"):
        images(torch.zeros(shape))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(DomainError, match="no pixels"):
        images(torch.zeros(0, 8, 8))
    with pytest.raises(DomainError, match="columns"):
        images(_digits(2), columns=0)
    with pytest.raises(DomainError, match="limits"):
        images(_digits(2), limits=(1, 1))


def _half() -> Tensor:
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    return mask


def _answers(y: Tensor) -> Completion:
    answers = torch.stack([y, y / 2, torch.full_like(y, math.nan)], 1)
    energy = torch.tensor([[0.25, 1.5, math.inf]]).repeat(len(y), 1)
    return Completion(answers, energy, torch.full((len(y),), 2))


@pytest.mark.parametrize("a_mask_each", [True, False])
def test_completions_show_truth_observed_answers_and_yardsticks(a_mask_each: bool) -> None:
    y, mask = _digits(4), _half()
    mask_given = mask.expand(y.shape) if a_mask_each else mask
    panel = completions(y, mask_given, _answers(y), yardsticks={"mean": y / 3}).axes[0]
    columns = np.array(_shown(panel)).reshape(6, 4, 8, 8)
    np.testing.assert_array_equal(columns[0], y[:, 0])
    np.testing.assert_array_equal(columns[1][..., :4], y[:, 0, :, :4])
    assert np.isnan(columns[1][..., 4:]).all()
    np.testing.assert_array_equal(columns[3], y[:, 0] / 2)
    assert np.isnan(columns[4]).all()
    np.testing.assert_allclose(columns[5], y[:, 0] / 3, rtol=1e-6)
    texts = _texts(panel)
    assert [t for t in texts if t[0] != "F"][:3] == ["truth", "observed", "best answer"]
    assert (texts.count("F = 0.25"), texts.count("F = 1.5"), texts.count("no answer")) == (4, 4, 4)
    assert "mean" in texts
    assert _hatched(panel) == 8


def test_completions_of_another_shape_are_refused() -> None:
    y, mask = _digits(2), _half()
    answers = _answers(y)
    with pytest.raises(ShapeError, match="'observed'"):
        completions(y, mask[..., :4], answers)
    with pytest.raises(ShapeError, match=r"'completion.y'"):
        completions(_digits(3), mask, answers)
    with pytest.raises(ShapeError, match=r"'completion.energy'"):
        completions(y, mask, Completion(answers.y, torch.zeros(2, 1), answers.count))
    with pytest.raises(ShapeError, match="'mean'"):
        completions(y, mask, answers, yardsticks={"mean": y[:1]})
    with pytest.raises(ShapeError, match="'y' must hold images"):
        completions(torch.zeros(2, 5), mask, answers)


def test_projections_stand_below_what_was_projected() -> None:
    clean = _digits(5)
    panel = projections(clean + 1, clean + 2, clean).axes[0]
    rows = np.array(_shown(panel)).reshape(3, 5, 8, 8)
    for row, expected in zip(rows, (clean, clean + 1, clean + 2), strict=True):
        np.testing.assert_array_equal(row, expected[:, 0])
    assert _texts(panel) == ["clean", "noisy", "projected"]
    assert _texts(projections(clean, clean).axes[0]) == ["noisy", "projected"]
    with pytest.raises(ShapeError, match="'projected'"):
        projections(clean, clean[:2])


def test_projections_in_the_plane_are_moves() -> None:
    noisy = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))
    panel = projections(noisy, noisy + 1, noisy - 1).axes[0]
    offsets = [np.asarray(c.get_offsets()) for c in panel.collections]
    for expected in (noisy - 1, noisy, noisy + 1):
        assert any(np.allclose(o, expected) for o in offsets)
    labels = [text.get_text() for text in panel.get_legend().get_texts()]
    assert labels == ["clean", "noisy", "projected"]


def test_samples_are_drawn_as_their_event_allows() -> None:
    assert len(samples(_digits(6)).axes[0].images) == 6
    points = torch.rand(30, 2)
    (dots,) = samples(points).axes[0].collections
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), points, rtol=1e-6)
    figure = samples(torch.rand(30, 6), columns=3, bins=10)
    assert len(figure.axes) == 6
    for panel in figure.axes:
        assert sum(bar.get_height() for bar in panel.patches) == 30
    assert len(samples(torch.rand(30)).axes) == 1
    with pytest.raises(ShapeError, match="at most 16"):
        samples(torch.rand(3, 64))
    with pytest.raises(DomainError, match="no samples"):
        samples(torch.rand(0, 2))
    with pytest.raises(DomainError, match="finite"):
        samples(torch.full((3, 5), math.nan))
    with pytest.raises(DomainError, match="columns"):
        samples(torch.rand(3, 5), columns=-1)


def test_prototypes_come_from_the_energy_or_from_a_tensor() -> None:
    energy = KMeans(_digits(5))
    panel = prototypes(energy).axes[0]
    np.testing.assert_array_equal(np.array(_shown(panel)), energy.prototypes[:, 0].detach())
    assert panel.images[0].get_cmap().name == "gray"
    points = torch.rand(4, 2)
    (dots,) = prototypes(KMeans(points)).axes[0].collections
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), points, rtol=1e-6)


def test_signed_filters_have_a_symmetric_scale() -> None:
    filters = torch.zeros(2, 4, 4)
    filters[0, 0, 0], filters[1, 1, 1] = -3.0, 2.0
    picture = prototypes(filters).axes[0].images[0]
    assert picture.get_clim() == (-3, 3)
    red, _, blue, _ = picture.to_rgba(np.array([-3.0]))[0]
    assert blue > red
    np.testing.assert_allclose(picture.to_rgba(np.array([0.0]))[0][:3], 0.97, atol=0.02)


def test_an_energy_without_codes_has_no_prototypes() -> None:
    with pytest.raises(CapabilityError, match="Network does not offer it"):
        prototypes(Network(torch.nn.Linear(2, 1), event=(2,)))
    with pytest.raises(ShapeError, match="'source' must hold images"):
        prototypes(KMeans(torch.rand(4, 5)))


def test_given_axes_are_drawn_in() -> None:
    figure = Figure()
    first, second, third, fourth = figure.subplots(1, 4)
    y = _digits(3)
    assert images(y, axes=first) is figure
    assert prototypes(y, axes=second) is figure
    assert projections(y, y, axes=third) is figure
    assert completions(y, _half(), _answers(y), axes=fourth) is figure
    assert [len(panel.images) for panel in figure.axes] == [3, 3, 6, 15]
