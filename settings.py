"""Settings: frozen dataclasses whose fields are each declared once, with range, default, help and example.

Validation, the parsing of text, the command line's option, a grid's key and its row in the documents, what digests hold
and what `list` shows all come from that field.

    >>> from scratchcard.setting import setting
    >>> @dataclass(frozen=True)
    ... class Tea(Settings):
    ...     minutes: int = setting(4, help="How long it draws", example=3, low=1)
    >>> Tea(minutes=5)
    Tea(minutes=5)
    >>> Tea(minutes=0)
    Traceback (most recent call last):
    ...
    scratchcard.setting.SettingError: Tea's minutes is 0, expected a whole number of at least 1
    >>> parsed(Tea, "tea", ["minutes=3"])
    {'minutes': 3}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, get_type_hints

from scratchcard.setting import KEY, Setting, SettingError
from scratchcard.words import quoted, shortened

Made = TypeVar("Made")


@dataclass(frozen=True)
class Settings:
    """A frozen dataclass whose fields are settings; checks them when it is made.

    Attributes:
        called: how sentences name it; by default the name of its class.

    Examples:
        >>> from scratchcard.setting import setting
        >>> @dataclass(frozen=True)
        ... class Kettle(Settings):
        ...     litres: int = setting(2, help="How much it holds", low=1)
        >>> Kettle(litres=0)
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: Kettle's litres is 0, expected a whole number of at least 1
    """

    called: ClassVar[str] = ""

    def __new__(cls, *_: Any, **words: Any) -> Self:
        """Refuses settings that there are not in a sentence, where Python's own error would name `__init__`."""
        for name in words:
            if name not in cls.__dataclass_fields__:
                who = cls.called or cls.__name__
                has = ", ".join(settings_of(cls)) or "none"
                raise SettingError(f"{who} has no setting {name}{cls._elsewhere(name)}; it has {has}", name)
        return super().__new__(cls)

    @classmethod
    def _elsewhere(cls, name: str) -> str:
        """Where a setting is that it does not have, for the sentence."""
        return ""

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
        field.name: Setting(field.name, hints[field.name], _default(field), **field.metadata.get(KEY, {}))
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
        scratchcard.setting.SettingError: grasp has no setting heat; it has temperature
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


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
