"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from scratchcard.registry import lookup
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.digits import digits
from scratchcard.workloads.tasks.mnist import fashion_mnist, mnist
from scratchcard.workloads.tasks.variations import mnist_background, mnist_blurred, mnist_textured, mnist_thick

TASKS: dict[str, Callable[[Path | None], Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "mnist_blurred": mnist_blurred,
    "mnist_thick": mnist_thick,
    "mnist_background": mnist_background,
    "mnist_textured": mnist_textured,
}


def load_task(name: str, data_dir: str | Path | None = None) -> Task:
    """The task called `name`; loaded once a process.

    Args:
        name: one of `TASKS` or what an entry point of the group `scratchcard.tasks` adds.
        data_dir: the folder to look in, and nowhere else; without it the one that the environment variable
            `SCRATCHCARD_DATA` names comes first, before the system's places, the user's cache and a download.

    Raises:
        ValueError: unknown name or damaged data; says what was expected.
        FileNotFoundError: the data is nowhere and could not be downloaded; says what to do.
    """
    return _load(name, None if data_dir is None else Path(data_dir).resolve())


@lru_cache(maxsize=4)
def _load(name: str, data_dir: Path | None) -> Task:
    task = lookup(TASKS, "tasks", name)(data_dir)
    return replace(task, loader=(load_task, (name, data_dir)))
