"""Roll-outs follow the decoder step by step, and codes come as often as their mass says."""

import math

import pytest
import torch

import lowland as ll
from lowland import CapabilityError, DomainError, ShapeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Walk(ll.Energy):
    """y is the last of x, moved by the code: −1 with probability .25, +1 with .75."""

    def __init__(self, frames: int = 1, acts: int = 0) -> None:
        super().__init__((frames, 1) if frames > 1 else (1,), ll.OneHot(2))
        self.frames = frames
        self.acts = acts

    def decode(self, z, *, x=None):
        push = x[..., -1, 1:].sum(-1) if self.acts else 0
        now = x[..., -1, 0] + 2 * z - 1 + push
        ahead = torch.arange(self.frames, dtype=x.dtype)
        y = now.unsqueeze(-1) + ahead
        return y.unsqueeze(-1) if self.frames > 1 else y

    def forward(self, y, *, x=None, z=None):
        mass = torch.tensor([0.25, 0.75], dtype=y.dtype).log()
        miss = (y - self.decode(z, x=x)).flatten(-len(self.event)).square().sum(-1)
        return 1000 * miss - mass[z]


def test_steps_are_drawn_by_mass_and_build_on_one_another() -> None:
    x = torch.zeros(1, 3, 1, dtype=torch.float64)
    found = ll.rollout(Walk(), x, steps=5, n=2000, generator=seeded())
    assert found.y.shape == (1, 2000, 5, 1)
    path = torch.cat([torch.zeros(1, 2000, 1), found.y[..., 0]], 2)
    moves = path.diff(dim=2)
    assert torch.equal(moves.abs(), torch.ones_like(moves))
    share = (moves > 0).double().mean((0, 1))
    assert ((share - 0.75).abs() < 5 * math.sqrt(0.75 * 0.25 / 2000)).all()
    expected = torch.where(moves > 0, -math.log(0.75), -math.log(0.25))
    assert torch.allclose(found.energy, expected.to(found.energy))
    again = ll.rollout(Walk(), x, steps=5, n=2000, generator=seeded())
    assert torch.equal(again.y, found.y)


def test_the_best_code_is_the_likeliest() -> None:
    found = ll.rollout(Walk(), torch.zeros(2, 1, 1), steps=4, n=3, best=True)
    assert torch.equal(found.y, torch.arange(1.0, 5).reshape(1, 1, 4, 1).expand(2, 3, 4, 1))


def test_several_frames_ahead_become_the_past_together() -> None:
    found = ll.rollout(Walk(frames=2), torch.zeros(1, 3, 1), steps=3, n=1, best=True)
    assert found.y[0, 0].flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_acts_are_put_on_the_newest_frame() -> None:
    x = torch.zeros(1, 2, 2)
    actions = torch.tensor([[[10.0], [0.0], [-5.0]]])
    found = ll.rollout(Walk(acts=1), x, steps=3, n=1, best=True, actions=actions)
    assert found.y.flatten().tolist() == [11, 12, 8]
    assert torch.equal(x, torch.zeros(1, 2, 2))
    with pytest.raises(ShapeError, match="give 'actions'"):
        ll.rollout(Walk(acts=1), x, steps=3)
    with pytest.raises(ShapeError, match="items, steps, m"):
        ll.rollout(Walk(acts=1), x, steps=2, actions=actions)
    with pytest.raises(ShapeError, match="last channels"):
        ll.rollout(Walk(), torch.zeros(1, 2, 1), steps=3, actions=actions)


def test_in_the_units_of_the_data() -> None:
    unit = ll.Scaling(torch.tensor([3.0]), torch.tensor([2.0]))
    energy = ll.Scaled(Walk(), unit, unit)
    x = torch.full((1, 2, 1), 3.0)  # 0 in the energy's units
    found = ll.rollout(energy, x, steps=3, n=1, best=True)
    assert found.y.flatten().tolist() == [5, 7, 9]


def test_a_normal_code_is_drawn() -> None:
    decoder = torch.nn.Bilinear(2, 1, 1)

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = decoder

        def forward(self, z, x):
            return self.inner(z, x[:, -1])

    class Encoder(torch.nn.Module):
        def forward(self, y, x):
            return torch.zeros(len(y), 4)

    energy = ll.energies.VAE(Encoder(), Flat(), event=(1,), m=2, conditional=True)
    found = ll.rollout(energy, torch.ones(2, 3, 1), steps=2, n=4, generator=seeded())
    assert found.y.shape == (2, 4, 2, 1)
    assert found.y[:, :, 0].unique().numel() == 8
    calm = ll.rollout(energy, torch.ones(2, 3, 1), steps=2, n=4, best=True)
    assert calm.y[:, :, 0].unique().numel() == 1


def test_what_cannot_roll_out_is_refused() -> None:
    least = ll.energies.LeastSquares(torch.ones(1, 1), torch.zeros(1), event=(1,))
    with pytest.raises(CapabilityError, match="rollout needs"):
        ll.rollout(least, torch.zeros(1, 1, 1), steps=2)
    with pytest.raises(DomainError, match="steps and n"):
        ll.rollout(Walk(), torch.zeros(1, 1, 1), steps=0)


def test_weights_of_predictions_are_the_masses() -> None:
    found = ll.predict(Walk(), torch.zeros(3, 1, 1), n=3)
    assert found.count.tolist() == [2, 2, 2]
    assert torch.equal(found.y[:, :2, 0], torch.tensor([[1.0, -1.0]]).expand(3, 2))
    assert torch.allclose(found.weight, torch.tensor([0.75, 0.25, 0.0]).expand(3, 3), atol=1e-6)


def test_codes_that_say_the_same_add_up() -> None:
    energy = ll.energies.NextFrame(
        (1, 4, 4), past=1, k=3, noise=0.1, widths=(4,), generator=seeded()
    )
    with torch.no_grad():
        energy.mass.weight.zero_()
        energy.mass.bias.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
        for tensor in energy.net.head.parameters():
            rows = tensor.unflatten(0, (3, -1))
            rows[1] = rows[0]
    found = ll.predict(energy, torch.randn(5, 1, 1, 4, 4, generator=seeded(1)), n=3)
    assert found.count.tolist() == [2] * 5
    assert torch.allclose(found.weight[:, :2], torch.full((5, 2), 0.5), atol=0.02)
    single = ll.energies.LeastSquares(torch.ones(1, 1), torch.zeros(1), event=(1,))
    alone = ll.predict(single, torch.ones(2, 1), n=1)
    assert torch.equal(alone.weight, torch.ones(2, 1))
