"""Masked autoencoders: what is hidden is judged and not seen, and filled by the prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import lowland as ll
from lowland.energies.masked_autoencoder import fold_masks


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Average(nn.Module):
    """Predicts the mean of what is visible; with s = 0 if asked."""

    def __init__(self, sure: bool = False) -> None:
        super().__init__()
        self.sure = sure

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        values, seen = inputs.flatten(2).unbind(1)
        mean = values.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        out = mean.expand_as(values).reshape(len(values), *inputs.shape[2:])
        return torch.stack([out, torch.zeros_like(out)], 1) if self.sure else out


def test_the_energy_is_the_squared_error_at_hidden_elements() -> None:
    energy = ll.energies.MaskedAutoencoder(Average(), event=(4,))
    y = torch.tensor([[1.0, 3.0, 5.0, -2.0], [0.0, 0.0, 0.0, 1.0]])
    x = torch.tensor([[True, True, False, False], [False, True, True, True]])
    expected = torch.tensor([3.0**2 + 4.0**2, (1 / 3) ** 2])
    torch.testing.assert_close(energy(y, x=x), expected)


def test_a_likelihood_is_a_normal_density_up_to_a_constant() -> None:
    energy = ll.energies.MaskedAutoencoder(Average(sure=True), event=(3,), likelihood=True)
    y, x = torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([[True, False, False]])
    normal = torch.distributions.Normal(2.0, 0.01 + torch.log(torch.tensor(2.0)))
    constant = torch.log(torch.tensor(2 * torch.pi)) / 2
    expected = -(normal.log_prob(y[:, 1:]) + constant).sum(1)
    torch.testing.assert_close(energy(y, x=x), expected)


def test_what_is_hidden_is_not_seen() -> None:
    energy = ll.energies.MaskedAutoencoder.from_data(torch.zeros(1, 6), generator=seeded())
    y = torch.randn(5, 6, generator=seeded(1))
    x = ll.pretext.Masked(0.5).observed((5, 6), seeded(2))
    other = torch.where(x, y, y + 10)
    assert torch.equal(energy.reconstruct(y, x=x)[~x], energy.reconstruct(other, x=x)[~x])
    assert torch.equal(energy.reconstruct(y, x=x)[x], y[x])


def test_without_a_mask_each_fold_is_predicted_from_the_others() -> None:
    energy = ll.energies.MaskedAutoencoder.from_data(
        torch.zeros(1, 2, 5), folds=3, generator=seeded()
    )
    y = torch.randn(4, 2, 5, generator=seeded(1))
    folds = fold_masks((2, 5), (), 3)
    parts = [energy(y, x=~fold.expand_as(y)) for fold in folds]
    torch.testing.assert_close(energy(y), torch.stack(parts).sum(0))
    squares = (energy.reconstruct(y) - y).square().flatten(1).sum(1)
    torch.testing.assert_close(energy(y), squares)


@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    block=st.one_of(st.just(()), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    folds=st.integers(2, 5),
)
def test_folds_partition_the_event_by_blocks(
    rows: int, columns: int, block: tuple[int, ...], folds: int
) -> None:
    masks = fold_masks((2, rows, columns), block, folds)
    assert bool((masks.sum(0) == 1).all())
    assert bool(masks.flatten(1).any(1).all())
    if block:
        assert torch.equal(masks[:, 0], masks[:, 1])  # a block holds all channels
        first = masks[:, :, : block[0], : block[1]].flatten(1)
        assert bool((first.all(1) | ~first.any(1)).all())


def test_complete_answers_with_the_prediction_and_keeps_what_was_given() -> None:
    energy = ll.energies.MaskedAutoencoder(Average(), event=(4,))
    y = torch.tensor([[1.0, 3.0, torch.nan, torch.nan]])
    seen = torch.tensor([True, True, False, False])
    answers = ll.complete(energy, y, observed=seen, n=3)
    assert answers.y[0, 0].tolist() == [1.0, 3.0, 2.0, 2.0]
    assert answers.count.tolist() == [1]
    assert answers.energy[0, 0] == 0


def test_complete_works_in_the_units_of_the_data() -> None:
    scaling = ll.Scaling(torch.tensor(100.0), torch.tensor(7.0))
    energy = ll.Scaled(ll.energies.MaskedAutoencoder(Average(), event=(3,)), scaling)
    y = torch.tensor([[100.1, 100.3, 0.0]])
    answers = ll.complete(energy, y, observed=torch.tensor([True, True, False]), n=1)
    assert torch.equal(answers.y[0, 0, :2], y[0, :2])
    assert float(answers.y[0, 0, 2]) == pytest.approx(100.2, abs=1e-3)


def test_complete_refuses_starts() -> None:
    energy = ll.energies.MaskedAutoencoder(Average(), event=(2,))
    with pytest.raises(ll.DomainError, match="nothing is searched"):
        ll.complete(
            energy, torch.zeros(1, 2), observed=torch.tensor([True, False]), starts=torch.ones(1, 2)
        )


def test_a_table_is_completed_by_what_its_columns_have_in_common() -> None:
    g = seeded()
    a = torch.randn(2000, 2, generator=g)
    y = torch.cat([a, a.sum(1, keepdim=True), a[:, :1] - a[:, 1:]], 1)  # any two give the others
    energy = ll.energies.MaskedAutoencoder.from_data(y, hidden=(64, 64), generator=g)
    ll.fit(energy, y[:1500], ll.Masking(0.5), steps=800, generator=g)
    known = torch.tensor([False, True, True, False])
    found = ll.complete(energy, y[1500:], observed=known, n=1).y[:, 0]
    error = (found - y[1500:])[:, ~known].square().mean() / y[:, ~known].square().mean()
    assert float(error) < 0.05


@pytest.mark.parametrize(
    ("hidden", "width", "place"), [((9, 3, 7), 3, 2), ((5, 5), 5, 2), ((4, 8, 4, 6), 4, 3)]
)
def test_the_code_is_what_enters_the_narrowest_layer(hidden, width, place) -> None:
    g = seeded()
    y = torch.randn(6, 1, generator=g)  # narrower than any layer, and no code
    energy = ll.energies.MaskedAutoencoder.from_data(y, hidden=hidden, generator=g)
    observed = torch.rand(6, 1, generator=g) < 0.5
    entered: list[torch.Tensor] = []
    linear = [layer for layer in energy.net.modules() if isinstance(layer, nn.Linear)]
    hook = linear[place].register_forward_hook(lambda layer, given, out: entered.append(given[0]))
    code = ll.encode(energy, y, x=observed)
    hook.remove()
    assert code.shape == (6, width)
    assert torch.equal(code, entered[-1])


def test_a_series_is_continued() -> None:
    g = seeded()
    phase = 6.3 * torch.rand(1000, 1, generator=g)
    t = torch.arange(12.0) * 0.5
    y = torch.stack([(t + phase).sin(), (t + phase).cos()], 2)  # (n, times, variables)
    energy = ll.energies.MaskedAutoencoder.from_data(y, hidden=(64,), generator=g)
    task = ll.pretext.Future(past=8, ahead=4)
    ll.fit(energy, y[:800], ll.Masking(task), steps=500, generator=g)
    seen = task.observed(tuple(y[800:].shape))
    found = ll.complete(energy, y[800:], observed=seen, n=1).y[:, 0]
    assert float((found - y[800:])[~seen].square().mean()) < 0.02


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (torch.ones(2, 3), ll.DomainError, "boolean mask"),
        (torch.ones(3, dtype=torch.bool), ll.ShapeError, "expand_as"),
    ],
)
def test_a_condition_that_is_no_mask_is_refused(
    x: torch.Tensor, error: type[Exception], says: str
) -> None:
    energy = ll.energies.MaskedAutoencoder(Average(), event=(3,))
    with pytest.raises(error, match=says):
        energy(torch.zeros(2, 3), x=x)


def test_a_network_of_another_shape_is_refused() -> None:
    energy = ll.energies.MaskedAutoencoder(nn.Flatten(), event=(3,))
    with pytest.raises(ll.ShapeError, match="must return"):
        energy(torch.zeros(2, 3), x=torch.ones(2, 3, dtype=torch.bool))


def test_one_fold_is_refused() -> None:
    with pytest.raises(ll.DomainError, match="folds"):
        ll.energies.MaskedAutoencoder(Average(), event=(3,), folds=1)


def test_a_network_without_a_linear_layer_has_no_features() -> None:
    energy = ll.energies.MaskedAutoencoder(Average(), event=(3,))
    with pytest.raises(ll.CapabilityError, match="Linear"):
        ll.encode(energy, torch.zeros(2, 3))
