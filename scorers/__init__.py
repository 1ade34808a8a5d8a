"""Scorers: one pruning criterion a file. Higher scores = keep."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from scratchcard.registry import lookup, members
from scratchcard.scorers.gauss_newton import GaussNewton
from scratchcard.scorers.grasp import GraSP, GraSPAbs
from scratchcard.scorers.magnitude import Magnitude
from scratchcard.scorers.magnitude_increase import MagnitudeIncrease
from scratchcard.scorers.mask_criteria import (
    LargeInit,
    LargeInitLargeFinal,
    SmallFinal,
    SmallInit,
    SmallInitSmallFinal,
)
from scratchcard.scorers.movement import Movement
from scratchcard.scorers.prospr import ProsPr
from scratchcard.scorers.random import Random
from scratchcard.scorers.scorer import Batch, Loss, NoEffectWarning, Scorer
from scratchcard.scorers.snip import SNIP
from scratchcard.scorers.synflow import SynFlow
from scratchcard.scorers.synflow_l2_data import SynFlowL2Data
from scratchcard.settings import changed, make, settings_of

SCORERS: dict[str, Callable[..., Scorer]] = {
    "random": Random,
    "magnitude": Magnitude,
    "snip": SNIP,
    "grasp": GraSP,
    "grasp_abs": GraSPAbs,
    "gauss_newton": GaussNewton,
    "prospr": ProsPr,
    "synflow": SynFlow,
    "synflow_l2_data": SynFlowL2Data,
    "movement": Movement,
    "magnitude_increase": MagnitudeIncrease,
    "small_final": SmallFinal,
    "large_init": LargeInit,
    "small_init": SmallInit,
    "large_init_large_final": LargeInitLargeFinal,
    "small_init_small_final": SmallInitSmallFinal,
}


def make_scorer(wanted: str | Mapping[str, Any] | Scorer, seed: int = 0) -> Scorer:
    """A scorer by its name, by its name and settings, or as it is.

    A scorer that has a `seed` gets this one, unless it has one of its own already (another than its default).

        >>> make_scorer("grasp")
        GraSP(temperature=200.0)
        >>> make_scorer({"name": "grasp", "temperature": 1})
        GraSP(temperature=1.0)

    Raises:
        ValueError: no such scorer (says which are known and which is nearest), or a setting that it does not have.

    Examples:
        >>> make_scorer("grasp")
        GraSP(temperature=200.0)
        >>> make_scorer("random", seed=7)
        Random(seed=7)
    """
    if isinstance(wanted, str | Mapping):
        settings = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(f'a scorer with settings has a name: expected {{ name = "grasp", ... }}, got {wanted!r}')
        factory = lookup(SCORERS, "scorers", name)
        if not dataclasses.is_dataclass(factory) and "seed" in inspect.signature(factory).parameters:
            return factory(**{"seed": seed} | settings)
        wanted = make(factory, name, settings)
    own = settings_of(type(wanted)).get("seed")
    return dataclasses.replace(wanted, seed=seed) if own and wanted.seed == own.default else wanted  # type: ignore


def known_as(scorer: Scorer) -> str | None:
    """The name that the scorer is registered under, whatever its settings; None if it is not.

    Examples:
        >>> known_as(GraSP(temperature=1.0))
        'grasp'
    """
    return next((name for name, made in members(SCORERS, "scorers").items() if made is type(scorer)), None)


def scorer_name(wanted: str | Scorer) -> str:
    """As labels and digests say it: the name, and the settings that are not at their default.

    >>> scorer_name(GraSP()), scorer_name(GraSP(temperature=1.0))
    ('grasp', 'grasp(temperature=1.0)')
    """
    if isinstance(wanted, str):
        return wanted
    settings = ", ".join(f"{name}={value!r}" for name, value in changed(wanted).items())
    return (known_as(wanted) or type(wanted).__qualname__) + (f"({settings})" if settings else "")


__all__ = [
    "SCORERS",
    "SNIP",
    "Batch",
    "GaussNewton",
    "GraSP",
    "GraSPAbs",
    "LargeInit",
    "LargeInitLargeFinal",
    "Loss",
    "Magnitude",
    "MagnitudeIncrease",
    "Movement",
    "NoEffectWarning",
    "ProsPr",
    "Random",
    "Scorer",
    "SmallFinal",
    "SmallInit",
    "SmallInitSmallFinal",
    "SynFlow",
    "SynFlowL2Data",
    "known_as",
    "make_scorer",
    "scorer_name",
]
