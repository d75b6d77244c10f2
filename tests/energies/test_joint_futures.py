"""A joint embedding with several predictions: by hand, and on pairs with two known branches."""

import functools

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.energies import JointEmbedding, JointFutures


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def branches(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points x, a copy of each moved to one side or the other at random, and the side."""
    g = seeded(seed)
    x = torch.randn(n, 4, generator=g)
    side = torch.randint(2, (n,), generator=g)
    return x, x + (2.0 * side - 1).unsqueeze(1) * torch.tensor([1.5, -1.5, 1.5, 1.5]), side


def test_the_energy_is_the_miss_of_each_head_and_the_price_of_its_code() -> None:
    heads = nn.Linear(3, 8).double()
    energy = JointFutures(JointEmbedding(nn.Identity(), (3,)), heads, k=2, noise=0.5)
    x, y = torch.randn(2, 5, 3, generator=seeded(), dtype=torch.float64).unbind(0)
    out = heads(x).reshape(5, 2, 4)
    mass = out[..., 3].exp() / out[..., 3].exp().sum(1, keepdim=True)
    expected = 2 * (out[..., :3] - y[:, None]).pow(2).sum(2) - mass.log()
    torch.testing.assert_close(energy.tabulate(y, x=x), expected)
    z = torch.tensor([0, 1, 0, 1, 1])
    torch.testing.assert_close(energy(y, x=x, z=z), expected[range(5), z])


def test_both_branches_are_predicted_and_not_their_mean() -> None:
    x, y, _ = branches(2000)
    joint = JointEmbedding.from_data(y, hidden=(32,), d=4, generator=seeded(1))
    adam = functools.partial(torch.optim.Adam, lr=3e-3)
    options = {"batch_size": 256, "optimizer": adam, "generator": seeded(2)}
    both = torch.cat([x, y])
    ll.fit(joint, both, ll.VarianceCovariance(), steps=150, **options)
    before = [parameter.clone() for parameter in joint.parameters()]
    energy = JointFutures.from_data(y, embedding=joint, k=4, hidden=64, generator=seeded(3))
    ll.fit(energy, (x, y), ll.FreeEnergyDescent(anneal=300), steps=600, **options)
    for one, other in zip(before, energy.embedding.parameters(), strict=True):
        assert torch.equal(one, other)
    x, y, side = branches(500, seed=3)
    with torch.no_grad():
        said, truth = energy.futures(x), joint.embed(y)
        miss = (said.y - truth.unsqueeze(1)).square().sum(2)
        mean = (said.log_mass.exp().unsqueeze(2) * said.y).sum(1)
        blurred = (mean - truth).square().sum(1).mean()
    assert miss.amin(1).mean() < 0.02 * blurred
    # Which codes are on which side, and what they weigh before y is known.
    z = ll.infer(energy, y, x=x).z
    of_side = torch.stack([((z == k) & (side == 1)).sum() > ((z == k) & (side == 0)).sum()
                           for k in range(4)])  # fmt: skip
    assert (of_side[z] == (side == 1)).double().mean() > 0.97
    weight = said.log_mass.exp()[:, of_side].sum(1)
    assert weight.mean() == pytest.approx(0.5, abs=0.1)
    assert weight.std() < 0.15


def test_codes_start_again_beside_others() -> None:
    energy = JointFutures.from_data(torch.randn(20, 3, generator=seeded()), k=3, hidden=8)
    x = torch.randn(6, 3, generator=seeded(1))
    before = energy.futures(x)
    energy.split_codes(torch.tensor([0]), torch.tensor([2]), generator=seeded(2))
    after = energy.futures(x)
    torch.testing.assert_close(after.y[:, :2], before.y[:, :2])
    near = (after.y[:, 2] - before.y[:, 0]).norm(dim=1)
    assert (near > 0).all()
    assert (near < 0.5 * (before.y[:, 2] - before.y[:, 0]).norm(dim=1)).all()
    odds = before.log_mass[:, 0] - before.log_mass[:, 1]
    torch.testing.assert_close(after.log_mass[:, 0], after.log_mass[:, 2])
    torch.testing.assert_close(
        torch.logsumexp(after.log_mass[:, [0, 2]], 1) - after.log_mass[:, 1], odds
    )


def test_what_does_not_suit_is_refused() -> None:
    plain = JointEmbedding(nn.Identity(), (3,))
    x = torch.zeros(2, 3)
    with pytest.raises(ll.ShapeError, match=r"k · \(d \+ 1\)"):
        JointFutures(plain, nn.Linear(3, 7)).tabulate(x, x=x)
    energy = JointFutures(plain, nn.Sequential(nn.Linear(3, 8), nn.Tanh()))
    with pytest.raises(ll.ShapeError, match="shaped like y"):
        energy.tabulate(x, x=x[:, :2])
    with pytest.raises(ll.CapabilityError, match="give x"):
        energy.tabulate(x)
    with pytest.raises(ll.CapabilityError, match="must be linear"):
        energy.split_codes(torch.tensor([0]), torch.tensor([1]), generator=None)
    with pytest.raises(ll.DomainError, match="'noise'"):
        JointFutures(plain, nn.Linear(3, 8), noise=0.0)
    with pytest.raises(ll.DomainError, match="collapsed"):
        JointFutures.from_data(torch.ones(5, 3), embedding=plain)
