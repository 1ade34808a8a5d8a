"""Call: one operation of a network's pass, as it was called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from scratchcard.pruning.signals import name_of


class Call:
    """An operation as it was called, and its result.

    Examples:
        >>> call = Call(torch.relu_, (torch.ones(2),), {}, None)
        >>> call.name, call.in_place
        ('relu', True)
    """

    def __init__(self, function: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any], result: Any) -> None:
        self.function, self.arguments, self.keywords, self.result = function, arguments, keywords, result
        name = name_of(function)
        changes = name.endswith("_") and not name.endswith("__")
        self.name = name.removesuffix("_") if changes else name
        marked = changes or name in ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__", "__setitem__")
        self.in_place = marked or keywords.get("inplace") is True or "out" in keywords

    def get(self, place: int, name: str, otherwise: Any = None) -> Any:
        """An argument by its place or its name."""
        return self.arguments[place] if place < len(self.arguments) else self.keywords.get(name, otherwise)

    def again(self, *first: Any) -> Any:
        """The same with other first arguments, and not in place."""
        keywords = {name: value for name, value in self.keywords.items() if name != "inplace"}
        return self.function(*first, *self.arguments[len(first) :], **keywords)

    def tensors(self) -> Iterator[Tensor]:
        """All tensors among the arguments."""
        return tensors_among((*self.arguments, *self.keywords.values()))

    def numbers(self) -> tuple[float, ...]:
        """All numbers among the arguments."""
        given = (*self.arguments, *self.keywords.values())
        return tuple(number for number in given if isinstance(number, int | float))


def tensors_among(things: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, also within lists, tuples and mappings.

    Examples:
        >>> [*tensors_among([1, [torch.ones(1)], {"more": torch.zeros(1)}])]
        [tensor([1.]), tensor([0.])]
    """
    for thing in things:
        if isinstance(thing, Tensor):
            yield thing
        elif isinstance(thing, list | tuple):
            yield from tensors_among(thing)
        elif isinstance(thing, Mapping):
            yield from tensors_among(thing.values())
