"""Settings: each is declared once, as a field of a frozen dataclass with its range, default, help and example.

Validation, the parsing of text, the command line's option, a grid's key and its row in the documents, what digests hold
and what `list` shows all come from that field.

    >>> @dataclass(frozen=True)
    ... class Tea(Settings):
    ...     minutes: int = setting(4, help="How long it draws", example=3, low=1)
    >>> Tea(minutes=5)
    Tea(minutes=5)
    >>> Tea(minutes=0)
    Traceback (most recent call last):
    ...
    scratchcard.settings.SettingError: Tea's minutes is 0, expected a whole number of at least 1
    >>> parsed(Tea, "tea", ["minutes=3"])
    {'minutes': 3}
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from scratchcard.registry import lookup, members
from scratchcard.words import quoted, shortened

Made = TypeVar("Made")
Choices = Callable[[], tuple[Mapping[str, Any], str]]
"""The family that a setting names a member of, and its group of entry points; a function, so that it may be imported on
use."""

MOST_NUMBERS = 100_000
LARGEST = 2**31 - 1
"""What torch, NumPy, scikit-learn and LightGBM all take as a seed; no setting is a larger whole number."""

_KEY = "setting"
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
    return dataclasses.field(default=default, metadata={_KEY: about})


@dataclass(frozen=True)
class Setting:
    """What is known of one setting; see `setting`.

    Examples:
        >>> momentum = settings_of(sc.Recipe)["momentum"]
        >>> momentum.kind, momentum.told, momentum.expected
        ('number', '0', 'a number in [0, 1)')
        >>> momentum.parsed("0.9", "SGD")
        0.9
        >>> momentum.checked(1.5, "SGD")
        Traceback (most recent call last):
            ...
        scratchcard.settings.SettingError: SGD's momentum is 1.5, expected a number in [0, 1)
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
        """The value, as the field's type has it (3 for a number is 3.0, a list for a tuple a tuple).

        Raises:
            SettingError: of another type or out of range; `owner` begins the sentence.
        """
        from pydantic import ValidationError

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

        Raises:
            SettingError: it stands for none that the setting can have.
        """
        try:
            value = None if text.strip().lower() == "none" else json.loads(text)
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


@dataclass(frozen=True)
class Settings:
    """A frozen dataclass whose fields are settings; checks them when it is made.

    Attributes:
        called: how sentences name it; by default the name of its class.

    Examples:
        >>> @dataclass(frozen=True)
        ... class Kettle(Settings):
        ...     litres: int = setting(2, help="How much it holds", low=1)
        >>> Kettle(litres=0)
        Traceback (most recent call last):
            ...
        scratchcard.settings.SettingError: Kettle's litres is 0, expected a whole number of at least 1
    """

    called: ClassVar[str] = ""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, declared in settings_of(kind).items():
            object.__setattr__(self, name, declared.checked(getattr(self, name), self.called or type(self).__name__))


def settings_of(kind: Any) -> dict[str, Setting]:
    """The settings of a dataclass by name, in their order; of a dataclass that declares none, its fields.

    A field without a declaration counts too, as far as it says what it is; what is no dataclass has none.

    Examples:
        >>> list(settings_of(sc.SCORERS["grasp"])), list(settings_of(int))
        (['temperature'], [])
    """
    return _settings_of(kind)


@cache
def _settings_of(kind: Any) -> dict[str, Setting]:
    if not dataclasses.is_dataclass(kind):
        return {}
    hints = get_type_hints(kind)
    return {
        field.name: Setting(field.name, hints[field.name], _default(field), **field.metadata.get(_KEY, {}))
        for field in dataclasses.fields(kind)
        if field.init
    }


def make(
    kind: Callable[..., Made],
    owner: str,
    words: Mapping[str, Any],
    elsewhere: Callable[[str], Sequence[str]] = lambda _: (),
) -> Made:
    """The dataclass with some settings.

    Args:
        kind: a dataclass, or another factory.
        owner: its name in sentences.
        words: settings by name.
        elsewhere: who has a setting that it does not have, for the sentence.

    Raises:
        SettingError: a setting that it does not have, or a value that the setting cannot have.

    Examples:
        >>> make(sc.SCORERS["grasp"], "grasp", {"temperature": 1})
        GraSP(temperature=1.0)
        >>> make(sc.SCORERS["grasp"], "grasp", {"heat": 1})
        Traceback (most recent call last):
            ...
        scratchcard.settings.SettingError: grasp has no setting heat; it has temperature
    """
    known = settings_of(kind)
    for name in words:
        if name not in known:
            others = elsewhere(name)
            hint = f" ({', '.join(others)} {'has' if len(others) == 1 else 'have'} it)" if others else ""
            raise SettingError(
                f"{owner} has no setting {shortened(str(name))}{hint}; it has {', '.join(known) or 'none'}", name
            )
    return kind(**{name: known[name].checked(value, owner) for name, value in words.items()})


def parsed(kind: Callable[..., Any], owner: str, pairs: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts as settings of a dataclass.

    Raises:
        SettingError: no such pair, a setting that it does not have, or a value that the setting cannot have.

    Examples:
        >>> parsed(sc.Recipe, "the recipe", ["optimizer=adam", "max_steps=200", "betas=[0.8, 0.9]"])
        {'optimizer': 'adam', 'max_steps': 200, 'betas': (0.8, 0.9)}
    """
    known, found = settings_of(kind), {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise SettingError(f"{quoted(pair)} is no NAME=VALUE; {owner} has {', '.join(known) or 'no settings'}")
        if name not in known:
            raise SettingError(f"{owner} has no setting {shortened(name)}; it has {', '.join(known) or 'none'}")
        if name in found:
            raise SettingError(f"{owner}'s {name} is given twice; give it once")
        try:
            found[name] = known[name].parsed(text, owner)
        except SettingError as error:  # without its name: an option of the same name is another thing
            raise SettingError(str(error)) from error
    return found


def described(value: Any, first: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON for digests: the settings that the first results knew, always; later ones where not at their default.

    So a setting that is added changes no digest of what was done before. `first` holds those known at first with the
    values that stand for them where the dataclass does not have them.

    Examples:
        >>> described(sc.Recipe(momentum=0.9), {"optimizer": "sgd"})
        {'optimizer': 'sgd', 'momentum': 0.9}
    """
    known = settings_of(type(value))
    own = {name: getattr(value, name) for name in known}
    return dict(first) | {n: own[n] for n in known if n in first or own[n] != known[n].default}


def changed(value: Any) -> dict[str, Any]:
    """The settings that are not at their default.

    Examples:
        >>> changed(sc.Recipe(momentum=0.9, max_steps=200))
        {'momentum': 0.9, 'max_steps': 200}
    """
    return described(value, {})


def _bound(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _kind(kind: Any) -> str:
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    if kind in names:
        return names[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "text"
    if origin is tuple:
        count = "list of" if arguments[-1] is ... else _NUMBERS.get(len(arguments), "list of")
        return f"{count} {_kind(arguments[0])}s"
    if origin in (Union, UnionType):
        return " or ".join(_kind(argument) for argument in arguments if argument is not NoneType)
    return getattr(kind, "__name__", str(kind))


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
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, tuple) else str(value)


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type that brings a configuration of its own
        return TypeAdapter(kind)


def whole_numbers(text: str, name: str = "seed") -> tuple[int, ...]:
    """The numbers that `text` lists, in its order.

    Raises:
        ValueError: not such a list, none or too many numbers, or one beyond what libraries take as a seed.

    Examples:
        >>> whole_numbers("0-3,7")
        (0, 1, 2, 3, 7)
    """
    ranges: list[range] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            ranges.append(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        raise ValueError(f"{quoted(text)} is no list of {name}s; expected for example 0-4 or 0,2,10-12") from None
    if any(numbers.stop > LARGEST + 1 for numbers in ranges):
        raise ValueError(f"{quoted(text)} goes beyond the largest {name}, {LARGEST}")
    if not 0 < sum(map(len, ranges)) <= MOST_NUMBERS:
        raise ValueError(f"{quoted(text)} names no {name}, or more than {MOST_NUMBERS:,}")
    return tuple(number for numbers in ranges for number in numbers)
