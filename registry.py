"""Families: scorers, schedules, regimes, networks, tasks and predictors by name.

A family is a plain dict, name -> factory. Other packages add members through entry points of the group
`scratchcard.<family>` (for example `scorers`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TypeVar

Member = TypeVar("Member")


def members(family: Mapping[str, Member], group: str) -> dict[str, Member]:
    """The family with what installed packages add to it under `scratchcard.<group>`; ours win on a clash.

    Examples:
        >>> members({"mine": 1}, "scorers")["mine"]
        1
    """
    return {point.name: point.load() for point in entry_points(group=f"scratchcard.{group}")} | dict(family)


def lookup(family: Mapping[str, Member], group: str, name: str) -> Member:
    """The member called `name`.

    Raises:
        ValueError: no such member; says which are known and which is nearest.

    Examples:
        >>> lookup({"snip": 1, "synflow": 2}, "scorers", "synflow")
        2
        >>> lookup({"snip": 1, "synflow": 2}, "examples", "synflwo")
        Traceback (most recent call last):
            ...
        ValueError: unknown example 'synflwo', known are snip, synflow; did you mean 'synflow'?
    """
    if name in family:
        return family[name]
    known = members(family, group)
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown {group.rstrip('s')} {name!r}, known are {', '.join(sorted(known))}{hint}")
