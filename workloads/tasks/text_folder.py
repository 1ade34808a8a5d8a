"""`text_folder:PATH`: a task of texts in a folder or archive, one folder a class.

    PATH/CLASS/*.txt                                   validation and test are cut from all texts
    PATH/train/CLASS/*.txt, PATH/test/CLASS/*.txt      perhaps validation (or val): what is missing is cut from train

Options follow the path: `text_folder:mail.zip,words=5000,length=100,encoding=latin-1`. Texts end in .txt, .text or in
nothing. An archive (zip, tar, tar.gz, tar.bz2, tar.xz) is read without being unpacked.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scratchcard.setting import SettingError, setting
from scratchcard.settings import make, parsed
from scratchcard.words import quoted
from scratchcard.workloads.own_data import SPLIT_SEED, TEST, cut_places
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.image_files import Listed
from scratchcard.workloads.tasks.text_files import contents, decoded
from scratchcard.workloads.tasks.texts import SPLITS, Labelled, TextOptions, text_task

_OPTION = re.compile(r",(\w+=[^,/]*)$")


@dataclass(frozen=True)
class TextFolderOptions(TextOptions):
    """Options of `text_folder:PATH`.

    Examples:
        >>> TextFolderOptions(encoding="latin-1").encoding
        'latin-1'
    """

    encoding: str = setting("utf-8", help="How the files hold their letters", example="latin-1")
    called: ClassVar[str] = "text_folder"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            known = codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            raise SettingError(
                f"encoding is {quoted(self.encoding)}, expected one that Python knows, such as utf-8 or latin-1",
                "encoding",
                self.called,
            )


def path_and_options(named: str) -> tuple[Path, TextFolderOptions]:
    """The folder or archive of `PATH` or `PATH,NAME=VALUE,...`, and the options.

    Raises:
        SettingError: an option that there is not, or a value that it cannot have.

    Examples:
        >>> path_and_options("mail.zip,words=5000,length=100")[0]
        PosixPath('mail.zip')
        >>> path_and_options("mail.zip,size=64")
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: text_folder has no setting size; it has words, least, length, ...
    """
    pairs: list[str] = []
    while (found := _OPTION.search(named)) is not None and not Path(named).exists():
        pairs.insert(0, found[1])
        named = named[: found.start()]
    options = make(TextFolderOptions, "text_folder", parsed(TextFolderOptions, "text_folder", pairs))
    return Path(named), options


def text_folder_task(name: str, found: Listed, options: TextFolderOptions) -> Task:
    """The task of a folder's or archive's texts; each class keeps a training text at least.

    Raises:
        ValueError: a damaged or oddly encoded text, or a class that only some splits have; one sentence.

    Examples:
        >>> from scratchcard.workloads.tasks.text_files import listed_texts
        >>> for number in range(40):
        ...     Path(f"words/{number % 2}").mkdir(parents=True, exist_ok=True)
        ...     _ = Path(f"words/{number % 2}/{number}.txt").write_text(f"word {number % 4}")
        >>> text_folder_task("words", listed_texts(Path("words")), TextFolderOptions(length=4))
        Task('words', classification, 29 + 3 + 8 examples, torch.int64 (4,))
    """
    places = {kind: place for place, kind in enumerate(found.classes)}
    wanted = {file: (split or "train", places[kind]) for split, kind, file in found.images}
    texts = {
        file: decoded(data, options.encoding, f"{found.path}'s {file}")
        for file, data in contents(found.path, wanted.__contains__)
    }
    parts = {
        which: [(texts[file], (place,)) for file, (split, place) in wanted.items() if split == which]
        for which in SPLITS
    }
    if not parts["test"]:
        every = parts["train"]
        cut = cut_places(len(every), {"test": TEST}, SPLIT_SEED)
        parts["test"], parts["train"] = ([every[p] for p in sorted(cut[which].tolist())] for which in ("test", "train"))
    lacking = places.keys() - {found.classes[label] for _, (label,) in parts["train"]}
    if lacking:
        raise ValueError(f"the class {quoted(min(lacking))} of {found.path} has no training text; give each class some")
    train, validation, test = (
        Labelled(tuple(text for text, _ in parts[which]), tuple(label for _, label in parts[which])) for which in SPLITS
    )
    return text_task(name, train, test, options, found.classes, validation=validation if validation.texts else None)
