"""`reuters`: news of Reuters-21578 by topic, in the ModApte split."""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from scratchcard.setting import setting
from scratchcard.workloads.named_options import with_options
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.published import found_or_downloaded
from scratchcard.workloads.tasks.text_files import contents, decoded
from scratchcard.workloads.tasks.texts import Labelled, TextOptions, text_task

SIZES = {"train": 9_603, "test": 3_299}
_ARCHIVES = tuple(f"reuters21578.tar.{ending}" for ending in ("gz", "xz", "bz2"))
_ITEM = re.compile(r"<REUTERS\s([^>]*)>(.*?)</REUTERS>", re.DOTALL)
_TOPIC = re.compile(r"<D>(.*?)</D>")
_TAG = re.compile(r"<[^<>]*>")
_SPLIT = {"TRAIN": "train", "TEST": "test"}


@dataclass(frozen=True)
class ReutersOptions(TextOptions):
    """Options of `reuters`.

    Examples:
        >>> ReutersOptions(categories="10").documents
        'all'
    """

    categories: Literal["10", "52", "90", "115"] = setting(
        "90", help="Which topics: the ten largest; those of one topic a text; with training and test texts; with "
        "training texts", example="10",
    )  # fmt: skip
    documents: Literal["all", "labelled"] = setting(
        "all", help="All texts of the split, or those alone that have one of these topics", example="labelled"
    )
    called: ClassVar[str] = "reuters"


@with_options(ReutersOptions)
def reuters(data_dir: Path | None = None, options: ReutersOptions | None = None) -> Task:
    """News by topic (Reuters-21578, Distribution 1.0, Lewis 1997), ModApte split: 9,603 texts for training, 3,299 test.

    | `categories` | topics | texts | objective |
    |---|---|---|---|
    | `10` | the ten with most training texts | all, or those with one of these topics | `multi_label` |
    | `90` | with a training and a test text at least | the same | `multi_label` |
    | `115` | with a training text at least; 25 have no test text | the same | `multi_label` |
    | `52` | of texts with a single topic, those with training and test texts | those | `classification` |

    These are R(10), R(90) and R(115) of Debole & Sebastiani 2005 ("An analysis of the relative hardness of
    Reuters-21578 subsets"), and R52 of Cardoso-Cachopo 2007. With `documents=all` texts of none of the topics count
    too: they have no label. A topic without a test text has an F1 of 0 whatever the network says, so on R(115)
    `macro_f1` is at most 90/115. A fixed random tenth of the training texts is the validation split, which takes no
    topic's last training text: rare topics have no validation text. A text is its title and its body.

    Raises:
        FileNotFoundError: the files are nowhere.
        ValueError: a file is damaged or missing.

    Examples:
        >>> reuters()  # doctest: +SKIP
        Task('reuters', multi_label, 8643 + 960 + 3299 examples, torch.int64 (200,))
    """
    options = options or ReutersOptions()
    folder = found_or_downloaded(
        "reuters",
        data_dir,
        inside=lambda given: [given / "reuters21578", given / "reuters", given],
        elsewhere=[],
        whole=lambda found: _archive(found) is not None or (found / "reut2-000.sgm").is_file(),
        files=f"{', '.join(_ARCHIVES)} or reut2-000.sgm to reut2-021.sgm",
    )
    source = _archive(folder) or folder
    items = list(_items(source))
    sizes = Counter(split for split, _, _ in items)
    if sizes != SIZES:
        raise ValueError(
            f"{source} has {sizes['train']} training and {sizes['test']} test texts of the ModApte split, expected "
            f"{SIZES['train']} and {SIZES['test']}; get the 22 files of Reuters-21578, Distribution 1.0, again"
        )
    counts = {part: Counter(topic for split, topics, _ in items if split == part for topic in topics) for part in SIZES}
    both = {topic for topic in counts["train"] if counts["test"][topic]}
    if options.categories == "10":
        classes = sorted(sorted(counts["train"], key=lambda topic: (-counts["train"][topic], topic))[:10])
    elif options.categories == "52":
        items = [(split, topics, text) for split, topics, text in items if len(topics) == 1]
        single = {part: {topics[0] for split, topics, _ in items if split == part} for part in SIZES}
        classes = sorted(single["train"] & single["test"])
    else:
        classes = sorted(both if options.categories == "90" else counts["train"])
    places = {topic: place for place, topic in enumerate(classes)}
    only_labelled = options.categories == "52" or options.documents == "labelled"
    parts = {}
    for part in SIZES:
        labelled = [
            (text, tuple(sorted({places[topic] for topic in topics if topic in places})))
            for split, topics, text in items
            if split == part
        ]
        labelled = [(text, own) for text, own in labelled if own or not only_labelled]
        parts[part] = Labelled(tuple(text for text, _ in labelled), tuple(own for _, own in labelled))
    several = options.categories != "52"
    return text_task("reuters", parts["train"], parts["test"], options, classes, several=several)


def _archive(folder: Path) -> Path | None:
    return next((folder / name for name in _ARCHIVES if (folder / name).is_file()), None)


def _items(source: Path) -> Iterator[tuple[str, Sequence[str], str]]:
    """Split, topics and text of each item of ModApte, in the order of the files' names and of the items in them."""
    for name, data in sorted(contents(source, lambda name: name.endswith(".sgm"))):
        for head, body in _ITEM.findall(decoded(data, "latin-1", f"{source}'s {os.path.basename(name)}")):
            about = dict(re.findall(r'(\w+)="([^"]*)"', head))
            split = _SPLIT.get(about.get("LEWISSPLIT", ""))
            if split is None or about.get("TOPICS") != "YES":
                continue
            topics = _TOPIC.findall(_between(body, "TOPICS"))
            whole = body[body.find("<TEXT") :]
            text = "\n".join(_between(whole, part) for part in ("TITLE", "BODY")).strip()
            yield split, topics, html.unescape(_TAG.sub(" ", text or _between(whole, "TEXT")))


def _between(text: str, tag: str) -> str:
    found = re.search(rf"<{tag}\b[^>]*>(.*?)</{tag}>", text, re.DOTALL)
    return found[1] if found else ""
