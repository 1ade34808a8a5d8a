"""Published data sets: where their files lie, and how a validation split is cut from their training images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.task import Split, Task, task_digest

VALIDATION = 5_000
SPLIT_SEED = 2022


def published_task(name: str, train: Split, test: Split, encoding: Encoding) -> Task:
    """The task of a set that is published without a validation split: a fixed random 5,000 of its training examples.

    Examples:
        >>> images = Split(torch.zeros(6000, 1), torch.arange(6000) % 2)
        >>> published_task("blank", images, images, Encoding(classes=("even", "odd")))
        Task('blank', classification, 1000 + 5000 + 6000 examples, torch.float32 (1,))
    """
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
    validation, rest = order[:VALIDATION].sort().values, order[VALIDATION:].sort().values
    splits = (
        Split(train.tensor[rest], train.targets[rest]),
        Split(train.tensor[validation], train.targets[validation]),
        test,
    )
    return Task(name, *splits, outputs=len(encoding.classes), digest=task_digest(*splits), encoding=encoding)


def cache_folder() -> Path:
    """Where downloads and decoded images are kept: `XDG_CACHE_HOME`, else `~/.cache`, and `scratchcard` in it.

    Examples:
        >>> cache_folder().name
        'scratchcard'
    """
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "scratchcard"


def found_or_downloaded(
    name: str,
    data_dir: Path | None,
    *,
    inside: Callable[[Path], list[Path]],
    elsewhere: list[Path],
    whole: Callable[[Path], bool],
    files: str,
    download: Callable[[Path], Path] | None = None,
) -> Path:
    """The folder that has the files of a data set.

    A folder that was asked for is binding. Otherwise what SCRATCHCARD_DATA names comes first, then `elsewhere`, at last
    a download into the cache.

    Args:
        name: of the task.
        data_dir: the folder that was asked for.
        inside: where in a user's own folder the set can lie: it may hold one set or several side by side.
        elsewhere: the system's places and the cache.
        whole: whether a folder has all files.
        files: what they are, for the sentence that says they are nowhere.
        download: into the cache's folder; returns the folder with the files. None: there is no download.

    Raises:
        FileNotFoundError: the files are nowhere and could not be downloaded; says what to do.

    Examples:
        >>> Path("birds").mkdir()
        >>> _ = Path("birds/all.bin").write_bytes(b"")
        >>> found_or_downloaded(
        ...     "birds", Path("."), inside=lambda folder: [folder / "birds"], elsewhere=[], files="all.bin",
        ...     whole=lambda folder: (folder / "all.bin").is_file(), download=lambda cache: cache,
        ... )
        PosixPath('birds')
    """
    named = data_dir or os.environ.get("SCRATCHCARD_DATA")
    candidates = inside(Path(named)) if named else []
    if data_dir is None:
        candidates += elsewhere
    for folder in candidates:
        if whole(folder):
            return folder
    if download is None and data_dir is None:
        where = ", ".join(map(str, candidates)) or "any folder: none is named"
        raise FileNotFoundError(
            f"no {name} data ({files}) in {where}; put the files into a folder called {name!r} and name the folder "
            "above it with --data-dir or SCRATCHCARD_DATA"
        )
    if data_dir is not None or download is None:
        raise FileNotFoundError(
            f"no {name} data in {data_dir}: looked for {files} in {', '.join(map(str, candidates))}; put them into a "
            f"folder called {name!r} there, or leave out --data-dir"
        )
    try:
        return download(cache_folder())
    except Exception as error:  # torchvision raises URLError, RuntimeError, OSError ... depending on the mirror
        raise FileNotFoundError(
            f"no {name} data ({files}) in {', '.join(map(str, candidates))} and the download failed "
            f"({type(error).__name__}); put the files into a folder called {name!r} and name the folder above it with "
            "--data-dir or SCRATCHCARD_DATA"
        ) from error
