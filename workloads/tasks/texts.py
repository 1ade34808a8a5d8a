"""What tasks of texts have in common: their options, the validation split, the vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scratchcard.artefacts.digest import sha256
from scratchcard.setting import setting
from scratchcard.settings import Settings
from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.objective import Classification, Objective
from scratchcard.workloads.objectives.multi_label import MultiLabel
from scratchcard.workloads.own_data import SPLIT_SEED, VALIDATION
from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.text_encoding import TextEncoding

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class TextOptions(Settings):
    """How texts become tokens; part of a task's name, as in `movie_reviews,words=5000,length=40`.

    Examples:
        >>> TextOptions(words=5000)
        TextOptions(words=5000, least=2, length=200, stop_words='none')
    """

    words: int = setting(20_000, help="Most frequent words of the training split that get a token", example=5000, low=1)
    least: int = setting(2, help="How often a word occurs there at least; others are unknown", example=1, low=1)
    length: int = setting(200, help="Tokens of a text; longer ones are cut", example=400, low=1, high=100_000)
    stop_words: Literal["none", "english"] = setting(
        "none", help="Frequent words that are left out: scikit-learn's English list", example="english"
    )


@dataclass(frozen=True)
class Labelled:
    """Texts, and the classes of each.

    Attributes:
        texts: in a fixed order.
        labels: places of their classes, of each text; one, or any number where the task is of several labels.

    Examples:
        >>> len(Labelled(("hello",), ((0,),)).texts)
        1
    """

    texts: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]

    def part(self, places: Sequence[int]) -> Labelled:
        """Those at these places."""
        return Labelled(tuple(self.texts[p] for p in places), tuple(self.labels[p] for p in places))


def text_task(
    name: str,
    train: Labelled,
    test: Labelled,
    options: TextOptions,
    classes: Sequence[str],
    *,
    validation: Labelled | None = None,
    several: bool = False,
) -> Task:
    """The task of texts: vocabulary and, if it is not given, the validation split come of the training texts.

    Its digest is of the tokens, the targets and the vocabulary: the same tokens for other words are another task, and
    the same data under other names of classes are not, as with images.

    Args:
        name: of the task.
        train, test, validation: the texts and their classes.
        options: how they become tokens.
        classes: their names.
        several: whether a text may have any number of classes, which is the objective `multi_label`.

    Examples:
        >>> cats, dogs = ("a cat",) * 20, ("a dog",) * 20
        >>> pets = Labelled(cats + dogs, ((0,),) * 20 + ((1,),) * 20)
        >>> text_task("pets", pets, pets, TextOptions(length=4), ("cat", "dog"))
        Task('pets', classification, 36 + 4 + 40 examples, torch.int64 (4,))
    """
    if validation is None:
        kept, held = validation_cut(train.labels, max(1, round(VALIDATION * len(train.texts))))
        if not held:
            raise ValueError(f"{name} has one training text of each class, and needs more, for a validation split")
        train, validation = train.part(kept), train.part(held)
    text = TextEncoding.of(
        train.texts, words=options.words, length=options.length, least=options.least, stop_words=options.stop_words
    )
    objective: Objective = MultiLabel() if several else Classification()
    trained, held_out, tested = (
        Split(text.tokens(part.texts), _targets(part.labels, len(classes), several))
        for part in (train, validation, test)
    )
    digest = sha256([task_digest(trained, held_out, tested), "\n".join(text.vocabulary)])
    encoding = Encoding(classes=tuple(classes), text=text)
    return Task(name, trained, held_out, tested, len(classes), digest, objective=objective, encoding=encoding)


def validation_cut(labels: Sequence[tuple[int, ...]], size: int) -> tuple[list[int], list[int]]:
    """Places of the training texts that stay and of those held out, of a fixed random order; no class loses its last.

    Examples:
        >>> kept, held = validation_cut([(0,), (0,), (0,), (1,)], 2)
        >>> 3 in kept, len(held)
        (True, 2)
    """
    left = Counter(label for several in labels for label in several)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    held: list[int] = []
    for place in order:
        if len(held) == size:
            break
        if all(left[label] > 1 for label in labels[place]):
            left.subtract(labels[place])
            held.append(place)
    chosen = set(held)
    return [place for place in range(len(labels)) if place not in chosen], sorted(held)


def by_class(texts: Mapping[str, Sequence[str]]) -> tuple[Labelled, tuple[str, ...]]:
    """Texts of each class as one list, and the classes' names, sorted.

    Examples:
        >>> by_class({"spam": ["buy"], "ham": ["hello"]})
        (Labelled(texts=('hello', 'buy'), labels=((0,), (1,))), ('ham', 'spam'))
    """
    classes = tuple(sorted(texts))
    every = [(text, (place,)) for place, kind in enumerate(classes) for text in texts[kind]]
    return Labelled(tuple(text for text, _ in every), tuple(label for _, label in every)), classes


def _targets(labels: Sequence[tuple[int, ...]], classes: int, several: bool) -> Tensor:
    if not several:
        return torch.tensor([label for (label,) in labels])
    found = torch.zeros(len(labels), classes)
    for row, own in enumerate(labels):
        found[row, list(own)] = 1
    return found
