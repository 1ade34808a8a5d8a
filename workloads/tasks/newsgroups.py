"""`twenty_newsgroups`: 20 topics of messages, split by date."""

from __future__ import annotations

import io
import os
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from scratchcard.setting import setting
from scratchcard.words import said
from scratchcard.workloads.named_options import with_options
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.published import found_or_downloaded
from scratchcard.workloads.tasks.text_files import MOST_IN_ALL, contents, decoded
from scratchcard.workloads.tasks.texts import TextOptions, by_class, text_task

SIZES = {"train": 11_314, "test": 7_532}
_PARTS = ("headers", "footers", "quotes")
_ARCHIVES = tuple(f"20news-bydate.tar.{ending}" for ending in ("gz", "xz", "bz2"))
_CACHE = "20news-bydate_py3.pkz"
_OF_A_CACHE = {
    ("sklearn.utils", "Bunch"),
    ("sklearn.utils._bunch", "Bunch"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
}
"""All that scikit-learn's cache is made of: texts, lists, and arrays of numbers. Nothing else is read of it."""


@dataclass(frozen=True)
class NewsgroupOptions(TextOptions):
    """Options of `twenty_newsgroups`.

    Examples:
        >>> NewsgroupOptions(remove="all").remove
        'all'
    """

    remove: Literal[
        "nothing", "headers", "footers", "quotes", "headers+footers", "headers+quotes", "footers+quotes", "all"
    ] = setting("nothing", help="Parts of the messages that are left out, by scikit-learn's rules", example="all")
    called: ClassVar[str] = "twenty_newsgroups"


@with_options(NewsgroupOptions)
def twenty_newsgroups(data_dir: Path | None = None, options: NewsgroupOptions | None = None) -> Task:
    """Messages of 20 newsgroups by topic (Lang 1995), 11,314 before a date for training and 7,532 after it for test.

    A fixed random tenth of the training messages is the validation split. The files are Rennie's 20news-bydate: its
    archive, its folders, or scikit-learn's cache of it (`sklearn.datasets.fetch_20newsgroups()` makes one), of which no
    code is run. Headers tell a good deal of the topic; `remove=all` leaves out headers, footers and quotes, as
    scikit-learn does.

    Raises:
        FileNotFoundError: the files are nowhere.
        ValueError: a file is damaged or missing.

    Examples:
        >>> twenty_newsgroups()  # doctest: +SKIP
        Task('twenty_newsgroups', classification, 10183 + 1131 + 7532 examples, torch.int64 (200,))
    """
    options = options or NewsgroupOptions()
    folder = found_or_downloaded(
        "twenty_newsgroups",
        data_dir,
        inside=lambda given: [given / "20newsgroups", given / "twenty_newsgroups", given],
        elsewhere=[Path(os.environ.get("SCIKIT_LEARN_DATA", Path.home() / "scikit_learn_data"))],
        whole=lambda found: _source(found) is not None,
        files=f"{', '.join(_ARCHIVES)}, the folders 20news-bydate-train and -test, or scikit-learn's {_CACHE}",
    )
    source = _source(folder) or folder
    found: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    messages = _of_cache(source) if source.name == _CACHE else _of_files(source)
    for split, group, text in messages:
        found[split].setdefault(group, []).append(_stripped(text, options.remove))
    train, classes = by_class(found["train"])
    test, others = by_class(found["test"])
    sizes = {"train": len(train.texts), "test": len(test.texts)}
    if sizes != SIZES or classes != others:
        raise ValueError(
            f"{source} has {sizes['train']} training and {sizes['test']} test messages of {len(classes)} and "
            f"{len(others)} groups, expected {SIZES['train']} and {SIZES['test']} of 20; get the files again"
        )
    return text_task("twenty_newsgroups", train, test, options, classes)


def _source(folder: Path) -> Path | None:
    """The archive, the folder of folders, or the cache."""
    for name in (*_ARCHIVES, _CACHE):
        if (folder / name).is_file():
            return folder / name
    return folder if all((folder / f"20news-bydate-{split}").is_dir() for split in SIZES) else None


def _of_files(path: Path) -> Iterator[tuple[str, str, str]]:
    """Split, group and text of each message, sorted by name: an archive may hold them in any order."""
    found = []
    for name, data in contents(path, lambda name: "20news-bydate-" in name):
        split, *rest = name[name.index("20news-bydate-") + len("20news-bydate-") :].split("/")
        if split in SIZES and len(rest) == 2:
            found.append((split, rest[0], rest[1], data))
    for split, group, name, data in sorted(found, key=lambda message: message[:3]):
        yield split, group, decoded(data, "latin-1", f"{path}'s {group}/{name}")


class _TextsAlone(pickle.Unpickler):
    """Reads a pickle of texts, lists and arrays; what would run any other code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _OF_A_CACHE:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no part of such a cache")
        return super().find_class(module, name)


def _of_cache(file: Path) -> Iterator[tuple[str, str, str]]:
    """Split, group and text of each message of scikit-learn's cache, sorted by the name of its file."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(file.read_bytes(), MOST_IN_ALL)
        cache = _TextsAlone(io.BytesIO(data)).load()
        found = [
            (split, cache[split]["target_names"][int(place)], Path(str(name)).name, str(text))
            for split in SIZES
            for text, place, name in zip(
                cache[split]["data"], cache[split]["target"], cache[split]["filenames"], strict=True
            )
        ]
    except Exception as error:  # damaged bytes of a pickle can raise anything
        raise ValueError(f"{file} is damaged or no cache of scikit-learn's ({said(error)}); make it again") from error
    for split, group, _, text in sorted(found, key=lambda message: message[:3]):
        yield split, group, text


def _stripped(text: str, remove: str) -> str:
    # Those of `fetch_20newsgroups(remove=...)`, which reads no files of one's own.
    from sklearn.datasets import _twenty_newsgroups as rules

    parts = _PARTS if remove == "all" else tuple(remove.split("+"))
    if "headers" in parts:
        text = rules.strip_newsgroup_header(text)
    if "footers" in parts:
        text = rules.strip_newsgroup_footer(text)
    if "quotes" in parts:
        text = rules.strip_newsgroup_quoting(text)
    return text
