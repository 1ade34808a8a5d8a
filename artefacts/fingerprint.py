"""Fingerprints: what a value does, as text; of functions their code and what it refers to."""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import logging
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from scratchcard.artefacts.code_digest import OWN, installed_version
from scratchcard.artefacts.digest import sha256, tensor_bytes

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_CONSTANT = (*_PLAIN, tuple, frozenset)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_LOOKED_UP = ("LOAD_GLOBAL", "LOAD_NAME")


def fingerprint(value: Any, known: Mapping[int, str] = MappingProxyType({})) -> str:
    """sha256 of what decides what a value does, the same in every process.

    Numbers and texts count as they are, tensors and arrays with all their numbers, containers and objects with what
    they hold. A function counts with its code, defaults and closure, and with the functions, classes and constants of
    its module that it names; a class with its methods likewise. Code is compared without comments and layout. What
    comes with Python, torch or this project counts by name, what is installed beside by name and version.

    Args:
        value: anything.
        known: what counts by a name alone, wherever it is met: the name by `id`.

    Examples:
        >>> def steep(slope):
        ...     return lambda x: slope * x
        >>> fingerprint(steep(2)) == fingerprint(steep(2)), fingerprint(steep(2)) == fingerprint(steep(3))
        (True, False)
        >>> fingerprint(torch.relu) == fingerprint(torch.tanh)
        False
        >>> fingerprint(torch.arange(5000.0)) == fingerprint(torch.arange(5000.0).index_fill(0, torch.tensor([999]), 0))
        False
    """
    return sha256("\n".join(_Reader(known).parts(value)))


class _Reader:
    """Reads values depth first; one that was met before counts by its number, so that circles end."""

    def __init__(self, known: Mapping[int, str]) -> None:
        self._known = known
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []

    def parts(self, value: Any) -> list[str]:
        """A value as lines of text."""
        if isinstance(value, _PLAIN):
            return [f"{type(value).__name__} {value!r}"]
        if id(value) in self._known:
            return [f"known {self._known[id(value)]}"]
        if id(value) in self._met:
            return [f"as {self._met[id(value)]}"]
        self._met[id(value)] = len(self._met)
        self._alive.append(value)  # an address is told apart only as long as its value lives
        return self._unmet(value)

    def _unmet(self, value: Any) -> list[str]:
        if isinstance(value, functools.partial):
            return ["partial", *self.parts(value.func), *self.parts(value.args), *self.parts(value.keywords)]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return ["method", *self.parts(value.__func__), *self.parts(value.__self__)]
        if isinstance(value, types.ModuleType):
            return [f"module {value.__name__}"]
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, Mapping):
            return self._all("mapping", [part for pair in value.items() for part in pair])
        if isinstance(value, list | tuple):
            return self._all(type(value).__name__, value)
        if isinstance(value, set | frozenset):
            return [type(value).__name__, *sorted(fingerprint(entry, self._known) for entry in value)]
        if isinstance(value, logging.Logger):  # it leads to all loggers of the process
            return [f"logger {value.name}"]
        tensor = _numbers(value)
        if tensor is not None:
            return tensor
        return self._object(value)

    def _all(self, kind: str, values: Any) -> list[str]:
        return [f"{kind} {len(values)}", *(line for value in values for line in self.parts(value))]

    def _object(self, value: Any) -> list[str]:
        kind = type(value)
        found = [f"object {_name(kind)}"]
        slots = dict(_slots(value)) if _not_own(kind) is None else {}
        if kind.__module__ in ("builtins", "torch") or not (slots or hasattr(value, "__dict__")):
            return [*found, _ADDRESS.sub("", repr(value))]  # torch.tanh, torch.float32, an iterator ...
        found += self.parts(kind)
        for name, held in sorted((getattr(value, "__dict__", {}) | slots).items()):
            found += [name, *self.parts(held)]
        return found

    def _class(self, kind: type) -> list[str]:
        found = [f"class {_name(kind)}"]
        known = _not_own(kind)
        if known is not None:
            return [*found, known]
        found += [line for base in kind.__bases__ for line in self.parts(base)]
        source = _source(kind)
        if source is not None:
            found.append(source)
        for name, member in sorted(vars(kind).items()):
            inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if isinstance(inner, types.FunctionType):
                found += [name, *(self._references(inner) if source is not None else self.parts(inner))]
            elif source is None and isinstance(inner, _PLAIN) and not name.startswith("__"):
                found += [name, *self.parts(inner)]
        return found

    def _function(self, function: types.FunctionType) -> list[str]:
        found = [f"function {function.__name__ if '<' in function.__qualname__ else _name(function)}"]
        known = _not_own(function)
        if known is not None and "<locals>" not in function.__qualname__:
            return [*found, known]
        source = None if function.__name__ == "<lambda>" else _source(function)
        found += self._code(function.__code__) if source is None else [source]
        for held in (function.__defaults__, function.__kwdefaults__):
            found += self.parts(held)
        return found + self._references(function)

    def _code(self, code: types.CodeType) -> list[str]:
        """Of code without a text of its own, such as one of several lambdas in a line."""
        found = [code.co_code.hex(), " ".join(code.co_names)]
        for constant in code.co_consts:
            found += self._code(constant) if isinstance(constant, types.CodeType) else self.parts(constant)
        return found

    def _references(self, function: types.FunctionType) -> list[str]:
        """What a function's closure holds, and what it names of its module."""
        found = []
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                found += [name, *self.parts(_content(cell))]
        for name in _globals(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, types.ModuleType) and _is_own(value.__name__, getattr(value, "__file__", None)):
                for inner in _names(function.__code__):  # mine.layers.activation
                    if isinstance(held := vars(value).get(inner), types.FunctionType | type):
                        found += [f"{name}.{inner}", *self.parts(held)]
            elif isinstance(value, types.FunctionType | type | functools.partial) or (
                name in function.__globals__ and isinstance(value, _CONSTANT)
            ):
                found += [name, *self.parts(value)]
        return found


@functools.lru_cache(maxsize=1024)
def _globals(code: types.CodeType) -> list[str]:
    """The names that code and the code inside it look up in their module, sorted; `x.size` is no such name."""
    own = {str(step.argval) for step in dis.get_instructions(code) if step.opname in _LOOKED_UP}
    inner = [name for held in code.co_consts if isinstance(held, types.CodeType) for name in _globals(held)]
    return sorted({*own, *inner} - {"__name__", "__file__", "__doc__"})


def _names(code: types.CodeType) -> list[str]:
    """The names that code and the code inside it look up anywhere, sorted."""
    inner = [name for constant in code.co_consts if isinstance(constant, types.CodeType) for name in _names(constant)]
    return sorted({*code.co_names, *inner} - {"__name__", "__file__", "__doc__"})


def _slots(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds in the slots of its classes."""
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _not_own(value: Any) -> str | None:
    """Empty for what comes with Python, torch or this project, of an installed package its version, or None."""
    module = getattr(value, "__module__", None) or ""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" or _is_own(module, file):
        return None
    top = module.partition(".")[0]
    counts_by_name = top in sys.stdlib_module_names or top in (OWN, "torch")
    return "" if counts_by_name else installed_version(top, file)


def _is_own(module: str, file: str | None) -> bool:
    """Whether a module is the user's own."""
    top = module.partition(".")[0]
    if top in (OWN, "torch") or (top in sys.stdlib_module_names and top != "__main__"):
        return False
    return file is None or not installed_version(top, file)


@functools.lru_cache(maxsize=1024)  # a network has many modules of one class
def _source(value: Any) -> str | None:
    """The text of a class or function without comments and layout; None where there is none."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(value))))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return None


def _numbers(value: Any) -> list[str] | None:
    """A tensor or an array with all its numbers."""
    kind = type(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.is_meta or value.layout is not torch.strided:
            return [f"tensor {value.layout} {value.dtype} {tuple(value.shape)}"]
        return [f"tensor {value.dtype} {tuple(value.shape)}", sha256([tensor_bytes(value)])]
    if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
        return [f"{kind.__name__} {value.dtype} {value.shape}", sha256([value.tobytes()])]
    return None
