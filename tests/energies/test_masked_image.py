"""Masked images: the encoder sees whole visible patches and nothing else."""

import pytest
import torch

import lowland as ll
from lowland.energies._patches import regional_means
from lowland.energies.masked_autoencoder import shown


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**options: object) -> ll.energies.MaskedImage:
    settings = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "decoder": 8, **options}
    return ll.energies.MaskedImage((2, 8, 12), generator=seeded(), **settings)


def test_the_encoder_gets_the_visible_patches_alone() -> None:
    energy = small()
    y = torch.randn(3, 2, 8, 12, generator=seeded(1))
    x = ll.pretext.Masked(0.5, block=(4, 4)).observed(y.shape, seeded(2))
    lengths = []
    hook = energy.net.layers[0].register_forward_pre_hook(
        lambda _, inputs: lengths.append(inputs[0].shape[1])
    )
    energy(y, x=x)
    hook.remove()
    assert lengths == [1 + 3]  # three of the six patches, and the token that is always there


def test_a_patch_that_is_hidden_in_part_is_not_seen_but_judged_in_part() -> None:
    energy = small()
    y = torch.randn(1, 2, 8, 12, generator=seeded(1))
    x = torch.ones(1, 2, 8, 12, dtype=torch.bool)
    x[0, 0, 1, 1] = False
    other = y.clone()
    other[0, :, :4, :4] += torch.randn(2, 4, 4, generator=seeded(2))
    predicted, again = energy.reconstruct(y, x=x), energy.reconstruct(other, x=x)
    assert predicted[0, 0, 1, 1] == again[0, 0, 1, 1]
    assert torch.equal(predicted[x], y[x])
    expected = (predicted[0, 0, 1, 1] - y[0, 0, 1, 1]).square()
    torch.testing.assert_close(energy(y, x=x)[0], expected)


def test_items_with_different_numbers_of_visible_patches_do_not_disturb_each_other() -> None:
    energy = small()
    y = torch.randn(4, 2, 8, 12, generator=seeded(1))
    x = torch.rand(4, 1, 2, 3, generator=seeded(2)) < torch.tensor([0.0, 0.3, 0.6, 1.0]).reshape(
        -1, 1, 1, 1
    )
    x = x.repeat_interleave(4, 2).repeat_interleave(4, 3).expand_as(y)
    together = energy(y, x=x)
    alone = torch.cat([energy(y[i : i + 1], x=x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone)
    assert together[3] == 0  # nothing is hidden


def test_patches_and_images_are_the_same_pixels() -> None:
    net = small().net
    y = torch.randn(2, 2, 8, 12, generator=seeded(1))
    patches = net._patches(y)
    assert torch.equal(patches[:, 1], y[:, :, :4, 4:8].flatten(1))
    assert torch.equal(net._image(patches), y)


def test_features_of_patches_stand_at_their_places() -> None:
    energy = small()
    y = torch.randn(2, 2, 8, 12, generator=seeded(1))
    every = energy.encode_patches(y)
    assert every.shape == (2, 6, 16)
    x = torch.ones_like(y, dtype=torch.bool)
    x[0, :, :4, :4] = False
    features = energy.encode_patches(y, x=x)
    assert bool(features[0, 0].isnan().all())
    assert not bool(features[0, 1:].isnan().any())
    tokens, _, order, _ = energy.net.encode(shown(y, x))
    for slot, place in enumerate(order[0, :5].tolist()):
        torch.testing.assert_close(features[0, place], tokens[0, 1 + slot])


def test_features_are_means_over_regions() -> None:
    energy = small(regions=2)
    y = torch.randn(3, 2, 8, 12, generator=seeded(1))
    patches = energy.encode_patches(y)
    features = ll.encode(energy, y).reshape(3, 5, 16)
    torch.testing.assert_close(features[:, 0], patches.mean(1))
    torch.testing.assert_close(features[:, 1], patches[:, [0, 1]].mean(1))  # top left of 2 × 3


def test_regional_means_leave_out_what_is_hidden() -> None:
    values = torch.tensor([[1.0, 2.0], [0.0, 4.0]]).reshape(1, 4, 1)
    visible = torch.tensor([[True, True, False, True]])
    means = regional_means(values, visible, (2, 2), 2)
    torch.testing.assert_close(means.flatten(), torch.tensor([7 / 3, 1.0, 2.0, 0.0, 4.0]))


def test_a_region_of_any_shape_is_filled() -> None:
    energy = small()
    y = torch.randn(2, 2, 8, 12, generator=seeded(1))
    seen = torch.rand(2, 8, 12, generator=seeded(2)) < 0.97
    answers = ll.complete(energy, torch.where(seen, y, torch.nan), observed=seen, n=1)
    assert torch.equal(answers.y[:, 0][:, seen], y[:, seen])
    assert bool(torch.isfinite(answers.y).all())


@pytest.mark.parametrize(
    ("event", "options", "error", "says"),
    [
        ((1, 9, 8), {}, ll.ShapeError, "divides"),
        ((8,), {}, ll.ShapeError, "divides"),
        ((1, 8, 8), {"width": 10}, ll.DomainError, "multiples"),
        ((1, 8, 8), {"depth": 0}, ll.DomainError, "depth"),
    ],
)
def test_what_does_not_fit_is_refused(
    event: tuple[int, ...], options: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ll.energies.MaskedImage(event, **options)


@pytest.mark.parametrize(
    ("size", "patch"), [((28, 28), 4), ((8, 8), 2), ((224, 224), 16), ((5, 7), 1)]
)
def test_the_usual_patch_is_about_a_seventh(size: tuple[int, int], patch: int) -> None:
    y = torch.zeros(1, 1, *size)
    assert ll.energies.MaskedImage.from_data(y, width=16, depth=1).patch == patch
