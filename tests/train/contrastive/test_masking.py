"""Masking pushes down what is hidden given the rest: closed forms, and each kind of mask."""

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.pretext import Future, Given, Masked, Occluded


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Neighbours(ll.Energy):
    """Real numbers of which the hidden are the mean of the visible, times a factor."""

    def __init__(self, event: tuple[int, ...] = (6,), dtype: torch.dtype = torch.float64) -> None:
        super().__init__(event)
        self.factor = nn.Parameter(torch.zeros((), dtype=dtype))

    def configuration(self) -> dict[str, object]:
        return {"event": self.event}

    def hideable(self, y: Tensor) -> Tensor:
        return torch.ones_like(y, dtype=torch.bool)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        shown = torch.zeros_like(y, dtype=torch.bool) if x is None else x.expand_as(y)
        flat, seen = y.flatten(-len(self.event)), shown.flatten(-len(self.event))
        mean = (flat * seen).sum(-1) / seen.sum(-1).clamp(min=1)
        miss = flat - self.factor * mean.unsqueeze(-1)
        return (miss.square() * ~seen).sum(-1)


class Copies(ll.Energy):
    """Tokens whose hidden places are judged by a table, token shown (or blank) to token."""

    def __init__(self, n: int = 5, event: tuple[int, ...] = (8,)) -> None:
        super().__init__(event, domain=ll.Categorical(n))
        self.n = n
        self.table = nn.Parameter(torch.zeros(n + 1, n))

    def hideable(self, y: Tensor) -> Tensor:
        return y != 0

    def groups(self, y: Tensor) -> Tensor:
        pairs = torch.arange(y.shape[1]) // 2
        return torch.where(self.hideable(y), pairs, -1)

    def corrupted(self, y: Tensor, shown: Tensor, *, x: Tensor) -> Tensor:
        logits = self.table[torch.where(shown < 0, self.n, shown)]
        miss = -logits.log_softmax(-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)
        return (miss * ~x).sum(-1)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        shown = torch.zeros_like(y, dtype=torch.bool) if x is None else x.expand_as(y)
        return self.corrupted(y, torch.where(shown, y, -1), x=shown)


REAL = torch.randn(30, 6, generator=seeded(1), dtype=torch.float64) + 3
TOKENS = torch.randint(1, 5, (400, 8), generator=seeded(2))


@pytest.mark.parametrize(
    ("task", "hidden"),
    [
        (0.5, 3),
        (Masked(0.5, block=(3,)), 3),
        (Future(past=4, ahead=2), 2),
        (Occluded(size=(0.5,)), 3),
        (Given(torch.tensor([True, False, True, True, True, True])), 1),
    ],
)
def test_any_task_trains_a_continuous_energy(task: object, hidden: int) -> None:
    energy, strategy = Neighbours(), ll.Masking(task)
    view = strategy.view(energy, REAL, seeded())
    assert ((~view.observed).sum(1) == hidden).all()
    assert view.x[~view.observed].isnan().all()
    adam = functools.partial(torch.optim.Adam, lr=0.02)
    fit = ll.fit(energy, REAL, strategy, steps=150, optimizer=adam, generator=seeded())
    assert fit.history.loss[-1] < fit.history.loss[0] / 3
    assert energy.factor.item() == pytest.approx(1, abs=0.2)


def test_the_loss_is_the_energy_of_each_hidden_element() -> None:
    energy, strategy = Neighbours(), ll.Masking(0.5)
    frozen = functools.partial(torch.optim.SGD, lr=0.0)
    fit = ll.fit(energy, REAL, strategy, steps=1, optimizer=frozen, generator=seeded(3))
    g = seeded(3)
    y = REAL[torch.randperm(len(REAL), generator=g)]
    hidden = ~Masked(0.5).observed((30, 6), g)
    assert fit.history.loss[0] == pytest.approx(y[hidden].square().mean().item(), rel=1e-12)
    assert fit.history.data_energy[0] == pytest.approx(
        y[hidden].square().sum().item() / 30, rel=1e-12
    )


def test_fresh_masks_in_training_and_the_same_ones_for_the_same_seed() -> None:
    energy, strategy = Neighbours(), ll.Masking(0.5)
    one, two = (strategy.view(energy, REAL, seeded(s)).observed for s in (0, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, strategy.view(energy, REAL, seeded(0)).observed)
    false = [strategy.view(Copies(), TOKENS, seeded(s)).x for s in (0, 0, 1)]
    assert torch.equal(false[0], false[1])
    assert not torch.equal(false[0], false[2])
    assert torch.equal(strategy.judge(energy, REAL, None), strategy.judge(energy, REAL, None))


@pytest.mark.parametrize("task", [0.4, Masked(0.4)])
@pytest.mark.parametrize("corrupt", [None, (0.1, 0.1), (0.3, 0.5), (0.0, 0.0), (0.0, 1.0)])
def test_the_shares_of_what_hidden_tokens_show(
    task: float | Masked, corrupt: tuple[float, float] | None
) -> None:
    energy = Copies(n=4000, event=(50,))
    y = torch.randint(1, 4000, (2000, 50), generator=seeded(4))
    view = ll.Masking(task, corrupt=corrupt).view(energy, y, seeded(5))
    hidden = ~view.observed
    replaced, kept = corrupt or ((0.1, 0.1) if corrupt is None else (0.0, 0.0))
    count = hidden.sum().item()
    if isinstance(task, Masked):
        assert (hidden.sum(1) == 20).all()
    assert torch.equal(view.x[view.observed], y[view.observed])
    shown, true = view.x[hidden], y[hidden]
    shares = [
        ((shown >= 0) & (shown != true)).sum().item() / count,
        (shown == true).sum().item() / count,
        (shown < 0).sum().item() / count,
    ]
    expected = [replaced, kept, 1 - replaced - kept]
    assert shares == pytest.approx(expected, abs=5 * 0.5 / count**0.5)
    assert all(share == 0 for share, want in zip(shares, expected, strict=True) if want == 0)
    if replaced:
        drawn = shown[(shown >= 0) & (shown != true)].double()
        assert drawn.mean() == pytest.approx(2000, rel=0.05)
        assert drawn.max() < 4000


@pytest.mark.parametrize("rate", [0.003, 0.15, 0.9])
def test_each_token_is_hidden_for_itself(rate: float) -> None:
    y = torch.randint(1, 5, (20_000, 8), generator=seeded(8))
    view = ll.Masking(rate).view(Copies(), y, seeded(9))
    hidden = (~view.observed).double()

    def near(values: Tensor, mean: float, n: int) -> None:
        """As binomial counts are, but for one time in a million."""
        assert (values - mean).abs().max() < 6 * (mean * (1 - mean) / n) ** 0.5 + 1 / n

    near(hidden.mean(0), rate, 20_000)
    near(hidden.mean(), rate, 160_000)
    # Neighbours, in a row and across rows, are hidden together as often as by chance.
    near((hidden[:, 1:] * hidden[:, :-1]).mean(), rate**2, 140_000)
    near((hidden[1:] * hidden[:-1]).mean(), rate**2, 160_000)
    near((hidden.sum(1) == 0).double().mean(), (1 - rate) ** 8, 20_000)
    # What a place shows does not tell of its neighbours.
    blank = (view.x == -1).double()
    near((blank[:, 1:] * blank[:, :-1]).mean(), (0.8 * rate) ** 2, 140_000)


def test_a_sentence_without_anything_hidden_adds_nothing_to_the_loss() -> None:
    energy, strategy = Copies(), ll.Masking(0.15)
    view = strategy.view(energy, TOKENS, seeded())
    some = (~view.observed).any(1)
    assert 0 < some.sum() < len(TOKENS)
    values = strategy.values(energy, view)
    assert (values[~some] == 0).all()
    count = (~view.observed).sum()
    loss = strategy.loss(energy, TOKENS, None, seeded()).loss.item()
    assert loss == pytest.approx((values[some].sum() / count).item())
    nothing = strategy.loss(energy, torch.zeros_like(TOKENS), None, seeded()).loss
    assert nothing == 0
    nothing.backward()  # moves nothing
    assert energy.table.grad is None or not energy.table.grad.any()


def test_what_may_not_be_hidden_never_is() -> None:
    y = TOKENS.clone()
    y[:, 5:] = 0
    for task in (0.9, Masked(0.9)):
        view = ll.Masking(task).view(Copies(), y, seeded())
        assert view.observed[:, 5:].all()
        assert (~view.observed[:, :5]).any(1).all()
        assert torch.equal(view.x[:, 5:], y[:, 5:])


def test_whole_groups_are_hidden_together() -> None:
    strategy = ll.Masking(0.4, groups=True)
    observed = strategy.view(Copies(), TOKENS, seeded()).observed
    assert torch.equal(observed[:, ::2], observed[:, 1::2])
    assert ((~observed).sum(1) == 4).all()


def test_tokens_learn_how_far_to_trust_what_is_shown() -> None:
    # Of the places that show token s: .1/4 of the hidden show each false token, .1 the true one.
    energy = Copies()
    adam = functools.partial(torch.optim.Adam, lr=0.05)
    ll.fit(energy, TOKENS, ll.Masking(0.5), steps=400, optimizer=adam, generator=seeded())
    chance = energy.table.detach().softmax(-1)
    truth = 0.25 * (0.1 / 5)  # a random one of the five classes, over four that occur
    shown = truth / (4 * truth + 0.1 * 0.25)
    own = (truth + 0.1 * 0.25) / (4 * truth + 0.1 * 0.25)
    for token in range(1, 5):
        assert chance[token, token] == pytest.approx(own, abs=0.06)
        assert chance[token, 1 + token % 4] == pytest.approx(shown, abs=0.06)
    assert chance[5, 1:] == pytest.approx(0.25, abs=0.06)


def test_an_energy_with_a_latent_is_trained_by_its_free_energy() -> None:
    class Branches(ll.Energy):
        """The last of three numbers is one of two slopes times the first."""

        def __init__(self) -> None:
            super().__init__((3,), latent=ll.OneHot(2))
            self.slopes = nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))

        def hideable(self, y: Tensor) -> Tensor:
            return torch.ones_like(y, dtype=torch.bool)

        def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
            return (y[..., 2] - self.slopes[self.given(z)] * y[..., 0]).square()

    first = torch.linspace(1, 2, 40, dtype=torch.float64)
    sign = torch.where(torch.arange(40) % 2 == 0, 2.0, -2.0).double()
    y = torch.stack([first, first, sign * first], 1)
    energy = Branches()
    adam = functools.partial(torch.optim.Adam, lr=0.05)
    ll.fit(energy, y, ll.Masking(Future(2, 1), beta=5.0), steps=200, optimizer=adam)
    assert energy.slopes.detach().tolist() == pytest.approx([2.0, -2.0], abs=0.01)


def test_a_run_resumes_exactly(tmp_path: Path) -> None:
    whole, half = Copies(), Copies()
    ll.fit(whole, TOKENS, ll.Masking(0.3), steps=20, generator=seeded(7))
    options = {"checkpoint": tmp_path, "generator": seeded(7)}
    ll.fit(half, TOKENS, ll.Masking(0.3), steps=9, **options)
    again = Copies()
    ll.fit(again, TOKENS, ll.Masking(0.3), steps=20, resume=True, **options)
    assert torch.equal(whole.table, again.table)


def test_what_does_not_suit_is_refused() -> None:
    with pytest.raises(ll.CapabilityError, match="Masking needs an energy that is ReadsMasks"):
        ll.fit(ll.energies.KMeans(torch.zeros(2, 2)), torch.zeros(4, 2), ll.Masking(), steps=1)
    with pytest.raises(ll.CapabilityError, match="cannot be shown"):
        ll.fit(Neighbours(), REAL, ll.Masking(corrupt=(0.1, 0.1)), steps=1)
    with pytest.raises(ll.CapabilityError, match="which elements belong together"):
        ll.fit(Neighbours(), REAL, ll.Masking(groups=True), steps=1)
    with pytest.raises(ll.CapabilityError, match="the data have one already"):
        ll.fit(Neighbours(), (REAL, REAL), ll.Masking(), steps=1)
    with pytest.raises(ll.DomainError, match="'task' of Masking"):
        ll.Masking(1.5)
    with pytest.raises(ll.DomainError, match="come to 1"):
        ll.Masking(corrupt=(0.7, 0.7))
    with pytest.raises(ll.DomainError, match="without blocks"):
        ll.Masking(Future(), groups=True)


def test_what_the_energy_suggests_is_hidden() -> None:
    energy = ll.energies.MaskedImage((1, 8, 8), patch=2, width=16, depth=1)
    y = torch.zeros(3, 1, 8, 8)
    usual = ll.Masking().view(energy, y, seeded()).observed
    assert torch.equal(usual, Masked(0.75, block=(2, 2)).observed((3, 1, 8, 8), seeded()))
    half = ll.Masking(0.5).view(energy, y, seeded()).observed
    assert torch.equal(half, Masked(0.5, block=(2, 2)).observed((3, 1, 8, 8), seeded()))
    plain = ll.Masking().view(Neighbours(), torch.zeros(3, 6), seeded()).observed
    assert torch.equal(plain, Masked(0.3).observed((3, 6), seeded()))
