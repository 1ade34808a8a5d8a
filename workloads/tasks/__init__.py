"""Tasks by name. Each is a function of nothing, or of the folder where its files lie."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.artefacts.code_digest import code_digest
from scratchcard.registry import lookup
from scratchcard.setting import SettingError
from scratchcard.workloads.factory import factory_takes_data_dir, task_from_factory
from scratchcard.workloads.named_options import name_with, options_in, plain_name
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks.cifar import cifar10, cifar100
from scratchcard.workloads.tasks.digits import digits
from scratchcard.workloads.tasks.mnist import fashion_mnist, mnist
from scratchcard.workloads.tasks.movie_reviews import movie_reviews
from scratchcard.workloads.tasks.newsgroups import twenty_newsgroups
from scratchcard.workloads.tasks.reuters import reuters
from scratchcard.workloads.tasks.tensors import tensors_task
from scratchcard.workloads.tasks.variations import mnist_background, mnist_blurred, mnist_textured, mnist_thick

if TYPE_CHECKING:
    from scratchcard.workloads.tasks.image_files import Listed
    from scratchcard.workloads.tasks.text_folder import TextFolderOptions

TASKS: dict[str, Callable[..., Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "mnist_blurred": mnist_blurred,
    "mnist_thick": mnist_thick,
    "mnist_background": mnist_background,
    "mnist_textured": mnist_textured,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "twenty_newsgroups": twenty_newsgroups,
    "movie_reviews": movie_reviews,
    "reuters": reuters,
}


TENSORS, IMAGES, TEXTS = "tensors:", "image_folder:", "text_folder:"
FILES = (".npz", ".safetensors")


def load_task(name: str, data_dir: str | Path | None = None) -> Task:
    """The task called `name`; loaded once a process.

    Args:
        name: one of `TASKS`, with options where it takes some (`movie_reviews,words=5000,fold=2`), or what an entry
            point of the group `scratchcard.tasks` adds; `tensors:FILE`, a `.npz` or
            `.safetensors` of arrays (see `tasks.tensors`); `image_folder:PATH` or `image_folder:PATH,size=PIXELS`, a
            folder or zip of images (see `tasks.image_folder`); `text_folder:PATH`, a folder or archive of texts (see
            `tasks.text_folder`); or `package.module:factory`, a function of the user's
            own that takes nothing or `data_dir` and returns a Task. Files that are not found from the working folder
            are looked for in the folder that `SCRATCHCARD_DATA` names.
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
        ValueError: unknown task 'digit', known are cifar10, ...; did you mean 'digits'?
    """
    if not isinstance(name, str):
        raise ValueError(f"the task is {type(name).__name__}, expected a name that `list` knows or a path to your own")
    if data_dir is not None and not takes_data_dir(name):
        raise SettingError(f"the task {name} has no setting data_dir, it looks in no folder; leave it out", "data_dir")
    if is_of_files(name):
        return load_files(name, _folder_of(name) if data_dir is None else Path(data_dir).resolve())
    # Where no folder is named, the variable and the working folder say where data and code are found.
    folder = None if data_dir is None else Path(data_dir).resolve()
    return _load(_plainly(name), folder, os.environ.get("SCRATCHCARD_DATA"), Path.cwd())


def takes_data_dir(name: str) -> bool:
    """Whether the task called `name` looks in a folder that is named.

    Raises:
        ValueError: unknown name.

    Examples:
        >>> takes_data_dir("mnist"), takes_data_dir("digits"), takes_data_dir("image_folder:photos")
        (True, False, True)
    """
    if is_of_files(name):
        return not _named(name)[0].is_absolute()
    if ":" in name:
        return factory_takes_data_dir(name)
    return bool(inspect.signature(_registered(name)).parameters.keys() - {"options"})


def is_of_files(name: str) -> bool:
    """Whether a task is data in files that its name names: `tensors:FILE`, `image_folder:PATH`, `text_folder:PATH`.

    Examples:
        >>> is_of_files("tensors:points.npz"), is_of_files("digits"), is_of_files("package.module:factory")
        (True, False, False)
    """
    return name.startswith((TENSORS, IMAGES, TEXTS))


def load_files(name: str, folder: Path) -> Task:
    """The task of the files that `name` names, seen from `folder`; read again only where they have changed.

    Examples:
        >>> np.savez("points.npz", train_inputs=np.eye(50, dtype=np.float32), train_targets=np.arange(50) % 2)
        >>> load_files("tensors:points.npz", Path("."))
        Task('tensors:points.npz', classification, 35 + 5 + 10 examples, torch.float32 (50,))
    """
    named, about = _named(name)
    if name.startswith(TENSORS):
        file = folder / named
        state = file.stat() if file.is_file() else None
        return _load_tensors(name, folder, file, state and (state.st_mtime_ns, state.st_size))
    if name.startswith(TEXTS):
        from scratchcard.workloads.tasks.text_files import listed_texts

        return _load_texts(name, folder, listed_texts(folder / named), about)
    from scratchcard.workloads.tasks.image_files import listed

    return _load_images(name, folder, listed(folder / named), about)


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
        options = options_in(made, name)
        given = {} if options is None else {"options": options}
        task = made(data_dir, **given) if takes_data_dir(name) else made(**given)
    return task.loaded_by((load_task, (name, data_dir)), name=name, code=code)


def _registered(name: str) -> Callable[..., Task]:
    if name.endswith(FILES):
        raise ValueError(f"unknown task {name!r}: the arrays of a file are the task {TENSORS}{name}")
    return lookup(TASKS, "tasks", plain_name(name))


def check_task_name(name: str) -> None:
    """Refuse the name of a task that is not registered, or options that it does not take.

    Raises:
        ValueError: says which there are.

    Examples:
        >>> check_task_name("movie_reviews,fold=2")
        >>> check_task_name("movie_reviews,fold=10")
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: movie_reviews's fold is '10', expected a whole number in [0, 9]
    """
    options_in(_registered(name), name)


def _plainly(name: str) -> str:
    """The name of a task without those of its options that say what they would be anyway."""
    return name if ":" in name else name_with(plain_name(name), options_in(_registered(name), name))


def _named(name: str) -> tuple[Path, Any]:
    """The path in the name of a task of files, and the size of its images, or the options of its texts."""
    if name.startswith(TENSORS):
        return Path(name.removeprefix(TENSORS)), None
    if name.startswith(TEXTS):
        from scratchcard.workloads.tasks.text_folder import path_and_options

        return path_and_options(name.removeprefix(TEXTS))
    from scratchcard.workloads.tasks.image_folder import path_and_size

    return path_and_size(name.removeprefix(IMAGES))


def _folder_of(name: str) -> Path:
    """From where the files are seen: the working folder, or the one that SCRATCHCARD_DATA names if they lie there."""
    path, here, data = _named(name)[0], Path.cwd(), os.environ.get("SCRATCHCARD_DATA")
    return Path(data).absolute() if data and not (here / path).exists() and (Path(data) / path).exists() else here


@lru_cache(maxsize=4)
def _load_tensors(name: str, folder: Path, file: Path, _state: object) -> Task:
    return tensors_task(name, file).loaded_by((load_files, (name, folder)), name=name)


@lru_cache(maxsize=4)
def _load_images(name: str, folder: Path, found: Listed, size: int | None) -> Task:
    from scratchcard.workloads.tasks.image_folder import image_folder_task

    return image_folder_task(name, found, size).loaded_by((load_files, (name, folder)), name=name)


@lru_cache(maxsize=4)
def _load_texts(name: str, folder: Path, found: Listed, options: TextFolderOptions) -> Task:
    from scratchcard.workloads.tasks.text_folder import text_folder_task

    return text_folder_task(name, found, options).loaded_by((load_files, (name, folder)), name=name)
