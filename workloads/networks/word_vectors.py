"""Vectors of words from a file: `.vec` of word2vec and fastText, `.txt` of GloVe."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scratchcard.words import quoted

_CHUNK = 2**24
_LONGEST_LINE = 2**20


def word_vectors(named: str, vocabulary: Sequence[str]) -> dict[int, Tensor]:
    """The vectors of a vocabulary's words, by the words' places; words that the file lacks are left out.

    A line is a word and its numbers, with spaces between; a first line of two numbers, as `.vec` has it, is skipped.
    Words are compared as they stand, and in the vocabulary of a task of texts they are lower-cased.

    Args:
        named: the file, seen from the working folder, or else from the one that `SCRATCHCARD_DATA` names.
        vocabulary: the words.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or it has none of the words; one sentence.

    Examples:
        >>> _ = Path("two.vec").write_text("2 3\\ncat 1 2 3\\ndog 4 5 6\\n")
        >>> word_vectors("two.vec", ["<padding>", "dog"])
        {1: tensor([4., 5., 6.])}
    """
    file = vectors_file(named)
    about = file.stat()
    return _read(file, (about.st_mtime_ns, about.st_size), tuple(vocabulary))


def vectors_file(named: str) -> Path:
    """The file, seen from the working folder, or else from the one that `SCRATCHCARD_DATA` names.

    Raises:
        FileNotFoundError: it is in neither.

    Examples:
        >>> _ = Path("one.vec").write_text("cat 1 2 3")
        >>> vectors_file("one.vec")
        PosixPath('one.vec')
    """
    data = os.environ.get("SCRATCHCARD_DATA")
    for file in (Path(named), *([Path(data) / named] if data else [])):
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"no file {named} of words' vectors, seen from the working folder or the one that SCRATCHCARD_DATA names; "
        "expected a .vec or .txt with a word and its numbers a line"
    )


def vectors_digest(named: str) -> str:
    """sha256 of the file; read once.

    Examples:
        >>> _ = Path("a.vec").write_text("cat 1 2 3")
        >>> vectors_digest("a.vec")[:8]
        'a31526eb'
    """
    file = vectors_file(named)
    about = file.stat()
    return _digest(file.absolute(), (about.st_mtime_ns, about.st_size))


@lru_cache(maxsize=4)
def _digest(file: Path, _state: object) -> str:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


@lru_cache(maxsize=2)
def _read(file: Path, _state: object, vocabulary: tuple[str, ...]) -> dict[int, Tensor]:
    places = {word: place for place, word in enumerate(vocabulary)}
    found: dict[int, Tensor] = {}
    width = 0
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            word, _, rest = line.rstrip().partition(b" ")
            numbers = rest.split()
            if number == 1 and len(numbers) == 1 and word.isdigit() and numbers[0].isdigit():
                continue  # how many, and how wide
            width = width or len(numbers)
            place = places.get(word.decode("utf-8", "replace"))
            if place is None:
                continue
            try:
                vector = np.array(numbers, dtype=np.float64)
            except ValueError:
                vector = np.zeros(0)
            if len(vector) != width or width == 0 or not np.isfinite(vector).all():
                raise ValueError(
                    f"line {number} of {file} gives {quoted(word.decode())} no {width} finite numbers; expected a word "
                    "and as many numbers in each line"
                )
            found.setdefault(place, torch.from_numpy(vector).float())
    if not found:
        raise ValueError(
            f"{file} has none of the {len(vocabulary):,} words of the vocabulary; expected a .vec or .txt with a word "
            "and its numbers a line"
        )
    return found
