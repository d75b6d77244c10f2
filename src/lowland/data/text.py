"""Text files as tokens: packed into blocks of one length, streamed, or a sentence each."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from lowland._errors import DataError, DomainError
from lowland.data.dataset import Dataset
from lowland.data.stream import Stream
from lowland.data.tokenizer import Tokenizer

ERRORS = ("strict", "replace")
_BLOCKS = 1024
# So many lines are cut into tokens at a time.
_LINES = 1024
# The vocabulary of a stream is learned from so many lines at its beginning.
_LEARNED = 100_000


def text_file(
    path: Path,
    *,
    tokenizer: Tokenizer | str | None = None,
    vocabulary: int = 8192,
    length: int = 128,
    model: str = "wordpiece",
    split: str = "punctuation",
    lowercase: bool = True,
    errors: str = "strict",
) -> Dataset:
    """The tokens of a text file, one after the other, in blocks of one length.

    Args:
        path: a file of UTF-8 text.
        tokenizer: how to cut it, or the path of its JSON; one is trained on the file if None.
        vocabulary: how many tokens the one that is trained has at most.
        length: T, the tokens of a block; the last block is filled up with padding.
        model: "wordpiece" or "bpe", of the one that is trained.
        split: whether words end at "punctuation" or only at a "space".
        lowercase: whether capital letters and accents are forgotten.
        errors: what becomes of bytes that are not UTF-8: "strict" raises, "replace" makes each
            the character U+FFFD and counts them in the description.

    Returns:
        Dataset: y int64 `(blocks, T)` of kind "text", with its tokenizer.

    Raises:
        DataError: the file is missing, empty, holds no words or bytes that are not UTF-8, or the
            package `tokenizers` is not installed.
        DomainError: an option is out of range.
    """
    if errors not in ERRORS:
        raise DomainError(f"'errors' must be one of {ERRORS}. Got {errors!r}.")
    text, bad = _decoded(path, errors)
    lines = text.splitlines()
    if isinstance(tokenizer, str):
        tokenizer = Tokenizer.load(Path(tokenizer))
    if tokenizer is None:
        tokenizer = Tokenizer.train(
            lines, vocabulary=vocabulary, model=model, split=split, lowercase=lowercase
        )
    blocks = list(_blocks(lines, tokenizer, length))
    if not blocks:
        raise DataError(f"{path} holds no words: nothing but {len(text)} blank characters.")
    y = torch.stack(blocks)
    count = sum(len(line.split()) for line in lines)
    replaced = f", {bad:,} bad byte(s) replaced" if bad else ""
    return Dataset(
        y,
        kind="text",
        description=f"{count:,} words of {path.name} in blocks of {length} tokens{replaced}",
        tokenizer=tokenizer,
    )


def stream_text(
    path: Path,
    tokenizer: Tokenizer | str | None = None,
    *,
    vocabulary: int = 8192,
    length: int = 128,
) -> Stream:
    """The blocks of `text_file`, read again at each pass and never held as a whole.

    Args:
        path: a file of UTF-8 text.
        tokenizer: how to cut it, or the path of its JSON; one is trained on the first 100,000
            lines if None.
        vocabulary: how many tokens the one that is trained has at most.
        length: T, the tokens of a block; the last block is filled up with padding.

    Raises:
        DataError: the file is missing or empty, or, while it is read, holds bytes that are not
            UTF-8.
        DomainError: an option is out of range.
    """
    if isinstance(tokenizer, str):
        tokenizer = Tokenizer.load(Path(tokenizer))
    if tokenizer is None:
        learned = list(islice(_lines(path), _LEARNED))
        if not any(line.strip() for line in learned):
            raise DataError(f"{path} is empty: its first {_LEARNED:,} lines hold no words.")
        tokenizer = Tokenizer.train(learned, vocabulary=vocabulary)
    cut = tokenizer

    def read() -> Iterator[Tensor]:
        held: list[Tensor] = []
        for block in _blocks(_lines(path), cut, length):
            held.append(block)
            if len(held) == _BLOCKS:
                yield torch.stack(held)
                held = []
        if held:
            yield torch.stack(held)

    return Stream(read, rows=_BLOCKS, dtype=torch.int64, description=str(path), tokenizer=tokenizer)


def sentences(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> Tensor:
    """A row of tokens for each text, padded or cut off at `length`, int64 `(n, length)`.

    Raises:
        DomainError: the tokenizer has no padding, or there are no texts.

    Example:
        >>> tokenizer = ll.data.Tokenizer.train(["a cat sat", "a cat ran"], vocabulary=40)
        >>> sentences(["a cat [MASK]"], tokenizer, length=5).shape
        torch.Size([1, 5])
    """
    if not texts:
        raise DomainError("'texts' is empty. Give at least one.")
    return torch.stack(
        [_filled(ids[:length], tokenizer, length) for ids in tokenizer.encode(texts)]
    )


def _blocks(
    lines: Sequence[str] | Iterator[str], tokenizer: Tokenizer, length: int
) -> Iterator[Tensor]:
    """The tokens of all lines in blocks `(length,)`, the last one filled up."""
    if length < 2:
        raise DomainError(f"'length' of a block must be at least 2. Got {length}.")
    waiting: list[int] = []
    some: list[str] = []
    for line in lines:
        some.append(line)
        if len(some) == _LINES:
            waiting += [token for ids in tokenizer.encode(some) for token in ids]
            some = []
            whole = len(waiting) // length * length
            yield from torch.tensor(waiting[:whole]).reshape(-1, length)
            waiting = waiting[whole:]
    waiting += [token for ids in tokenizer.encode(some) for token in ids] if some else []
    for start in range(0, len(waiting), length):
        yield _filled(waiting[start : start + length], tokenizer, length)


def _filled(ids: list[int], tokenizer: Tokenizer, length: int) -> Tensor:
    missing = length - len(ids)
    if missing and tokenizer.padding is None:
        raise DomainError("The tokenizer has no [PAD] to fill up short texts with.")
    return torch.tensor(ids + missing * [tokenizer.padding or 0], dtype=torch.int64)


def _decoded(path: Path, errors: str) -> tuple[str, int]:
    """The text of a file, and how many bytes of it were replaced."""
    content = _bytes(path)
    if not content:
        raise DataError(f"{path} is empty: it has 0 bytes. Expected text.")
    try:
        return content.decode("utf-8-sig"), 0
    except UnicodeDecodeError as error:
        if errors == "strict":
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{path} is not UTF-8: byte {error.start} (line {line}) is "
                f"0x{content[error.start]:02x}. Convert it, or give errors='replace' (on the "
                f"command line: --errors replace), which counts what it replaces."
            ) from error
        text = content.decode("utf-8-sig", errors="replace")
        return text, text.count("\ufffd") - content.count("\ufffd".encode())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from (line.rstrip("\n") for line in file)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}.") from error
