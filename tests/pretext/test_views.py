"""Views: images moved as the matrix says, changes one after another."""

import math

import pytest
import torch
from scipy import ndimage

import lowland as ll
from lowland.pretext import Blanked, GaussianNoise, Masked, Moved, Together, usual_views


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int, width: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    return torch.exp(-((rows - 9) ** 2 + (columns - 11) ** 2 / 3) / 8).reshape(1, 1, height, width)


@pytest.mark.parametrize("shape", [(20, 20), (20, 30)])
def test_an_image_moves_as_scipy_moves_it(shape: tuple[int, int]) -> None:
    y = blob(*shape)
    found = Moved(turn=40, shift=0.1, zoom=0.3, slant=0.3).corrupt(y, seeded(3))[0, 0]
    drawn = (2 * torch.rand(1, 5, generator=seeded(3), dtype=torch.float64) - 1)[0].tolist()
    angle, size, slant = math.radians(40) * drawn[0], 1.3 ** drawn[1], 0.3 * drawn[2]
    # In (x, y) about the middle, where y points down; scipy wants (row, column).
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = size * turn @ torch.tensor([[1.0, slant], [0.0, 1.0]])
    matrix = matrix.flip(0, 1).double().numpy()
    middle = (torch.tensor(shape) - 1).double().numpy() / 2
    shift = [0.1 * drawn[4] * shape[0], 0.1 * drawn[3] * shape[1]]
    expected = ndimage.affine_transform(
        y[0, 0].numpy(), matrix, middle + shift - matrix @ middle, order=1, mode="nearest"
    )
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_each_image_moves_by_its_own_amount_and_a_seed_repeats_it() -> None:
    y = blob(12, 12).expand(3, 1, 12, 12)
    first, again = Moved().corrupt(y, seeded(1)), Moved().corrupt(y, seeded(1))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1])


def test_what_a_task_hides_is_blanked() -> None:
    y = torch.rand(4, 1, 6, 6, generator=seeded()) + 1
    seen = Masked(0.5, block=(2, 2)).observed(y.shape, seeded(1))
    found = Blanked(Masked(0.5, block=(2, 2)), value=-1.0).corrupt(y, seeded(1))
    assert torch.equal(found, torch.where(seen, y, torch.tensor(-1.0)))


def test_changes_are_made_in_order() -> None:
    y = torch.rand(2, 1, 6, 6, generator=seeded())
    both = Together((Moved(), GaussianNoise(0.1))).corrupt(y, seeded(1))
    g = seeded(1)
    assert torch.equal(both, GaussianNoise(0.1).corrupt(Moved().corrupt(y, g), g))


def test_the_usual_views_are_for_the_shape() -> None:
    assert usual_views((1, 8, 8)) == Moved()
    assert isinstance(usual_views((7,)), Together)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Moved(turn=-1), ll.DomainError),
        (lambda: Moved(zoom=math.inf), ll.DomainError),
        (lambda: Moved().corrupt(torch.zeros(3, 4), None), ll.ShapeError),
        (lambda: Blanked(Masked(0.5), value=math.nan), ll.DomainError),
        (lambda: Together(()), ll.DomainError),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()
