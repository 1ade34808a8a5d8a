"""Regimes: when scores are taken and whether the network is trained in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scratchcard.regimes.early import EMS, ESS, Early
from scratchcard.regimes.iterative import IMS, ISS, Iterative
from scratchcard.regimes.regime import Found, Regime
from scratchcard.regimes.upfront import UMS, USS, Upfront
from scratchcard.registry import lookup, members
from scratchcard.setting import Setting
from scratchcard.settings import make, settings_of

REGIMES: dict[str, Callable[..., Regime]] = {"USS": USS, "UMS": UMS, "ISS": ISS, "IMS": IMS, "ESS": ESS, "EMS": EMS}


def make_regime(name: str, /, **settings: Any) -> Regime:
    """The regime called `name` with some settings of its own.

        >>> make_regime("UMS", rounds=16).label
        'UMS 16'
        >>> make_regime("ISS", shots=3)
        Traceback (most recent call last):
        ...
        scratchcard.setting.SettingError: ISS has no setting shots (IMS, EMS have it); it has scope, floor, ...

    Raises:
        ValueError: an unknown name, a setting that the regime does not have, or a value that the setting cannot have.
    """
    factory = lookup(REGIMES, "regimes", name)
    return make(factory, name, settings, owners)


def owners(setting: str) -> tuple[str, ...]:
    """The regimes that have a setting.

    Examples:
        >>> owners("shots"), owners("rounds")
        (('IMS', 'EMS'), ('UMS', 'ISS', 'IMS', 'EMS'))
    """
    return tuple(name for name, regime in members(REGIMES, "regimes").items() if setting in settings_of(regime))


def by_words(setting: str, kind: type) -> str:
    """Which regimes have a setting that a dataclass with a regime lacks, and that its `of` takes it, for a sentence.

    Examples:
        >>> by_words("shots", sc.Method)
        ' (IMS, EMS have it: say Method.of(..., shots=...))'
    """
    who = ", ".join(owners(setting))
    return f" ({who} {'have' if ', ' in who else 'has'} it: say {kind.__name__}.of(..., {setting}=...))" if who else ""


def regime_settings() -> dict[str, dict[str, Setting]]:
    """Each setting that some regime has: its declaration by regime.

    Examples:
        >>> sorted(regime_settings()["rounds"]), regime_settings()["shots"]["IMS"].default
        (['EMS', 'IMS', 'ISS', 'UMS'], 10)
    """
    found: dict[str, dict[str, Setting]] = {}
    for name, regime in members(REGIMES, "regimes").items():
        for word, declared in settings_of(regime).items():
            found.setdefault(word, {})[name] = declared
    return found


__all__ = [
    "EMS",
    "ESS",
    "IMS",
    "ISS",
    "REGIMES",
    "UMS",
    "USS",
    "Early",
    "Found",
    "Iterative",
    "Regime",
    "Upfront",
    "make_regime",
    "owners",
    "regime_settings",
]
