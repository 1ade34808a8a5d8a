"""TextEncoding: how texts become tokens, learnt from the training texts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratchcard.settings import settings_of
from scratchcard.words import quoted, shortened

PADDING, UNKNOWN = 0, 1
"""The first two entries of every vocabulary: what fills up short texts, and words that it does not have."""
PATTERN = r"\w+(?:'\w+)*|[!?]"
"""What a word is: letters, digits and underscores, also with apostrophes between; and `!` and `?`."""
STOP_WORDS = ("none", "english")


@dataclass(frozen=True)
class TextEncoding:
    r"""Which token each word is; a text is its first `length` tokens, filled up with padding behind.

    Texts are lower-cased and split by scikit-learn's analyser with the pattern `\w+(?:'\w+)*|[!?]`. Whole words need no
    more than a regular expression and a table, and scikit-learn, which has the stop words too, is there already; a
    tokenizer library would be one dependency more.

    Attributes:
        vocabulary: the words, the place of each its token. The first two stand for padding (0) and for unknown words
            (1), and are no words themselves.
        length: tokens of a text.
        stop_words: `english` leaves out scikit-learn's list of frequent English words; `none`.

    Raises:
        ValueError: a vocabulary with a word twice or without the first two, or a length below 1.

    Examples:
        >>> texts = TextEncoding.of(["A cat, a dog.", "A dog!"], words=3, length=4)
        >>> texts.vocabulary
        ('<padding>', '<unknown>', 'a', 'dog', '!')
        >>> texts.tokens(["a dog and", "A"])
        tensor([[2, 3, 1, 0],
                [2, 0, 0, 0]])
    """

    vocabulary: tuple[str, ...]
    length: int
    stop_words: str = "none"

    first: ClassVar[tuple[str, str]] = ("<padding>", "<unknown>")

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        words = self.vocabulary
        if words[:2] != self.first or len(set(words)) != len(words) or not all(isinstance(w, str) for w in words):
            raise ValueError(
                f"a vocabulary is {quoted(list(words[:4]))} ..., expected texts, each once, that begin with "
                f"{' and '.join(self.first)}"
            )
        if type(self.length) is not int or self.length < 1:
            raise ValueError(f"a text has {self.length!r} tokens, expected a whole number of at least 1")
        if self.stop_words not in STOP_WORDS:
            raise ValueError(f"the stop words are {quoted(self.stop_words)}, expected {' or '.join(STOP_WORDS)}")

    @classmethod
    def of(
        cls, texts: Iterable[str], *, words: int, length: int, least: int = 1, stop_words: str = "none"
    ) -> TextEncoding:
        """The encoding with the `words` most frequent words of the texts, of those that occur `least` times.

        Words that are as frequent as each other stand in the order of their letters.

        Raises:
            ValueError: no word is left.
        """
        split = _analyser(stop_words)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split(text))
        found = sorted((word for word, count in counts.items() if count >= least), key=lambda w: (-counts[w], w))
        if not found:
            raise ValueError(
                f"the training texts have no word that occurs {least} times; expected texts, or a smaller `least`"
            )
        return cls((*cls.first, *found[:words]), length, stop_words)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """The tokens of texts, `(n, length)`, int64."""
        split, places = _analyser(self.stop_words), {word: place for place, word in enumerate(self.vocabulary)}
        found = torch.full((len(texts), self.length), PADDING, dtype=torch.int64)
        for row, text in enumerate(texts):
            tokens = [places.get(word, UNKNOWN) for word in split(text)[: self.length]]
            found[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        return found

    @classmethod
    def from_json(cls, described: object) -> TextEncoding:
        """The encoding that `to_json` described.

        Raises:
            ValueError: not an object, other keys, or values that none has.

        Examples:
            >>> texts = TextEncoding.of(["a cat"], words=3, length=4)
            >>> TextEncoding.from_json(texts.to_json()) == texts
            True
        """
        known = settings_of(cls)
        if not isinstance(described, Mapping) or not described.keys() <= known.keys():
            raise ValueError(
                f"the encoding of texts is {quoted(described)}, expected an object with {', '.join(known)}"
            )
        words = described.get("vocabulary")
        if not isinstance(words, list | tuple) or "length" not in described:
            raise ValueError("the encoding of texts needs a vocabulary, a list of words, and a length")
        return cls(**described)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"vocabulary": list(self.vocabulary), "length": self.length, "stop_words": self.stop_words}

    def __repr__(self) -> str:
        shown = shortened(", ".join(self.vocabulary[2:6]))
        return f"TextEncoding({len(self.vocabulary)} entries: {shown} ..., {self.length} tokens)"


@cache
def _analyser(stop_words: str) -> Callable[[str], list[str]]:
    from sklearn.feature_extraction.text import CountVectorizer

    left_out = None if stop_words == "none" else stop_words
    found: Callable[[str], list[str]] = CountVectorizer(token_pattern=PATTERN, stop_words=left_out).build_analyzer()
    return found
