"""Networks of the user's own: `package.module:factory`, imported by name, identified by their code."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scratchcard.artefacts.digest import sha256


def from_factory(path: str, seed: int) -> nn.Module:
    """What the factory returns with torch's global random state at `seed`; that state stays as it was.

    Raises:
        ValueError: it cannot be imported, raises, or returns no module.
    """
    return _made(path, load_factory(path), seed)


def load_factory(path: str) -> Callable[[], Any]:
    """The factory that `package.module:factory` names.

    Raises:
        ValueError: it cannot be imported, or is no function.
    """
    module_name, _, attribute = path.partition(":")
    _look_in_working_folder()
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the user's own module can raise anything, a SyntaxError among it
        raise ValueError(
            f"cannot import the network {path!r} ({said(error)}); expected package.module:factory, importable here"
        ) from error
    if not callable(factory):
        raise ValueError(f"{path} is {type(factory).__name__}, expected a function that returns a torch.nn.Module")
    found: Callable[[], Any] = factory
    return found


def code_digest(path: str) -> str | None:
    """sha256 of the Python files beside a factory: its module's file, or all files of the package that it lies in.

    Nothing of it is run but the packages above it, so that code which ends its process ends only the run's. What the
    module imports from elsewhere does not count; an edit of anything in these files does. None where there is no file.
    """
    module_name = path.partition(":")[0]
    _look_in_working_folder()
    try:
        found = importlib.util.find_spec(module_name)
    except Exception:  # a package above it can raise anything; said where the network is built
        return None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return None
    file = Path(found.origin)
    files = sorted(file.parent.glob("*.py")) if found.parent else [file]
    contents = {each.name: each.read_bytes() for each in files}
    return sha256(part for name, text in contents.items() for part in (f"{name} {len(text)}\n", text))


def _look_in_working_folder() -> None:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a user's own module lies in the working folder


def _made(path: str, factory: Callable[[], Any], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = factory()
        except Exception as error:  # and so can the user's own factory
            raise ValueError(
                f"the network's factory {path} raised {said(error)}; it is called without arguments and returns a "
                "torch.nn.Module"
            ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{path} returned {type(network).__name__}, expected a torch.nn.Module")
    return network


def said(error: Exception) -> str:
    """An error of foreign code in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}" if str(error) else type(error).__name__
