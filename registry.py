"""Families: scorers, schedules, regimes, networks, tasks, recipes and predictors by name.

A family is a plain dict, name -> member, in its own package. Other packages add members through entry points of the
group `scratchcard.<family>` (for example `scratchcard.scorers`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from scratchcard.words import QUOTED, quoted

Member = TypeVar("Member")

FAMILIES = {
    "scorers": "scratchcard.scorers:SCORERS",
    "schedules": "scratchcard.pruning.schedules:SCHEDULES",
    "regimes": "scratchcard.regimes:REGIMES",
    "networks": "scratchcard.workloads.networks:NETWORKS",
    "tasks": "scratchcard.workloads.tasks:TASKS",
    "recipes": "scratchcard.workloads.recipes:RECIPES",
    "predictors": "scratchcard.meta.predictors:PREDICTORS",
}
"""Where each family's dict lies: for what goes through all of them, such as a list of all that can be named."""


def family(name: str) -> dict[str, Any]:
    """All members of a family of `FAMILIES`, those of installed packages too; imports its package.

    Raises:
        ValueError: no such family.

    >>> "snip" in family("scorers")
    True
    """
    module, _, members_there = lookup(FAMILIES, "families", name).partition(":")
    return members(getattr(import_module(module), members_there), name)


def members(family: Mapping[str, Member], group: str) -> dict[str, Member]:
    """The family with what installed packages add to it under `scratchcard.<group>`; ours win on a clash.

    Examples:
        >>> members({"snip": 1}, "examples")
        {'snip': 1}
    """
    return {point.name: point.load() for point in _added(f"scratchcard.{group}")} | dict(family)


MOST_NAMED = 60
"""So many names at most are listed where one is not known."""


def lookup(family: Mapping[str, Member], group: str, name: str) -> Member:
    """The member called `name`.

    Raises:
        ValueError: no such member; says which are known and which is nearest.

    >>> lookup({"snip": 1, "synflow": 2}, "examples", "sinflow")
    Traceback (most recent call last):
        ...
    ValueError: unknown example 'sinflow', known are snip, synflow; did you mean 'synflow'?
    """
    if name in family:
        return family[name]
    known = members(family, group)
    if name in known:
        return known[name]
    few = len(known) <= MOST_NAMED
    nearest = difflib.get_close_matches(name[:QUOTED], known, n=1 if few else 3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
    one = f"{group.removesuffix('ies')}y" if group.endswith("ies") else group.rstrip("s")
    names = f"are {', '.join(sorted(known))}" if few else f"are {len(known):,} others"
    raise ValueError(f"unknown {one} {quoted(name)}, known {names}{hint}")


@lru_cache
def _added(group: str) -> tuple[EntryPoint, ...]:
    """What installed packages add to a group: looked for once, as that reads a file of every package that there is."""
    return tuple(entry_points(group=group))
