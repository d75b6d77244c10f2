"""Text to tokens and back: WordPiece and byte-pair vocabularies, learned from text."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland._errors import DataError, DomainError
from lowland.data._files import optional

# First in every vocabulary trained here, in this order.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MODELS = ("wordpiece", "bpe")
SPLITS = ("punctuation", "space")


class Tokenizer:
    """A vocabulary of parts of words, and how text is cut into them.

    Args:
        text: the JSON of a tokenizer as the `tokenizers` package writes it, whether trained here or
            downloaded with a model (`tokenizer.json`).

    Raises:
        DataError: the text is not such JSON, or the package is not installed.

    Reference:
        Google's Neural Machine Translation System (Wu et al., 2016), section 4.1,
        https://arxiv.org/abs/1609.08144

    Example:
        >>> tokenizer = Tokenizer.train(["a cat sat", "a cat ran"], vocabulary=40)
        >>> tokenizer.decode(tokenizer.encode(["a cat"])[0])
        'a cat'
    """

    def __init__(self, text: str) -> None:
        tokenizers = _package()
        # Looked at first, for the package itself raises nothing narrower than Exception.
        try:
            kind = json.loads(text)["model"]["type"]
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"That is not the JSON of a tokenizer: {error!r}.") from error
        if kind not in ("WordPiece", "BPE"):
            raise DataError(f"Tokenizers of the model {kind!r} are not read. Use WordPiece or BPE.")
        self._inner = tokenizers.Tokenizer.from_str(text)
        self._inner.no_padding()
        self._inner.no_truncation()

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocabulary: int = 8192,
        model: str = "wordpiece",
        split: str = "punctuation",
        lowercase: bool = True,
    ) -> "Tokenizer":
        """Learn a vocabulary from text.

        Args:
            texts: lines or documents, read once; the same ones give the same vocabulary.
            vocabulary: how many tokens to have at most, those for blanks and padding included.
            model: "wordpiece", whose tokens that go on with a word begin with ##, or "bpe", whose
                tokens are made of bytes, so that no text is unknown.
            split: for WordPiece, whether words end at "punctuation" too, or only at a "space".
            lowercase: whether capital letters and accents are forgotten.

        Raises:
            DomainError: an option is not known or too small.
            DataError: the texts hold nothing, or `tokenizers` is not installed.
        """
        for name, value, known in (("model", model, MODELS), ("split", split, SPLITS)):
            if value not in known:
                raise DomainError(f"'{name}' of a tokenizer must be one of {known}. Got {value!r}.")
        if vocabulary <= len(SPECIAL):
            raise DomainError(
                f"'vocabulary' must be larger than the {len(SPECIAL)} tokens that every tokenizer "
                f"has. Got {vocabulary}."
            )
        lines = list(texts)
        parts: tuple[str, ...] = ()
        if model == "wordpiece":
            # The package numbers letters inside of words as it meets them in a table without an
            # order, and breaks ties by these numbers: they get theirs beforehand.
            inner, trainer = _untrained(model, split, lowercase, len(SPECIAL))
            inner.train_from_iterator(lines, trainer)
            parts = tuple(sorted(word for word in inner.get_vocab() if word.startswith("##")))
        inner, trainer = _untrained(model, split, lowercase, vocabulary, parts)
        inner.train_from_iterator(lines, trainer)
        if inner.get_vocab_size() <= len(SPECIAL) + (256 if model == "bpe" else 0):
            raise DataError("The text holds no words to learn a vocabulary from.")
        written = json.loads(inner.to_str())
        written["added_tokens"] = [
            token for token in written["added_tokens"] if token["content"] not in parts
        ]
        return cls(json.dumps(written))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read the JSON file that `save` wrote.

        Raises:
            DataError: the file is missing or not of that kind.
        """
        try:
            return cls(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"The tokenizer {path} cannot be read: {error}.") from error

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            DataError: the file cannot be written.
        """
        try:
            path.write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise DataError(f"The tokenizer cannot be written to {path}: {error}.") from error

    @property
    def text(self) -> str:
        """All of it, as JSON."""
        text: str = self._inner.to_str()
        return text

    def __len__(self) -> int:
        size: int = self._inner.get_vocab_size()
        return size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]  # the vocabulary of a package's object may change

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without any of [CLS] and [SEP]; the word [MASK] is a blank."""
        encoded = self._inner.encode_batch(list(texts), add_special_tokens=False)
        return [one.ids for one in encoded]

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """The text of some tokens, blanks and unknown ones shown as such, padding left out."""
        ids = tokens.tolist() if isinstance(tokens, Tensor) else list(tokens)
        shown = [i for i in ids if i != self.padding]
        text: str = self._inner.decode(shown, skip_special_tokens=False)
        return text

    def words(self) -> list[str]:
        """Every token as it is written in the vocabulary, by its number."""
        return [str(self._inner.id_to_token(i)) for i in range(len(self))]

    @property
    def blank(self) -> int | None:
        """The number of [MASK], or None if there is no such token."""
        return self._number("[MASK]")

    @property
    def padding(self) -> int | None:
        """The number of [PAD], or None if there is no such token."""
        return self._number("[PAD]")

    def _number(self, token: str) -> int | None:
        number: int | None = self._inner.token_to_id(token)
        return number

    def options(self) -> dict[str, Any]:
        """What an energy of these tokens must know: `MaskedTokens.from_data(y, **options)`."""
        others = (self._number(t) for t in SPECIAL if t not in ("[PAD]", "[MASK]"))
        return {
            "vocabulary": len(self),
            "blank": self.blank,
            "padding": self.padding,
            "special": tuple(number for number in others if number is not None),
            "continues": self._continues(),
        }

    def _continues(self) -> Tensor:
        """Which tokens go on with a word, bool `(len(self),)`."""
        bytes_inside = json.loads(self.text)["model"]["type"] == "BPE"
        # Byte-pair tokens that begin a word begin with a space, which is written so.
        return torch.tensor(
            [
                not word.startswith("Ġ") if bytes_inside else word.startswith("##")
                for word in self.words()
            ]
        )


def _package() -> Any:
    return optional("tokenizers", needed_for="Reading text", extra="text")


def _untrained(
    model: str, split: str, lowercase: bool, vocabulary: int, parts: tuple[str, ...] = ()
) -> tuple[Any, Any]:
    tk = _package()
    first = [*SPECIAL, *parts]
    shared = {"vocab_size": vocabulary, "special_tokens": first, "show_progress": False}
    if model == "bpe":
        inner = tk.Tokenizer(tk.models.BPE())
        if lowercase:
            inner.normalizer = tk.normalizers.Lowercase()
        inner.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=True)
        inner.decoder = tk.decoders.ByteLevel()
        letters = tk.pre_tokenizers.ByteLevel.alphabet()
        return inner, tk.trainers.BpeTrainer(initial_alphabet=letters, **shared)
    inner = tk.Tokenizer(tk.models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = tk.normalizers.BertNormalizer(lowercase=lowercase)
    inner.pre_tokenizer = (
        tk.pre_tokenizers.BertPreTokenizer()
        if split == "punctuation"
        else tk.pre_tokenizers.WhitespaceSplit()
    )
    inner.decoder = tk.decoders.WordPiece()
    return inner, tk.trainers.WordPieceTrainer(**shared)
