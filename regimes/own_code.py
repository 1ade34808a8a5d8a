"""The code of what a method names that is not this project's own: scorers, a regime, a schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scratchcard.artefacts.code_digest import foreign_code
from scratchcard.pruning.schedules import SCHEDULES
from scratchcard.regimes.regime import Regime
from scratchcard.registry import members


def own_code(regime: Regime, scorers: Iterable[Any]) -> dict[str, str | None]:
    """Digests of the code of a regime, its schedule and scorers that come from elsewhere, by `module:name`.

    Registered by another package or given as objects, all count; a name that nobody knows does not.

    Examples:
        >>> from scratchcard.regimes import UMS
        >>> own_code(UMS(), ["snip", sc.make_scorer("grasp"), None])
        {}
    """
    from scratchcard.scorers import SCORERS

    parts: list[Any] = [type(regime)]
    schedule = getattr(regime, "schedule", None)
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        parts.append(members(SCHEDULES, "schedules").get(schedule))
    for scorer in scorers:
        if not isinstance(scorer, str):
            parts.append(None if scorer is None else type(scorer))
        elif scorer not in SCORERS:
            parts.append(members(SCORERS, "scorers").get(scorer))
    return foreign_code(parts)
