"""Networks, tasks and objectives of the user's own: `package.module:factory`, imported by name, identified by code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scratchcard.artefacts.code_digest import look_in_working_folder
from scratchcard.words import said


def from_factory(path: str, seed: int, task: object = None) -> nn.Module:
    """What the factory returns with torch's global random state at `seed`; that state stays as it was.

    A factory takes nothing, or the task, by a parameter called `task`.

    Raises:
        ValueError: it cannot be imported, raises, or returns no module.

    Examples:
        >>> _ = Path("mine.py").write_text("import torch; network = lambda: torch.nn.Linear(4, 2)")
        >>> from_factory("mine:network", seed=0)
        Linear(in_features=4, out_features=2, bias=True)
    """
    factory = load_factory(path)
    given = {"task": task} if "task" in _parameters(factory) else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _called(path, "network", "without arguments, or with one called `task`", factory, **given)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{path} returned {type(network).__name__}, expected a torch.nn.Module")
    return network


def task_from_factory(path: str, data_dir: Path | None) -> Any:
    """What the factory of a task returns, which takes nothing or `data_dir`.

    Raises:
        ValueError: it cannot be imported or raises.
        FileNotFoundError: as the factory raised it, where it finds no data.

    Examples:
        >>> made = "scratchcard.Task.of(torch.eye(50), torch.arange(50) % 2)"
        >>> _ = Path("my_task.py").write_text(f"import scratchcard, torch; task = lambda: {made}")
        >>> task_from_factory("my_task:task", None)
        Task('own', classification, 35 + 5 + 10 examples, torch.float32 (50,))
    """
    factory = load_factory(path, "task", "a Task")
    given = {"data_dir": data_dir} if factory_takes_data_dir(path) else {}
    return _called(path, "task", "without arguments, or with one called `data_dir`", factory, **given)


def factory_takes_data_dir(path: str) -> bool:
    """Whether the factory of a task takes `data_dir`.

    Raises:
        ValueError: it cannot be imported.

    Examples:
        >>> _ = Path("my_places.py").write_text("here = lambda: 1; there = lambda data_dir: 1")
        >>> factory_takes_data_dir("my_places:here"), factory_takes_data_dir("my_places:there")
        (False, True)
    """
    return "data_dir" in _parameters(load_factory(path, "task", "a Task"))


def load_factory(path: str, kind: str = "network", returns: str = "a torch.nn.Module") -> Callable[..., Any]:
    """The factory that `package.module:factory` names.

    Raises:
        ValueError: it cannot be imported, or is no function.

    Examples:
        >>> load_factory("torch.nn:Identity")
        <class 'torch.nn.modules.linear.Identity'>
        >>> load_factory("torch.nn:Linnear")
        Traceback (most recent call last):
            ...
        ValueError: cannot import the network 'torch.nn:Linnear' (AttributeError: ...
    """
    module_name, _, attribute = path.partition(":")
    look_in_working_folder()
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # the user's own module can raise anything, a SyntaxError among it
        raise ValueError(
            f"cannot import the {kind} {path!r} ({said(error)}); expected package.module:factory, importable here"
        ) from error
    if not callable(factory):
        raise ValueError(f"{path} is {type(factory).__name__}, expected a function that returns {returns}")
    found: Callable[..., Any] = factory
    return found


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # some callables of compiled modules have no signature
        return {}


def _called(path: str, kind: str, how: str, factory: Callable[..., Any], /, **given: object) -> object:
    try:
        return factory(**given)
    except FileNotFoundError:
        raise
    except (Exception, SystemExit) as error:  # the user's own factory can raise anything
        raise ValueError(f"the {kind}'s factory {path} raised {said(error)}; it is called {how}") from error
