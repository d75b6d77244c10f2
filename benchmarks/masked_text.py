"""Masked text: speed against transformers' BERT, and what is learned in twenty CPU minutes.

Speed: 4 layers × 256, vocabulary 8192, blocks of 128 tokens, 15 % hidden, one thread, AdamW for
both, no dropout; `transformers.BertForMaskedLM` in float32 and in bfloat16 autocast, ours likewise.
Masking: a batch of 64 × 128 tokens, `ll.Masking` against `DataCollatorForLanguageModeling`.

Quality, protocol "split": wikitext-2, trained on test.txt and the first 80 % of the lines of
valid.txt, WordPiece of at most 8192 lower-case tokens, words as the text has them; tested on the
first 50,000 tokens of the rest, with 15 % of the tokens hidden by one fixed mask (80 % blank, 10 %
random, 10 % as they are; what the text calls <unk> is neither hidden nor scored: 45,789 of the
48,384 tokens may be). Protocol "plain" trains on valid.txt and tests on test.txt. The count
baselines have the same targets: single tokens, and P(w | left, right), Witten–Bell interpolation
over what is shown on either side (_counts.py says what other smoothing gives; another mask of the
same text moves its perplexity by a tenth). The budget
is CPU seconds of training; the number of steps is fixed before it, from the time that some
steps take.

Run: python benchmarks/masked_text.py [--only speed|masking|quality] [--protocol split|plain]
         [--seconds 1200] [--preset cpu|gpu] [--seed 0]

LOWLAND_DATA names the folder that holds wikitext-2/ (default ../shared/data).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _counts import Neighbours
from _measure import interleaved, one_thread
from torch import Tensor

import lowland as ll
from lowland.data import Tokenizer
from lowland.energies import MaskedTokens
from lowland.train import Record, one_cycle

LENGTH, VOCABULARY = 128, 8192
PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {"width": 128, "layers": 3, "heads": 4, "batch": 32, "rate": 2e-3, "device": "cpu"},
    "gpu": {"width": 384, "layers": 6, "heads": 6, "batch": 128, "rate": 1e-3, "device": "cuda"},
}


def met(name: str, value: float, target: float) -> None:
    """One line that says whether a value is at least its target."""
    verdict = "met" if value >= target else "MISSED"
    print(f"{name}: {value:.2f}, target ≥ {target:g}: {verdict}", flush=True)


def speed() -> None:
    """Tokens a second of one training step, ours and theirs."""
    from transformers import BertConfig, BertForMaskedLM

    rows = 32
    y = torch.randint(5, VOCABULARY, (rows, LENGTH), generator=torch.Generator().manual_seed(0))
    theirs = BertForMaskedLM(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=1024,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    generator = torch.Generator().manual_seed(1)

    def step_of(model: torch.nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Any:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def step() -> None:
            view = ll.Masking(0.15).view(ours["float32"], y, generator)
            optimizer.zero_grad(set_to_none=True)
            loss(view.x, view.observed).backward()
            optimizer.step()

        return step

    def their_loss(x: Tensor, observed: Tensor, *, low: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            labels = torch.where(observed, -100, y)
            loss: Tensor = theirs(input_ids=torch.where(x < 0, 4, x), labels=labels).loss
            return loss

    def our_loss(x: Tensor, observed: Tensor, *, energy: MaskedTokens) -> Tensor:
        return energy.corrupted(y, x, x=observed).sum() / (~observed).sum()

    ours = {
        kind: MaskedTokens(
            VOCABULARY, LENGTH, 256, 4, 4, blank=4, padding=0, convolution=0, precision=kind
        ).train()
        for kind in ("float32", "bfloat16")
    }
    contestants = {
        "transformers float32": step_of(theirs, partial(their_loss, low=False)),
        "transformers bfloat16": step_of(theirs, partial(their_loss, low=True)),
        "lowland float32": step_of(ours["float32"], partial(our_loss, energy=ours["float32"])),
        "lowland bfloat16": step_of(ours["bfloat16"], partial(our_loss, energy=ours["bfloat16"])),
    }
    for run in contestants.values():
        run()
    seconds = interleaved(contestants, 7)
    for name, value in seconds.items():
        print(f"{name:24s} {rows * LENGTH / value:9,.0f} tokens/s")
    base = seconds["transformers float32"]
    probed = MaskedTokens(VOCABULARY, LENGTH, 256, 4, 4, precision="auto").precision
    print(f"the probe chooses {probed}")
    met("tokens/s of transformers float32", base / seconds[f"lowland {probed}"], 2.0)
    print(f"  both in float32: {base / seconds['lowland float32']:.2f}")
    both = seconds["transformers bfloat16"] / seconds["lowland bfloat16"]
    print(f"  both in bfloat16: {both:.2f}")


def masking() -> None:
    """Seconds to mask one batch."""
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    words = [f"w{i}" for i in range(VOCABULARY - 5)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    y = torch.randint(5, VOCABULARY, (64, LENGTH), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row} for row in y.tolist()]
    energy = MaskedTokens(VOCABULARY, LENGTH, 16, 1, 1, blank=4, padding=0, special=(1, 2, 3))
    generator = torch.Generator().manual_seed(1)
    contestants = {
        "collator": lambda: collate(rows),
        "lowland": lambda: ll.Masking(0.15).view(energy, y, generator),
    }
    seconds = interleaved(contestants, 31)
    print(", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in seconds.items()))
    met("masking, times as fast as the collator", seconds["collator"] / seconds["lowland"], 20)


def corpus(protocol: str) -> tuple[Tensor, Tensor, Tokenizer]:
    """Blocks to train on and to test on, `(n, 128)`."""
    folder = Path(os.environ.get("LOWLAND_DATA", "../shared/data")) / "wikitext-2"
    parts = {
        name: (folder / f"{name}.txt").read_text("utf-8").replace("<unk>", "[UNK]").split("\n")
        for name in ("valid", "test")
    }
    cut = int(0.8 * len(parts["valid"]))
    train, test = parts["test"] + parts["valid"][:cut], parts["valid"][cut:]
    if protocol == "plain":
        train, test = parts["valid"], parts["test"]
    train, test = ([line for line in lines if line.strip()] for lines in (train, test))
    tokenizer = Tokenizer.train(train, vocabulary=VOCABULARY, split="space")

    def blocks(lines: list[str]) -> Tensor:
        flat = torch.tensor([token for ids in tokenizer.encode(lines) for token in ids])
        return flat[: len(flat) // LENGTH * LENGTH].reshape(-1, LENGTH)

    held = blocks(test)
    return blocks(train), held if protocol == "plain" else held[: 50_000 // LENGTH], tokenizer


def counted(train: Tensor, view: Any, hidden: Tensor, size: int) -> dict[str, tuple[float, float]]:
    """Perplexity and accuracy of counts: single tokens, and between two neighbours."""
    counts = Neighbours(train.flatten(), size)
    best = int(counts.single.argmax())
    scores: dict[str, list[tuple[float, bool]]] = {"unigram": [], "P(w | left, right)": []}
    shown = torch.nn.functional.pad(view.x, (1, 1), value=-1)
    for row, place in hidden.nonzero().tolist():
        word = int(view.y[row, place])
        scores["unigram"].append((float(counts.single[word].log()), word == best))
        chance = counts.chance(int(shown[row, place]), int(shown[row, place + 2]))
        found = (float(chance[word].log()), word == int(chance.argmax()))
        scores["P(w | left, right)"].append(found)
    means = {}
    for name, found in scores.items():
        logs, right = zip(*found, strict=True)
        means[name] = math.exp(-sum(logs) / len(logs)), sum(right) / len(right)
    return means


@torch.no_grad()
def tested(energy: MaskedTokens, view: Any, hidden: Tensor) -> tuple[float, float]:
    """Perplexity and accuracy on the fixed targets."""
    energy.eval()
    blank = energy.vocabulary if energy.blank is None else energy.blank
    total, hits = 0.0, 0
    for x, y, mask, seen in zip(
        *(part.split(64) for part in (view.x, view.y, hidden, view.observed)), strict=True
    ):
        total += float(energy.corrupted(y, x, x=seen).sum())
        places = mask.flatten().nonzero().squeeze(1)
        chance = energy.log_probabilities(torch.where(x < 0, blank, x), places)
        hits += int((chance.argmax(1) == y.flatten()[places]).sum())
    count = int(hidden.sum())
    return math.exp(total / count), hits / count


def quality(protocol: str, seconds: float, preset: dict[str, Any], seed: int) -> None:
    """What is learned within a budget."""
    train, held, tokenizer = corpus(protocol)
    device = torch.device(preset["device"])
    generator = torch.Generator().manual_seed(seed)
    energy = MaskedTokens.from_data(
        train.to(device),
        width=preset["width"],
        layers=preset["layers"],
        heads=preset["heads"],
        dropout=0.1,
        generator=generator,
        **tokenizer.options(),
    )
    fixed = ll.Masking(ll.pretext.Masked(0.15))  # as many targets in each block
    view = fixed.view(energy, held.to(device), torch.Generator().manual_seed(1234))
    hidden = ~view.observed
    print(f"{train.numel():,} tokens to train on, {int(hidden.sum()):,} targets", flush=True)
    rows = counted(train, view, hidden, energy.vocabulary)
    for name, (perplexity, accuracy) in rows.items():
        print(f"{name:20s} perplexity {perplexity:6.1f} accuracy {accuracy:.3f}", flush=True)
    run = partial(ll.fit, energy, train.to(device), ll.Masking(0.3), progress=False)
    run = partial(run, batch_size=preset["batch"], generator=generator, record_every=50)
    still = partial(torch.optim.AdamW, lr=0.0, fused=True)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    run(steps=5, optimizer=still)
    began = clock()
    run(steps=20, optimizer=still)
    steps = int(20 * seconds / (clock() - began))
    adam = partial(torch.optim.AdamW, lr=preset["rate"], betas=(0.9, 0.98), fused=True)
    began = clock()

    def over(record: Record) -> bool:
        return clock() - began > seconds

    fit = run(steps=steps, optimizer=one_cycle(adam, steps), callbacks=[over])
    spent = clock() - began
    perplexity, accuracy = tested(energy, view, hidden)
    print(
        f"{energy.precision}, {fit.steps:,} of {steps:,} steps in {spent:,.0f} s: perplexity "
        f"{perplexity:.1f}, accuracy {accuracy:.3f}"
    )
    if protocol == "split":
        verdict = "met" if perplexity < 115 else "MISSED"
        print(f"held-out perplexity: {perplexity:.1f}, target < 115: {verdict}")
        verdict = "met" if accuracy > 0.285 else "MISSED"
        print(f"held-out accuracy: {accuracy:.3f}, target > .285: {verdict}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", choices=("speed", "masking", "quality"))
    parser.add_argument("--protocol", choices=("split", "plain"), default="split")
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    one_thread()
    if given.only in (None, "masking"):
        masking()
    if given.only in (None, "speed"):
        speed()
    if given.only in (None, "quality"):
        quality(given.protocol, given.seconds, PRESETS[given.preset], given.seed)


if __name__ == "__main__":
    main()
