"""What values in a grid's file look like: strict types, lists that may be a single value, seeds, densities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from scratchcard.number_list import LARGEST, whole_numbers
from scratchcard.pruning.schedules import check_density
from scratchcard.scorers import make_scorer
from scratchcard.setting import Setting, SettingError

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())
"""Of the file's models: an unknown key is an error, and so is a value of another type. A text is no number and `true`
is no 1: such a slip would be a run of another kind, or the same run under another identity."""

OPEN = ConfigDict(**{**STRICT, "extra": "allow"})
"""Of those whose further keys are settings that a dataclass declares: `check_key`."""

NO_KEY = "is no key of a grid; docs/grids.md and experiments/*.toml show those that are"


def check_key(name: str, value: Any, known: Mapping[str, Setting], owner: str) -> None:
    """Refuse a key that is no setting, or a value that it cannot have.

    Raises:
        ValueError: one sentence.

    Examples:
        >>> from scratchcard.sweeps.grid_file import method_keys
        >>> check_key("rounds", 10, method_keys(), "the method")
        >>> check_key("rounds", 0, method_keys(), "the method")
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: the method's rounds is 0, expected a whole number in [1, 1000000]
    """
    if name not in known:
        raise SettingError(f"{name} {NO_KEY}", name)
    if isinstance(value, dict) and name in ("scorer", "on", "initial_scorer"):
        make_scorer(value)
    else:
        known[name].checked(value, owner)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _seeds(value: Any) -> Any:
    return whole_numbers(value) if isinstance(value, str) else tuple(_listed(value))


def _density(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a density is a number in (0, 1], for example 0.005")
    return check_density(value)


Some = BeforeValidator(_listed)
"""A single value stands for a list of one."""
AsTuple = BeforeValidator(_tuple)
"""TOML knows lists only."""
Names = Annotated[list[str], Some, Field(min_length=1)]
OptionalNames = Annotated[list[str | None], Some, Field(min_length=1)]
Density = Annotated[float, BeforeValidator(_density)]
Densities = Annotated[list[Density], Some, Field(min_length=1)]
SeedList = Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST)], ...], BeforeValidator(_seeds)]
"""`"0-4,7"`, a list of whole numbers, or one."""
Seeds = Annotated[SeedList, Field(min_length=1)]
