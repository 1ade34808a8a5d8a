"""Regimes: when scores are taken and whether the network is trained in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scratchcard.regimes.bernoulli_mask import BernoulliMask
from scratchcard.regimes.early import EMS, ESS, Early
from scratchcard.regimes.edge_popup import EdgePopup
from scratchcard.regimes.gem_miner import GemMiner
from scratchcard.regimes.iterative import IMS, ISS, Iterative
from scratchcard.regimes.learned_mask import LearnedMask
from scratchcard.regimes.one_training import OneTraining
from scratchcard.regimes.regime import Found, Regime
from scratchcard.regimes.rigl import RigL
from scratchcard.regimes.supermask import Supermask
from scratchcard.regimes.upfront import UMS, USS, Upfront
from scratchcard.registry import lookup, members
from scratchcard.setting import Setting
from scratchcard.settings import make, settings_of

REGIMES: dict[str, Callable[..., Regime]] = {
    "USS": USS,
    "UMS": UMS,
    "ISS": ISS,
    "IMS": IMS,
    "ESS": ESS,
    "EMS": EMS,
    "RigL": RigL,
    "Supermask": Supermask,
    "EdgePopup": EdgePopup,
    "BernoulliMask": BernoulliMask,
    "GemMiner": GemMiner,
}


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
        (('IMS', 'EMS'), ('UMS', 'ISS', 'IMS', 'EMS', 'GemMiner'))
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
        (['EMS', 'GemMiner', 'IMS', 'ISS', 'UMS'], 10)
    """
    found: dict[str, dict[str, Setting]] = {}
    for name, regime in members(REGIMES, "regimes").items():
        for word, declared in settings_of(regime).items():
            found.setdefault(word, {})[name] = declared
    return found


def default_told(declared: Mapping[str, Setting]) -> str | None:
    """The defaults of a setting in words where regimes differ, what most of them have first; None where all agree.

    Examples:
        >>> default_told(regime_settings()["rounds"]), default_told(regime_settings()["scope"])
        ('10 for ISS and IMS, 20 for EMS and GemMiner, 100 for UMS', 'global, erk for RigL, layer for EdgePopup')
        >>> default_told(regime_settings()["towards"]) is None
        True
    """
    who: dict[str, list[str]] = {}
    for name, each in declared.items():
        who.setdefault(each.told, []).append(name)
    if len(who) == 1:
        return None
    most, *others = sorted(who, key=lambda told: -len(who[told]))
    first = most if len(who[most]) > len(declared) / 2 else f"{most} for {' and '.join(who[most])}"
    return ", ".join([first, *(f"{told} for {' and '.join(who[told])}" for told in others)])


__all__ = [
    "EMS",
    "ESS",
    "IMS",
    "ISS",
    "REGIMES",
    "UMS",
    "USS",
    "BernoulliMask",
    "Early",
    "EdgePopup",
    "Found",
    "GemMiner",
    "Iterative",
    "LearnedMask",
    "OneTraining",
    "Regime",
    "RigL",
    "Supermask",
    "Upfront",
    "default_told",
    "make_regime",
    "owners",
    "regime_settings",
]
