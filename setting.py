"""Setting: one declared value that people type, with its type, range, default, help and example.

Where several belong together, see `settings`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from scratchcard.number_list import LARGEST
from scratchcard.registry import lookup, members
from scratchcard.words import quoted

Choices = Callable[[], tuple[Mapping[str, Any], str]]
"""The family that a setting names a member of, and its group of entry points; a function, so that it may be imported on
use."""
KEY = "setting"
"""Of a field's metadata: what is declared of it."""

_NUMBERS = {2: "two", 3: "three", 4: "four"}


class SettingError(ValueError):
    """A setting that is refused.

    Attributes:
        setting: its name, so that a frontend can say it in its own words.
        bare: the sentence without the owner that it begins with.

    Examples:
        >>> try:
        ...     sc.Recipe(momentum=2.0)
        ... except SettingError as error:
        ...     error.setting, error.bare
        ('momentum', 'momentum is 2.0, expected a number in [0, 1)')
    """

    def __init__(self, bare: str, setting: str = "", owner: str = "") -> None:
        super().__init__(f"{owner}'s {bare}" if owner else bare)
        self.setting, self.bare = setting, bare


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    example: Any = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Choices | None = None,
    unset: str | None = None,
    label: str | None = None,
) -> Any:
    """A field that is a setting.

    Args:
        default: of the field; without one it must be given.
        help: what it is, as a phrase without a full stop.
        example: another value than the default.
        low, high: least and greatest value (of each number, where there are several).
        above, below: the same, but not the bound itself.
        choices: the family that it names a member of; a `Literal` type needs none.
        unset: what the default means in words, where its value does not say it.
        label: how a method's label shows another value than the default, with `{}` for it.

    Examples:
        >>> from scratchcard.settings import Settings, settings_of
        >>> @dataclass(frozen=True)
        ... class Oven(Settings):
        ...     degrees: float = setting(180.0, help="How hot", example=220.0, low=50, high=250)
        >>> settings_of(Oven)["degrees"].expected
        'a number in [50, 250]'
        >>> Oven(degrees=200)
        Oven(degrees=200.0)
    """
    about = {"help": help, "example": example, "low": low, "high": high, "above": above, "below": below}
    about |= {"choices": choices, "unset": unset, "label": label}
    return dataclasses.field(default=default, metadata={KEY: about})


@dataclass(frozen=True)
class Setting:
    """What is known of one setting; see `setting`.

    Examples:
        >>> from scratchcard.settings import settings_of
        >>> momentum = settings_of(sc.Recipe)["momentum"]
        >>> momentum.kind, momentum.told, momentum.expected
        ('number', '0', 'a number in [0, 1)')
        >>> momentum.parsed("0.9", "SGD")
        0.9
        >>> momentum.checked(1.5, "SGD")
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: SGD's momentum is 1.5, expected a number in [0, 1)
    """

    name: str
    type: Any
    default: Any
    help: str = ""
    example: Any = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Choices | None = None
    unset: str | None = None
    label: str | None = None

    @property
    def plain_type(self) -> Any:
        """The type without None."""
        found = [kind for kind in get_args(self.type) if kind is not NoneType]
        return found[0] if NoneType in get_args(self.type) and len(found) == 1 else self.type

    @property
    def words(self) -> tuple[str, ...]:
        """The values that it can have, where they are words; none where it takes others."""
        if get_origin(self.plain_type) is Literal:
            return get_args(self.plain_type)
        return () if self.choices is None else tuple(members(*self.choices()))

    @property
    def kind(self) -> str:
        """The type in words: `whole number`, `number`, `text`, `true or false`, `two numbers` ..."""
        return _kind(self.plain_type)

    @property
    def expected(self) -> str:
        """Type and range in words."""
        low, high = ("[", self.low) if self.low is not None else ("(", self.above)
        top, end = (self.high, "]") if self.high is not None else (self.below, ")")
        text = self.kind if self.kind[0] in "t1234567890" and self.kind != "text" else f"a {self.kind}"
        text = text.replace(" or ", " or a ") if self.kind.startswith("name or ") else text
        if get_origin(self.plain_type) is Literal:
            text = "one of " + ", ".join(self.words)
        elif high is not None and top is not None:
            text += f" in {low}{_bound(high)}, {_bound(top)}{end}"
        elif self.low is not None:
            text += f" of at least {self.low:g}"
        elif self.above is not None:
            text = f"a positive {self.kind}" if self.above == 0 else f"{text} above {self.above:g}"
        return f"{text}, or none" if self.plain_type is not self.type else text

    @property
    def told(self) -> str:
        """The default in words."""
        if self.unset is not None:
            return self.unset
        return "none" if self.default is None else shown(self.default)

    @property
    def phrase(self) -> str:
        """The help, as it goes on in a sentence."""
        return self.help if self.help[:2].upper() == self.help[:2] else self.help[0].lower() + self.help[1:]

    def checked(self, value: Any, owner: str) -> Any:
        """The value, as the field's type has it (3 for a number is 3.0, a list or the text `a,b` for a tuple a tuple).

        Raises:
            SettingError: of another type or out of range; `owner` begins the sentence.
        """
        from pydantic import ValidationError

        if self.plain_type == tuple[str, ...] and isinstance(value, str):
            value = [word.strip() for word in value.split(",") if word.strip()]
        if not isinstance(value, int) and isinstance(value, numbers.Integral):
            value = int(value)  # NumPy's, as loops over `np.arange` give them
        try:
            found = _adapter(self.type).validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
        except ValidationError:
            found = dataclasses.MISSING
        if found is dataclasses.MISSING or not all(map(self._within, found if isinstance(found, tuple) else [found])):
            huge = type(value) is int and abs(value) > LARGEST and self.high is None
            most = f", at most {LARGEST}" if huge else ""
            raise SettingError(f"{self.name} is {quoted(value)}, expected {self.expected}{most}", self.name, owner)
        if self.choices is not None and isinstance(found, str):
            lookup(*self.choices(), found)
        return found

    def _within(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value))
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def parsed(self, text: str, owner: str) -> Any:
        """The value that a text stands for: a JSON literal, `none`, or the text itself, of the field's type.

        Several numbers may stand without brackets: `0.5,0.75`.

        Raises:
            SettingError: it stands for none that the setting can have.
        """
        try:
            several = get_origin(self.plain_type) is tuple and "," in text and text[:1] not in '["'
            value = None if text.strip().lower() == "none" else json.loads(f"[{text}]" if several else text)
            return self.checked(value, owner)
        except (ValueError, RecursionError):
            return self.checked(text, owner)

    def plain(self) -> dict[str, Any]:
        """Plain JSON, for lists; what is not said is left out."""
        found = {"type": self.kind, "default": self.default, "help": self.help, "example": self.example}
        found |= {name: getattr(self, name) for name in ("low", "high", "above", "below")}
        found |= {"choices": list(self.words) or None}
        if self.default is dataclasses.MISSING:
            del found["default"]
        return {name: value for name, value in found.items() if value is not None or name == "default"}


def shown(value: Any) -> str:
    """A default or an example, as a person types it.

    Examples:
        >>> shown(True), shown(1e-05), shown((0.9, 0.999)), shown(None)
        ('true', '1e-05', '[0.9, 0.999]', 'None')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, tuple):
        return str(value)
    words = all(isinstance(entry, str) for entry in value)
    return ",".join(value) if words else f"[{', '.join(map(shown, value))}]"


def _bound(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _kind(kind: Any) -> str:
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", Callable: "function"}
    if kind in names:
        return names[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "text"
    if origin is tuple:
        count = "list of" if arguments[-1] is ... else _NUMBERS.get(len(arguments), "list of")
        return f"{count} {_kind(arguments[0])}s"
    if origin in (Union, UnionType):
        # Beside an object of Python a text names one.
        several = ["name" if each is str else _kind(each) for each in arguments if each is not NoneType]
        return " or ".join(several)
    name = getattr(kind, "__name__", "object of Python")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type that brings a configuration of its own
        return TypeAdapter(kind)
