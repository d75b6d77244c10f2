"""Energies of hidden tokens: against the definition, place by place, and what training learns."""

import math
from functools import partial
from pathlib import Path
from pydoc_data import topics

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import lowland as ll
from lowland.data import Tokenizer, read
from lowland.energies import MaskedTokens
from lowland.energies._precision import faster_precision
from lowland.energies._token_loss import surprise
from lowland.train import one_cycle


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**options: object) -> MaskedTokens:
    arguments = {"length": 6, "width": 8, "layers": 2, "heads": 2, "padding": 0, "blank": 1}
    arguments |= {"special": (2,)}
    energy = MaskedTokens(12, generator=seeded(), **{**arguments, **options})
    with torch.no_grad():  # larger than a fresh start, so that places matter
        for parameter in energy.parameters():
            parameter.mul_(2).add_(0.1 * torch.randn(parameter.shape, generator=seeded(1)))
    return energy.double().eval()


Y = torch.randint(2, 12, (5, 6), generator=seeded(2))
Y[0, 4:] = 0
Y[1, 1:] = 0
MASK = torch.rand(5, 6, generator=seeded(3)) < 0.5


@pytest.mark.parametrize("options", [{}, {"convolution": 0}, {"post_norm": True, "segments": 2}])
def test_the_energy_is_minus_the_log_softmax_of_what_is_hidden(options: dict) -> None:
    energy = small(**options)
    chance = energy.logits(Y, x=MASK | ~energy.hideable(Y)).log_softmax(-1)
    each = -chance.gather(2, Y.unsqueeze(2)).squeeze(2)
    expected = (each * (~MASK & (Y > 2))).sum(1)
    assert torch.allclose(energy(Y, x=MASK), expected, atol=1e-12)


def test_without_a_mask_each_place_is_hidden_in_turn() -> None:
    energy = small()
    expected = torch.zeros(5, dtype=torch.float64)
    for place in range(6):
        mask = torch.arange(6) != place
        expected += energy(Y, x=mask)
    assert torch.allclose(energy(Y), expected, atol=1e-12)


def test_what_is_hidden_is_not_looked_at() -> None:
    energy = small()
    other = torch.where(MASK, Y, torch.randint(3, 12, Y.shape, generator=seeded(9)))
    seen = MASK | ~energy.hideable(Y)
    assert torch.equal(energy.logits(Y, x=seen), energy.logits(torch.where(seen, Y, other), x=seen))


@pytest.mark.parametrize("options", [{}, {"post_norm": True, "convolution": 3}])
def test_padding_changes_nothing(options: dict) -> None:
    energy, shorter = small(**options), small(**options, length=4)
    state = energy.state_dict()
    state["encoder.places.weight"] = state["encoder.places.weight"][:4]
    shorter.load_state_dict(state)
    assert torch.allclose(energy(Y)[:2], shorter(Y[:2, :4]), atol=1e-12)
    assert torch.allclose(energy.encode(Y)[:2], shorter.encode(Y[:2, :4]), atol=1e-12)


def test_a_blank_of_its_own_is_no_token() -> None:
    energy = small(blank=None)
    assert energy.encoder.tokens.num_embeddings == 13
    assert energy.logits(Y, x=MASK).shape == (5, 6, 12)
    assert torch.isfinite(energy(Y)).all()


def test_false_tokens_are_seen() -> None:
    energy = small()
    hidden = ~MASK & energy.hideable(Y)
    blank = energy.corrupted(Y, torch.where(hidden, -1, Y), x=MASK)
    assert torch.equal(blank, energy(Y, x=MASK))
    shown = torch.where(hidden, 5, Y)
    assert not torch.allclose(energy.corrupted(Y, shown, x=MASK), blank)
    chance = energy.logits(shown).log_softmax(-1).gather(2, Y.unsqueeze(2)).squeeze(2)
    assert torch.allclose(energy.corrupted(Y, shown, x=MASK), -(chance * hidden).sum(1))


def test_words_are_hidden_whole() -> None:
    continues = torch.zeros(12, dtype=torch.bool)
    continues[6:] = True
    energy = small(continues=continues)
    y = torch.tensor([[3, 7, 8, 4, 5, 9], [7, 4, 2, 4, 0, 0]])
    assert energy.groups(y).tolist() == [[0, 0, 0, 1, 2, 2], [0, 0, -1, 2, -1, -1]]
    observed = ll.Masking(0.5, groups=True).view(energy, y, seeded()).observed
    assert len(set(observed[0, :3].tolist())) == 1


def test_the_surprise_is_the_cross_entropy_and_so_are_its_slopes() -> None:
    h = torch.randn(7, 5, dtype=torch.float64, generator=seeded(), requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, generator=seeded(1), requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, generator=seeded(2), requires_grad=True)
    targets = torch.randint(11, (7,), generator=seeded(3))
    value = surprise(h, weight, bias, targets, low=False)
    expected = functional.cross_entropy(h @ weight.T + bias, targets, reduction="none")
    assert torch.allclose(value, expected, atol=1e-12)
    slopes = torch.rand(7, dtype=torch.float64, generator=seeded(4))
    ours = torch.autograd.grad(value, (h, weight, bias), slopes)
    theirs = torch.autograd.grad(expected, (h, weight, bias), slopes)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_many_rows_of_logits_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowland.energies._token_loss._LOGITS", 25)
    test_the_surprise_is_the_cross_entropy_and_so_are_its_slopes()


def test_training_in_the_lower_precision_is_nearly_the_same() -> None:
    y = torch.randint(3, 40, (16, 20), generator=seeded(5))
    losses = []
    for precision in ("float32", "bfloat16"):
        energy = MaskedTokens(
            40, 20, 16, 2, 2, padding=0, blank=1, precision=precision, generator=seeded()
        ).train()
        view = ll.Masking(0.4).view(energy, y, seeded(6))
        loss = energy.corrupted(y, view.x, x=view.observed).sum()
        loss.backward()
        losses.append((loss.item(), energy.encoder.tokens.weight.grad))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-3)
    error = (losses[0][1] - losses[1][1]).norm() / losses[0][1].norm()
    assert 0 < error < 0.03


def test_questions_are_answered_in_float32() -> None:
    energy = small(precision="bfloat16").float()
    assert torch.allclose(energy(Y), small().float()(Y), rtol=1e-6)


def test_the_faster_precision_is_one_of_the_two_and_kept() -> None:
    network = MaskedTokens(12, 6, 8, 1, 2).encoder
    assert faster_precision(network) in ("float32", "bfloat16")
    assert faster_precision(network) == faster_precision(network)


def test_sentences_are_encoded_as_the_mean_of_their_real_tokens() -> None:
    energy = small()
    states = energy.encoder(Y, Y != 0)
    real = (Y > 2).unsqueeze(2)
    assert torch.allclose(ll.encode(energy, Y), (states * real).sum(1) / real.sum(1).clamp(min=1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_resumes_exactly(tmp_path: Path, precision: str) -> None:
    y = torch.randint(3, 30, (40, 10), generator=seeded(7))

    def fresh(chosen: str) -> MaskedTokens:
        return MaskedTokens(
            30, 10, 16, 2, 2, dropout=0.1, blank=1, precision=chosen, generator=seeded()
        )

    options = {
        "batch_size": 8,
        "optimizer": one_cycle(partial(torch.optim.AdamW, lr=1e-3), 24),
    }
    whole, killed = fresh(precision), fresh(precision)
    ll.fit(whole, y, ll.Masking(), steps=24, generator=seeded(8), **options)

    class KilledError(Exception):
        """Something that ends the process in the middle of a step."""

    def kill(record: ll.train.Record) -> None:
        if record.step > 15:
            raise KilledError

    options |= {"checkpoint": tmp_path, "checkpoint_every": 10, "record_every": 1}
    with pytest.raises(KilledError):
        ll.fit(killed, y, ll.Masking(), steps=24, callbacks=[kill], generator=seeded(8), **options)
    # What is faster may have changed; the run goes on as it was begun.
    again = fresh("bfloat16" if precision == "float32" else "float32")
    ll.fit(again, y, ll.Masking(), steps=24, resume=True, generator=seeded(8), **options)
    assert again.precision == precision
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    loaded = ll.load(tmp_path)
    assert loaded.precision == precision
    assert torch.equal(ll.score(loaded, y[:3]), ll.score(again, y[:3]))


def test_blanks_are_filled_jointly_best_first_with_true_energies() -> None:
    energy = small()
    y = torch.tensor([[3, 5, 7, 4, 9, 6], [8, 8, 3, 0, 0, 0]])
    observed = torch.tensor([[True, False, True, False, True, True], 6 * [True]])
    observed[1, 1] = False
    answers = ll.complete(energy, y, observed=observed, n=6)
    assert torch.equal(
        answers.y[observed.unsqueeze(1).expand(-1, 6, -1)].reshape(-1),
        torch.cat([y[0][observed[0]].repeat(6), y[1][observed[1]].repeat(6)]),
    )
    assert (answers.count == 6).all()
    assert (answers.energy.diff(dim=1) >= 0).all()
    assert torch.allclose(answers.energy, ll.score(energy, answers.y))
    for row in answers.y:
        assert len(row.unique(dim=0)) == 6
    assert (answers.y[:, :, 1] > 2).all()
    # All fillings of one blank, by the energy: a beam as wide as they are many finds the best.
    every = y[1].repeat(9, 1)
    every[:, 1] = torch.arange(3, 12)
    best = ll.score(energy, every).sort()
    assert torch.allclose(answers.energy[1], best.values[:6])
    assert torch.equal(answers.y[1, :, 1], every[best.indices[:6], 1])
    # All pairs for the other.
    pairs = y[0].repeat(81, 1)
    pairs[:, [1, 3]] = torch.cartesian_prod(torch.arange(3, 12), torch.arange(3, 12))
    assert answers.energy[0, 0] <= ll.score(energy, pairs).sort().values[3]


def test_no_more_answers_than_there_are() -> None:
    y = torch.tensor([[3, 5, 7, 4, 9, 6]])
    observed = torch.arange(6) != 2
    answers = ll.complete(small(), y, observed=observed, n=12)
    assert answers.count.tolist() == [9]
    assert torch.isinf(answers.energy[0, 9:]).all()


def test_what_is_not_allowed_is_refused() -> None:
    with pytest.raises(ll.DomainError, match="multiple of 'heads'"):
        MaskedTokens(9, width=8, heads=3)
    with pytest.raises(ll.DomainError, match="must be odd"):
        MaskedTokens(9, convolution=4)
    with pytest.raises(ll.DomainError, match="'blank' of MaskedTokens"):
        MaskedTokens(9, blank=9)
    with pytest.raises(ll.DomainError, match="'dropout'"):
        MaskedTokens(9, dropout=1.0)
    with pytest.raises(ll.DomainError, match="'precision'"):
        MaskedTokens(9, precision="float16")
    with pytest.raises(ll.DomainError, match="takes sentences of tokens"):
        MaskedTokens.from_data(torch.zeros(3, 4))
    with pytest.raises(ll.ShapeError, match="sentences"):
        MaskedTokens.from_data(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ll.DomainError, match="'x' of MaskedTokens is a mask"):
        small()(Y, x=Y)
    with pytest.raises(ll.ShapeError, match="shape of one sentence"):
        small()(Y, x=MASK[:2])


def english(tmp_path: Path) -> tuple[Tensor, Tokenizer]:
    """The text that CPython's own help is made of, in blocks of tokens."""
    path = tmp_path / "topics.txt"
    path.write_text("\n".join(topics.topics.values()), encoding="utf-8")
    data = read(path, vocabulary=512, length=64)
    assert data.tokenizer is not None
    return data.y, data.tokenizer


def test_real_english_is_learned_far_beyond_the_frequencies_of_words(tmp_path: Path) -> None:
    y, tokenizer = english(tmp_path)
    held = torch.arange(len(y)) % 10 == 0
    energy = MaskedTokens.from_data(
        y[~held], width=64, layers=2, generator=seeded(), **tokenizer.options()
    )
    view = ll.Masking(0.15).view(energy, y[held], seeded(1))
    hidden = ~view.observed

    def perplexity() -> float:
        with torch.no_grad():
            total = energy.eval().corrupted(view.y, view.x, x=view.observed).sum()
        return math.exp(total.item() / hidden.sum().item())

    counts = torch.bincount(y[~held].flatten(), minlength=len(tokenizer)).double() + 0.1
    unigram = math.exp(-(counts / counts.sum()).log()[y[held][hidden]].mean().item())
    adam = one_cycle(partial(torch.optim.AdamW, lr=6e-3, betas=(0.9, 0.98)), 200)
    ll.fit(
        energy,
        y[~held],
        ll.Masking(0.3),
        steps=200,
        batch_size=32,
        optimizer=adam,
        generator=seeded(2),
    )
    assert unigram > 150
    assert perplexity() < 45
