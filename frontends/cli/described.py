"""Reading declarations without the libraries that their code computes with, which take seconds to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HEAVY = ("torch", "torchvision", "numba", "sklearn", "lightgbm", "scipy", "pandas", "pyarrow", "joblib", "distributed")


@contextmanager
def without_libraries() -> Iterator[None]:
    """Within it, modules that import a heavy library get a stand-in: names, docstrings and settings can be read.

    Only for a process that does nothing else: afterwards the stand-ins and all modules that were imported with them are
    forgotten. Where torch is imported already nothing is changed.

    >>> from unittest import mock
    >>> with mock.patch.dict(sys.modules):
    ...     del sys.modules["torch"]
    ...     with without_libraries():
    ...         import torch as stand_in
    >>> stand_in.nn.Linear(784, 300).weight
    <class 'scratchcard.frontends.cli.described._Anything'>
    """
    if "torch" in sys.modules:
        yield
        return
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.split(".")[0] in (*HEAVY, "scratchcard"):
                del sys.modules[name]


class _HasAll(type):
    """A class that has every attribute and can be called, subscribed to and inherited from."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything

    def __call__(cls, *given: Any, **_: Any) -> Any:
        return given[0] if len(given) == 1 and callable(given[0]) else _Anything  # a decorator gives what it decorates

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __or__(cls, _: Any) -> Any:
        return cls

    __ror__ = __or__

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


class _Anything(metaclass=_HasAll):
    """Stands for whatever a library has."""


class _Module(ModuleType):
    __path__: MutableSequence[str] = []  # noqa: RUF012  (as the base class has it)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """A stand-in for heavy libraries and what lies in them."""
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in HEAVY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that has everything."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is to be done."""
