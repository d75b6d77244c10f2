"""Acts stand on the frames that they act on."""

import pytest
import torch

from lowland import ShapeError
from lowland.pretext import with_actions


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_acts_become_planes_behind_the_frame(batch: tuple[int, ...]) -> None:
    frames, actions = torch.rand(*batch, 3, 2, 5, 4), torch.rand(*batch, 3, 6)
    joined = with_actions(frames, actions)
    assert joined.shape == (*batch, 3, 8, 5, 4)
    assert torch.equal(joined[..., :2, :, :], frames)
    planes = joined[..., 2:, :, :]
    assert torch.equal(planes, actions[..., None, None].expand_as(planes))


def test_an_act_too_few_is_refused() -> None:
    with pytest.raises(ShapeError, match="one act for each frame"):
        with_actions(torch.zeros(4, 3, 1, 8, 8), torch.zeros(4, 2, 2))
