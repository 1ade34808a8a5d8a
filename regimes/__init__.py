"""Regimes: when scores are taken and whether the network is trained in between."""

from __future__ import annotations

import dataclasses
from typing import Any

from scratchcard.regimes.iterative import Iterative
from scratchcard.regimes.regime import Found, Regime
from scratchcard.regimes.upfront import Upfront
from scratchcard.registry import lookup

REGIMES: dict[str, Regime] = {
    "USS": Upfront(rounds=1),
    "UMS": Upfront(rounds=100),
    "ISS": Iterative(rounds=10, shots=1),
    "IMS": Iterative(rounds=10, shots=10),
}


def make_regime(name: str, *, rounds: int | None = None, shots: int | None = None, **settings: Any) -> Regime:
    """The regime called `name` with other settings than its own.

    Args:
        name: one of `REGIMES`, or what an entry point of the group `regimes` adds.
        rounds: pruning rounds; None keeps the regime's.
        shots: scoring and pruning steps after each training; only IMS takes it, the others leave it aside.
        settings: further fields of the regime (`schedule`, `scope`, `rewind_step`); those it lacks are left aside.

    Raises:
        ValueError: unknown name, or a USS of several rounds.
    """
    regime = lookup(REGIMES, "regimes", name)
    if not isinstance(regime, Upfront | Iterative):
        return regime
    if name == "USS" and rounds not in (None, 1):
        raise ValueError(f"USS has one round, got {rounds}; for several use UMS")
    wanted: dict[str, Any] = {"rounds": rounds, "shots": shots if name == "IMS" else None} | settings
    known = {field.name for field in dataclasses.fields(regime)}
    return dataclasses.replace(regime, **{k: v for k, v in wanted.items() if v is not None and k in known})


__all__ = ["REGIMES", "Found", "Iterative", "Regime", "Upfront", "make_regime"]
