"""A text file is fitted, and the run is asked about sentences."""

from pathlib import Path
from pydoc_data import topics

import numpy as np
import pytest

import lowland as ll
from lowland.data import Tokenizer, sentences

FIT = (
    "fit corpus.txt --energy masked-tokens --vocabulary 300 --length 16 --set width=16 "
    "--set layers=1 --set heads=2 --set precision=float32 --batch-size 16 --no-progress "
)


@pytest.fixture
def corpus(folder: Path) -> Path:
    path = folder / "corpus.txt"
    path.write_text("\n".join(list(topics.topics.values())[:12]), encoding="utf-8")
    return path


def test_a_text_is_learned_and_asked(run, folder, corpus) -> None:
    result = run(FIT + "--steps 20 --out text")
    assert result.exit_code == 0, result.output
    assert "words of corpus.txt" in result.output
    assert "Masking(" in result.output
    tokenizer = Tokenizer.load(folder / "text" / "tokenizer.json")
    energy = ll.load(folder / "text")

    result = run("ask text complete --text the[MASK]of[MASK] --n 3")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("│ 0 ")]
    assert len(lines) == 3
    assert all("the" in line and " of" in line for line in lines)
    assert all("[MASK]" not in line for line in lines)

    result = run("ask text score --text statement --text function --out scores.npz")
    assert result.exit_code == 0, result.output
    with np.load(folder / "scores.npz") as file:
        found = file["score"]
    y = sentences(["statement", "function"], tokenizer, 16)
    assert found == pytest.approx(ll.score(energy, y).numpy())

    assert run("ask text encode --text names").exit_code == 0
    assert run("ask text score --limit 1").exit_code == 0
    assert run("ask text score --limit 1 --data corpus.txt").exit_code == 0

    result = run("ask text complete --text statement")
    assert result.exit_code != 0
    assert "write [MASK] for each" in result.output


def test_a_run_resumes_exactly(run, folder, corpus) -> None:
    assert run(FIT + "--steps 12 --out whole").exit_code == 0
    assert run(FIT + "--steps 5 --out part").exit_code == 0
    result = run(FIT + "--steps 12 --out part --resume")
    assert result.exit_code == 0, result.output
    whole, part = ll.load(folder / "whole"), ll.load(folder / "part")
    for one, other in zip(whole.parameters(), part.parameters(), strict=True):
        assert (one == other).all()


def test_a_stream_ends_where_the_text_read_at_once_does(run, folder, corpus) -> None:
    result = run(FIT + "--epochs 1 --out streamed --stream")
    assert result.exit_code == 0, result.output
    tokenizer = Tokenizer.load(folder / "streamed" / "tokenizer.json")
    y = ll.data.text_file(corpus, tokenizer=tokenizer, length=16).y
    assert f"a stream of {len(y):,} rows, nothing held out" in result.output
    run(FIT + "--epochs 1 --out whole --held-out 0")
    assert tokenizer == Tokenizer.load(folder / "whole" / "tokenizer.json")
    result = run("ask streamed score --limit 5 --out scores.npz")
    assert result.exit_code == 0, result.output
    with np.load(folder / "scores.npz") as file:
        found = file["score"]
    expected = ll.score(ll.load(folder / "streamed"), y[: len(found)])
    assert found == pytest.approx(expected.numpy(), rel=1e-5)
    result = run(FIT + "--stream --errors replace --out other --steps 1")
    assert "leave --errors out" in result.output


def test_bad_bytes_and_an_empty_file_are_told(run, folder) -> None:
    (folder / "corpus.txt").write_bytes(b"")
    result = run(FIT + "--steps 1 --out text")
    assert result.exit_code != 0
    assert "is empty" in result.output
    (folder / "corpus.txt").write_bytes(b"some words \xff here\n" * 40)
    result = run(FIT + "--steps 1 --out text")
    assert "byte 11 (line 1) is 0xff" in result.output
    result = run(FIT + "--steps 1 --errors replace --out text")
    assert result.exit_code == 0, result.output
    assert "40 bad byte(s) replaced" in result.output


def test_text_needs_a_run_on_text(run) -> None:
    run("fit digits --energy kmeans --set k=3 --steps 1 --out digits")
    result = run("ask digits score --text word")
    assert result.exit_code != 0
    assert "has no tokenizer.json" in result.output
