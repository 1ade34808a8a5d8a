"""Options in the name of a task or a network: `movie_reviews,words=5000`, `text_cnn,width=50`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from scratchcard.setting import SettingError, shown
from scratchcard.settings import Settings, changed, make, parsed
from scratchcard.words import quoted

Member = TypeVar("Member", bound=Callable[..., Any])


def with_options(kind: type[Settings]) -> Callable[[Member], Member]:
    """Declare that a registered factory takes `options`, an object of these settings, and its name may hold them.

    Examples:
        >>> from dataclasses import dataclass
        >>> from scratchcard.setting import setting
        >>> @dataclass(frozen=True)
        ... class Milk(Settings):
        ...     drops: int = setting(0, help="How many", example=3, low=0)
        >>> @with_options(Milk)
        ... def tea(options):
        ...     return options.drops
        >>> tea(options=options_in(tea, "tea,drops=3"))
        3
    """

    def declare(factory: Member) -> Member:
        factory.options = kind  # type: ignore[attr-defined]
        return factory

    return declare


def options_of(factory: Callable[..., Any]) -> type[Settings] | None:
    """The settings that a registered factory takes in its name, if any.

    Examples:
        >>> options_of(sc.TASKS["digits"]) is None, options_of(sc.TASKS["movie_reviews"]).__name__
        (True, 'MovieOptions')
    """
    found: type[Settings] | None = getattr(factory, "options", None)
    return found


def plain_name(name: str) -> str:
    """The name without options.

    Examples:
        >>> plain_name("movie_reviews,words=5000,fold=2")
        'movie_reviews'
    """
    return name.partition(",")[0]


def options_in(factory: Callable[..., Any], name: str) -> Any:
    """The options that a name holds; None where the factory takes none.

    Raises:
        SettingError: an option that there is not, twice, or with a value that it cannot have.

    Examples:
        >>> options_in(sc.TASKS["movie_reviews"], "movie_reviews,fold=2").fold
        2
        >>> options_in(sc.TASKS["digits"], "digits,fold=2")
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: digits has no options, got 'fold=2'; leave them out
    """
    plain, comma, rest = name.partition(",")
    kind = options_of(factory)
    if kind is None:
        if comma:
            raise SettingError(f"{plain} has no options, got {quoted(rest)}; leave them out")
        return None
    return make(kind, plain, parsed(kind, plain, rest.split(",") if comma else ()))


def name_with(plain: str, options: Any) -> str:
    """A name with the options that are not at their default, in the order in which they are declared.

    Examples:
        >>> name_with("movie_reviews", options_in(sc.TASKS["movie_reviews"], "movie_reviews,fold=0,words=9"))
        'movie_reviews,words=9'
    """
    own: Mapping[str, Any] = {} if options is None else changed(options)
    return ",".join([plain, *(f"{name}={shown(value)}" for name, value in own.items())])
