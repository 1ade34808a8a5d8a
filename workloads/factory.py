"""Networks of the user's own: `package.module:factory`, imported by name, identified by their code."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn


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
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a user's own module lies in the working folder
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
    """sha256 of the code that makes and runs a factory's network, and of its layout; None where it cannot be made.

    That is the source of the factory and of every class of the network's modules that is not torch's, the network's
    `repr`, and the names and shapes of its state. Of what such code calls in turn it sees only what shows in these: a
    changed function that only `forward` calls goes unnoticed.
    """
    try:
        factory = load_factory(path)
    except ValueError:  # said where the network is built
        return None
    return _digest(path, factory)


@lru_cache(maxsize=64)
def _digest(path: str, factory: Callable[[], Any]) -> str | None:
    try:
        network = _made(path, factory, 0)
    except ValueError:
        return None
    classes = {base for module in network.modules() for base in type(module).__mro__ if _foreign(base)}
    sources = {f"{item.__module__}.{item.__qualname__}": _source(item) for item in classes}
    digest = hashlib.sha256(f"{_source(factory)}\n{sorted(sources.items())}\n{network!r}".encode())
    for name, value in network.state_dict().items():
        digest.update(f"\n{name} {tuple(getattr(value, 'shape', ()))}".encode())
    return digest.hexdigest()


def _foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in ("torch", "torchvision", "builtins", "typing", "abc")


def _source(item: Any) -> str:
    with contextlib.suppress(OSError, TypeError):  # typed at a prompt, or no function but an object
        return inspect.getsource(item)
    return ""


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
