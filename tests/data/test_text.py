"""Text becomes tokens and text again; what is not text is refused, or counted."""

import random
from pathlib import Path
from pydoc_data import topics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lowland as ll
from lowland.data import Tokenizer, read, sentences, stream_text, text_file

LINES = ["The cat sat on the mat.", "A cat ran off; the dog did not.", "", "Dogs and cats ran."]
WORDS = Tokenizer.train(LINES, vocabulary=90)
BYTES = Tokenizer.train(LINES, vocabulary=300, model="bpe", lowercase=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES * 20), encoding="utf-8")
    return path


def test_word_pieces_come_back_as_words() -> None:
    (tokens,) = WORDS.encode(["the cat ran"])
    assert WORDS.decode(tokens) == "the cat ran"
    assert WORDS.words()[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (WORDS.padding, WORDS.blank) == (0, 4)


def test_a_blank_may_be_written() -> None:
    (tokens,) = WORDS.encode(["the [MASK] ran"])
    assert tokens.count(4) == 1
    assert WORDS.decode([*tokens, 0, 0]) == "the [MASK] ran"


@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r"), max_size=40))
def test_bytes_lose_nothing(text: str) -> None:
    (tokens,) = BYTES.encode([text])
    assert BYTES.decode(tokens).removeprefix(" ") == text.removeprefix(" ")


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_a_tokenizer_survives_its_json(text: str) -> None:
    for tokenizer in (WORDS, BYTES):
        again = Tokenizer(tokenizer.text)
        assert again == tokenizer
        assert again.encode([text]) == tokenizer.encode([text])


def test_it_is_kept_in_a_file(tmp_path: Path) -> None:
    WORDS.save(tmp_path / "t.json")
    assert Tokenizer.load(tmp_path / "t.json") == WORDS
    with pytest.raises(ll.DataError, match="cannot be read"):
        Tokenizer.load(tmp_path / "none.json")


def test_the_same_text_gives_the_same_vocabulary() -> None:
    lines = list(topics.topics.values())[:6]
    first = Tokenizer.train(lines, vocabulary=250)
    assert len(first) == 250
    assert all(Tokenizer.train(lines, vocabulary=250) == first for _ in range(3))
    (tokens,) = first.encode(["##e"])
    assert first.words().index("##e") not in tokens


@pytest.mark.parametrize("text", ["{", "[]", '{"model": {"type": "Unigram"}}'])
def test_what_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(ll.DataError):
        Tokenizer(text)


def test_which_tokens_go_on_with_a_word() -> None:
    for tokenizer, begins in ((WORDS, lambda w: not w.startswith("##")), (BYTES, "Ġ".__eq__)):
        options = tokenizer.options()
        words = tokenizer.words()
        assert options["vocabulary"] == len(words)
        for word, goes_on in zip(words, options["continues"].tolist(), strict=True):
            if tokenizer is WORDS:
                assert goes_on is not begins(word)
    (tokens,) = BYTES.encode(["the catxyz sat"])
    continues = BYTES.options()["continues"][tokens]
    assert (~continues).sum() == 3


def test_a_file_is_packed_into_blocks_without_loss(corpus: Path) -> None:
    data = text_file(corpus, tokenizer=WORDS, length=16)
    ids = [i for line in LINES * 20 for i in WORDS.encode([line])[0]]
    flat = data.y.flatten()
    assert data.event == (16,)
    assert flat[: len(ids)].tolist() == ids
    assert (flat[len(ids) :] == 0).all()
    assert len(flat) - len(ids) < 16
    assert data.kind == "text"
    assert data.tokenizer == WORDS
    assert f"{20 * sum(len(line.split()) for line in LINES)} words" in data.description


def test_the_one_door_trains_a_tokenizer(corpus: Path) -> None:
    data = read(str(corpus), vocabulary=60, length=8)
    assert len(data.tokenizer) <= 60
    assert int(data.y.max()) < len(data.tokenizer)
    assert torch.equal(data.y, read(corpus, vocabulary=60, length=8).y)


@pytest.mark.parametrize("length", [7, 16, 5000])
def test_a_stream_gives_the_same_blocks(corpus: Path, length: int) -> None:
    stream = stream_text(corpus, WORDS, length=length)
    for _ in range(2):
        assert torch.equal(
            torch.cat(list(stream)), text_file(corpus, tokenizer=WORDS, length=length).y
        )


def test_sentences_are_padded_or_cut() -> None:
    y = sentences(["the cat", "the cat sat on the mat."], WORDS, 4)
    assert y.shape == (2, 4)
    assert y[0].tolist() == [*WORDS.encode(["the cat"])[0], 0, 0]
    assert (y[1] > 0).all()
    with pytest.raises(ll.DomainError, match="empty"):
        sentences([], WORDS, 4)


def test_an_empty_file_and_one_of_blanks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.txt"
    path.write_bytes(b"")
    with pytest.raises(ll.DataError, match=r"e\.txt is empty: it has 0 bytes"):
        read(path)
    path.write_text(" \n\n ")
    with pytest.raises(ll.DataError, match="no words"):
        read(path)
    with pytest.raises(ll.DataError, match="no words"):
        text_file(path, tokenizer=WORDS)
    with pytest.raises(ll.DataError, match="There is no file"):
        read(tmp_path / "missing.txt")


def test_bad_bytes_are_named_or_counted(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(b"a cat sat\nthe d\xffg \xfe ran \xef\xbf\xbd")
    with pytest.raises(ll.DataError, match=r"byte 15 \(line 2\) is 0xff"):
        read(path)
    data = read(path, errors="replace", tokenizer=WORDS, length=8)
    assert "2 bad byte(s) replaced" in data.description
    with pytest.raises(ll.DataError, match="not UTF-8"):
        list(stream_text(path, WORDS))
    with pytest.raises(ll.DomainError, match="'errors' must be one of"):
        read(path, errors="ignore")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ll.DataError, match=r"pip install 'lowland\[text\]'"):
        Tokenizer.train(["a b"], vocabulary=30)


def test_wrong_options_are_refused(corpus: Path) -> None:
    with pytest.raises(ll.DomainError, match="'model' of a tokenizer"):
        read(corpus, model="unigram")
    with pytest.raises(ll.DomainError, match="'vocabulary' must be larger"):
        read(corpus, vocabulary=3)
    with pytest.raises(ll.DomainError, match="'length' of a block"):
        read(corpus, length=1, tokenizer=WORDS)


def test_long_texts_in_any_number_of_lines(tmp_path: Path) -> None:
    choose = random.Random(0)
    lines = [
        " ".join(choose.choices(["cat", "dog", "mat"], k=choose.randint(0, 4))) for _ in range(3000)
    ]
    path = tmp_path / "long.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    ids = [i for one in WORDS.encode(lines) for i in one]
    assert text_file(path, tokenizer=WORDS, length=32).y.flatten()[: len(ids)].tolist() == ids
