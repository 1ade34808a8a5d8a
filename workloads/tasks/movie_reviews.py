"""`movie_reviews`: sentences of reviews, positive or negative, in ten fixed folds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scratchcard.setting import setting
from scratchcard.workloads.named_options import with_options
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.published import found_or_downloaded
from scratchcard.workloads.tasks.text_files import contents, decoded
from scratchcard.workloads.tasks.texts import Labelled, TextOptions, text_task

FOLDS, SENTENCES = 10, 5_331
_FILES = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}
_ARCHIVE = "rt-polaritydata.tar.gz"


@dataclass(frozen=True)
class MovieOptions(TextOptions):
    """Options of `movie_reviews`.

    Examples:
        >>> MovieOptions(fold=3).length
        60
    """

    length: int = setting(60, help="Tokens of a text; longer ones are cut", example=40, low=1, high=100_000)
    fold: int = setting(0, help="Which fold is the test split", example=3, low=0, high=FOLDS - 1)
    called: ClassVar[str] = "movie_reviews"


@with_options(MovieOptions)
def movie_reviews(data_dir: Path | None = None, options: MovieOptions | None = None) -> Task:
    """10,662 sentences of film reviews, positive or negative (sentence polarity v1.0, Pang & Lee 2005).

    Sentence i of either class, counted from 0 in the order of its file, is in the fold i mod 10: 1,068 sentences in the
    fold 0, 1,066 in the others. `fold` is the test split. Of the other nine a fixed random tenth is the validation
    split. The files are `rt-polarity.pos` and `rt-polarity.neg`, plain or with `.gz`, or the archive with both.

    Raises:
        FileNotFoundError: the files are nowhere.
        ValueError: a file is damaged or missing.

    Examples:
        >>> movie_reviews()  # doctest: +SKIP
        Task('movie_reviews', classification, 8635 + 959 + 1068 examples, torch.int64 (60,))
    """
    options = options or MovieOptions()
    folder = found_or_downloaded(
        "movie_reviews",
        data_dir,
        inside=lambda given: [given / "movie_reviews", given / "rt-polaritydata", given],
        elsewhere=[],
        whole=lambda found: (found / _ARCHIVE).is_file() or all(_is_there(found, name) for name in _FILES.values()),
        files=f"{' and '.join(_FILES.values())}, plain or with .gz, or {_ARCHIVE}",
    )
    source = folder / _ARCHIVE if (folder / _ARCHIVE).is_file() else folder
    held = {
        Path(name).name: decoded(data, "latin-1", f"{source}'s {name}")
        for name, data in contents(source, lambda name: Path(name).name in _FILES.values())
    }
    texts: dict[bool, list[str]] = {True: [], False: []}
    labels: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}
    for place, (kind, file) in enumerate(_FILES.items()):
        lines = [line.strip() for line in held.get(file, "").split("\n") if line.strip()]
        if len(lines) != SENTENCES:
            raise ValueError(
                f"{source} has {len(lines)} {kind} sentences, expected {SENTENCES}; get {file} of the sentence "
                "polarity dataset v1.0 again"
            )
        for number, line in enumerate(lines):
            tested = number % FOLDS == options.fold
            texts[tested].append(line)
            labels[tested].append((place,))
    train, test = (Labelled(tuple(texts[tested]), tuple(labels[tested])) for tested in (False, True))
    return text_task("movie_reviews", train, test, options, tuple(_FILES))


def _is_there(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()
