"""Tasks by name. Each is a function of nothing, or of the folder where its files lie."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from scratchcard.artefacts.code_digest import code_digest
from scratchcard.registry import lookup
from scratchcard.setting import SettingError
from scratchcard.workloads.factory import factory_takes_data_dir, task_from_factory
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.digits import digits
from scratchcard.workloads.tasks.mnist import fashion_mnist, mnist
from scratchcard.workloads.tasks.tensors import tensors_task
from scratchcard.workloads.tasks.variations import mnist_background, mnist_blurred, mnist_textured, mnist_thick

TASKS: dict[str, Callable[..., Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "mnist_blurred": mnist_blurred,
    "mnist_thick": mnist_thick,
    "mnist_background": mnist_background,
    "mnist_textured": mnist_textured,
}


TENSORS = "tensors:"
FILES = (".npz", ".safetensors")


def load_task(name: str, data_dir: str | Path | None = None) -> Task:
    """The task called `name`; loaded once a process.

    Args:
        name: one of `TASKS` or what an entry point of the group `scratchcard.tasks` adds; `tensors:FILE`, a `.npz` or
            `.safetensors` of arrays (see `tasks.tensors`); or `package.module:factory`, a function of the user's own
            that takes nothing or `data_dir` and returns a Task.
        data_dir: the folder to look in, and nowhere else; without it the one that the environment variable
            `SCRATCHCARD_DATA` names comes first, before the system's places, the user's cache and a download.

    Raises:
        ValueError: unknown name or damaged data; says what was expected. A folder for a task that looks in none.
        FileNotFoundError: the data is nowhere and could not be downloaded; says what to do.

    Examples:
        >>> load_task("digits")
        Task('digits', classification, 1257 + 180 + 360 examples, torch.float32 (1, 8, 8))
        >>> load_task("digit")
        Traceback (most recent call last):
            ...
        ValueError: unknown task 'digit', known are digits, ...; did you mean 'digits'?
    """
    if not isinstance(name, str):
        raise ValueError(f"the task is {type(name).__name__}, expected a name that `list` knows or a path to your own")
    if data_dir is not None and not takes_data_dir(name):
        raise SettingError(f"the task {name} has no setting data_dir, it looks in no folder; leave it out", "data_dir")
    if name.startswith(TENSORS):
        return load_tensors(name, Path(name.removeprefix(TENSORS)).absolute())
    # Where no folder is named, the variable and the working folder say where data and code are found.
    return _load(
        name, None if data_dir is None else Path(data_dir).resolve(), os.environ.get("SCRATCHCARD_DATA"), Path.cwd()
    )


def takes_data_dir(name: str) -> bool:
    """Whether the task called `name` looks in a folder that is named.

    Raises:
        ValueError: unknown name.

    Examples:
        >>> takes_data_dir("mnist"), takes_data_dir("digits")
        (True, False)
    """
    if name.startswith(TENSORS):
        return False
    if ":" in name:
        return factory_takes_data_dir(name)
    return bool(inspect.signature(_registered(name)).parameters)


def load_tensors(name: str, file: Path) -> Task:
    """The task called `name` of a file's arrays; read again only where the file has changed.

    Examples:
        >>> np.savez("points.npz", train_inputs=np.eye(50, dtype=np.float32), train_targets=np.arange(50) % 2)
        >>> load_tensors("points", Path("points.npz"))
        Task('points', classification, 35 + 5 + 10 examples, torch.float32 (50,))
    """
    state = file.stat() if file.is_file() else None
    return _load_tensors(name, file, state and (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _load(name: str, data_dir: Path | None, _named: str | None, _here: Path) -> Task:
    code = None
    if ":" in name:
        task, code = task_from_factory(name, data_dir), code_digest(name)
        if not isinstance(task, Task):
            raise ValueError(
                f"{name} returned {type(task).__name__}, expected a Task, such as Task.of(inputs, targets)"
            )
    else:
        made = _registered(name)
        task = made(data_dir) if takes_data_dir(name) else made()
    return task.loaded_by((load_task, (name, data_dir)), name=name, code=code)


def _registered(name: str) -> Callable[..., Task]:
    if name.endswith(FILES):
        raise ValueError(f"unknown task {name!r}: the arrays of a file are the task {TENSORS}{name}")
    return lookup(TASKS, "tasks", name)


@lru_cache(maxsize=4)
def _load_tensors(name: str, file: Path, _state: object) -> Task:
    return tensors_task(name, file).loaded_by((load_tensors, (name, file)), name=name)
