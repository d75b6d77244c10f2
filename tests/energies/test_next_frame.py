"""One of several futures: the energy is a mixture's, and it learns what least squares cannot."""

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import lowland as ll
from lowland import CapabilityError, DomainError, ShapeError
from lowland.data import turning_digits
from lowland.pretext import with_actions


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(event=(2, 5, 7), **options) -> ll.energies.NextFrame:
    options = {"past": 2, "k": 3, "noise": 0.7, "widths": (3, 4), "generator": seeded(), **options}
    return ll.energies.NextFrame(event, **options).double()


def clips(energy: ll.energies.NextFrame, *batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(*batch, *energy.inputs, generator=seeded(1), dtype=torch.float64)
    y = torch.randn(*batch, *energy.event, generator=seeded(2), dtype=torch.float64)
    return x, y


@pytest.mark.parametrize("event", [(2, 5, 7), (3, 1, 6, 4)])
def test_f_1_is_the_density_of_a_mixture(event: tuple[int, ...]) -> None:
    energy = small(event)
    x, y = clips(energy, 4)
    heads = energy.futures(x)
    size = math.prod(event)
    mixture = MixtureSameFamily(
        Categorical(logits=heads.log_mass),
        Independent(Normal(heads.y.flatten(2), energy.noise), 1),
    )
    free = ll.free_energy(energy, y, x=x, beta=1.0, measure="sum")
    constant = size / 2 * math.log(2 * math.pi * energy.noise**2)
    assert torch.allclose(free, -mixture.log_prob(y.flatten(1)) - constant)


def test_a_code_decodes_to_its_future() -> None:
    energy = small()
    x, _ = clips(energy, 2, 3)
    z = torch.tensor([[0, 2, 1], [1, 1, 0]])
    decoded, heads = energy.decode(z, x=x), energy.futures(x)
    for i in range(2):
        for j in range(3):
            assert torch.equal(decoded[i, j], heads.y[i, j, z[i, j]])
    assert torch.allclose(
        energy(decoded, x=x, z=z), -heads.log_mass.gather(2, z[..., None])[..., 0]
    )


def test_a_past_seen_again_and_again_gives_the_same() -> None:
    energy = small()
    x, _ = clips(energy, 4)
    wide = x.unsqueeze(1).expand(4, 5, *x.shape[1:])
    lazy, plain = energy.futures(wide), energy.futures(wide.contiguous())
    assert torch.allclose(lazy.y, plain.y)
    assert torch.allclose(lazy.log_mass, plain.log_mass)
    assert lazy.y.shape == plain.y.shape == (4, 5, 3, 2, 5, 7)


def test_draws_are_the_mixture() -> None:
    energy = small((1, 2, 2), widths=(2,), noise=0.05)
    x, _ = clips(energy, 1)
    heads = energy.futures(x)
    draws = energy.sample_gibbs(4000, beta=1.0, generator=seeded(), x=x.expand(4000, *x.shape[1:]))
    mean = (heads.log_mass[0].exp()[:, None, None, None] * heads.y[0]).sum(0)
    spread = (heads.y[0] - mean).square().amax().sqrt() + 0.05
    assert (draws.mean(0) - mean).abs().max() < 5 * spread / 4000**0.5


def test_a_split_leaves_the_free_energy_nearly_as_it_was() -> None:
    energy = small(k=4, noise=1.0)
    x, y = clips(energy, 6)
    with torch.no_grad():
        energy.mass.bias[3] = -40.0  # a code without mass
    before = ll.free_energy(energy, y, x=x, beta=1.0)
    energy.split_codes(torch.tensor([1]), torch.tensor([3]), generator=seeded())
    after = ll.free_energy(energy, y, x=x, beta=1.0)
    assert (after - before).abs().max() < 0.05 * before.abs().max()
    heads = energy.futures(x)
    assert torch.allclose(heads.log_mass[:, 1], heads.log_mass[:, 3])
    near = (heads.y[:, 1] - heads.y[:, 3]).square().mean()
    far = (heads.y[:, 1] - heads.y[:, 0]).square().mean()
    assert 0 < near < 0.1 * far


def test_bfloat16_is_for_training_alone() -> None:
    energy = small(mixed_precision=True).float()
    plain = small().float()
    x, y = (part.float() for part in clips(energy, 4))
    energy.eval()
    assert torch.equal(energy.tabulate(y, x=x), plain.eval().tabulate(y, x=x))
    energy.train()
    rounded = energy.tabulate(y, x=x)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, plain.tabulate(y, x=x))
    assert torch.allclose(rounded, plain.tabulate(y, x=x), rtol=0.05)


def test_what_is_done_decides_what_comes() -> None:
    """A spot goes where the act says: with the act one head is enough, without it is not."""
    g = seeded()
    spot = torch.ones(1, 1, 2, 2)
    made = turning_digits(
        spot, 600, size=8, past=2, speed=2.0, turns=(-60.0, 60.0), weights=(1, 1), generator=g
    )
    acts = torch.zeros(600, 2, 1)
    acts[:, -1, 0] = 2.0 * made.mode - 1
    errors = []
    for x in (made.x, with_actions(made.x, acts)):
        energy = ll.energies.NextFrame.from_data(made.y, x=x, k=1, widths=(16, 24), generator=g)
        assert energy.actions == x.shape[2] - 1
        ll.fit(
            energy,
            (x, made.y),
            ll.FreeEnergyDescent(),
            steps=150,
            batch_size=64,
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
            generator=seeded(1),
        )
        with torch.no_grad():
            errors.append(float((energy.futures(x).y[:, 0] - made.y).square().mean()))
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("ahead", [1, 2])
def test_a_noisy_code_is_trained_kept_and_rolled_out(ahead: int, tmp_path: Path) -> None:
    frames = torch.rand(48, 2 + ahead, 1, 6, 7, generator=seeded())
    x, y = frames[:, :2], frames[:, 2] if ahead == 1 else frames[:, 2:]
    energy = ll.energies.NextFrame.noisy(y, x=x, m=3, widths=(4, 6), generator=seeded())
    bound = ll.Variational()
    result = ll.fit(energy, (x, y), bound, steps=60, batch_size=24, generator=seeded())
    assert result.history.loss[-1] < result.history.loss[0]
    z = torch.randn(5, 3, generator=seeded(1))
    assert (energy.decode(z, x=x[:1].expand(5, *x.shape[1:])).std(0) > 0).any()
    ll.save(energy, tmp_path)
    kept = ll.load(tmp_path)
    rolled = [ll.rollout(e, x[:2], steps=3, n=2, generator=seeded(2)).y for e in (energy, kept)]
    assert rolled[0].shape == (2, 2, 3, *energy.event)
    assert torch.equal(rolled[0], rolled[1])


def test_what_does_not_fit_is_refused() -> None:
    energy = small()
    x, y = clips(energy, 3)
    with pytest.raises(CapabilityError, match="give x"):
        ll.score(energy, y)
    with pytest.raises(ShapeError, match="past, channels, height, width"):
        ll.score(energy, y, x=x[:, :1])
    with pytest.raises(ShapeError, match="'event' of NextFrame"):
        ll.energies.NextFrame((8, 8))
    for options in ({"past": 0}, {"noise": 0.0}, {"actions": -1}, {"widths": ()}, {"k": 0}):
        with pytest.raises(DomainError):
            ll.energies.NextFrame((1, 8, 8), **options)


def test_data_without_a_past_or_without_change_are_refused() -> None:
    y = torch.zeros(5, 1, 8, 8)
    with pytest.raises(CapabilityError, match="no x"):
        ll.energies.NextFrame.from_data(y)
    with pytest.raises(ShapeError, match="of the size of y"):
        ll.energies.NextFrame.from_data(y, x=torch.zeros(5, 3, 1, 8, 9))
    with pytest.raises(DomainError, match="No frame differs"):
        ll.energies.NextFrame.from_data(y, x=torch.zeros(5, 3, 1, 8, 8))
