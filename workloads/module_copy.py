"""Copies of a module that share nothing with it."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from scratchcard.pruning.state import copied_module

_STANDARD = frozenset(vars(nn.Module()))


def module_copy(network: nn.Module) -> nn.Module:
    """A deep copy of a network, after a check that none of its functions computes with the weights of the original.

    Python copies no function: one that a layer holds and that refers to the network (`lambda x: self.layer(x)`) stays
    that of the original. Methods are copied, and hooks are not looked at.

    Raises:
        ValueError: such a function; says where it is and what to do.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> network.twice = lambda inputs: 2 * network(inputs)
        >>> module_copy(network)
        Traceback (most recent call last):
            ...
        ValueError: Linear holds in 'twice' a function that refers to the network itself; ...
    """
    copied = copied_module(network)
    own: dict[int, Any] = {id(part): part for part in network.modules()}
    own |= {id(part): part for part in (*network.parameters(), *network.buffers())}
    for name, module in copied.named_modules():
        for key, value in vars(module).items():
            if key not in _STANDARD and any(id(held) in own for held in _held(value, set())):
                place = f"{name}.{key}" if name else key
                raise ValueError(
                    f"{type(network).__name__} holds in {place!r} a function that refers to the network itself; a "
                    "copy would go on computing with the weights of the original, so make it a method"
                )
    return copied


def _held(value: Any, seen: set[int]) -> Iterator[Any]:
    """What the functions in a value hold by closure and default, and which networks they name; the value included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: list[Any] = []
    if isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            try:
                inner.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        named = [value.__globals__.get(name) for name in value.__code__.co_names]
        inner += [each for each in named if isinstance(each, nn.Module)]
        inner += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    elif isinstance(value, types.MethodType):
        inner = [value.__func__, value.__self__]
    elif isinstance(value, functools.partial):
        inner = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, Mapping):
        inner = [*value.values()]
    elif isinstance(value, list | tuple):
        inner = [*value]
    yield value
    for each in inner:
        yield from _held(each, seen)
