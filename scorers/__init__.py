"""Scorers: one pruning criterion a file. Higher scores = keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from scratchcard.registry import lookup
from scratchcard.scorers.gauss_newton import GaussNewton
from scratchcard.scorers.grasp import GraSP, GraSPAbs
from scratchcard.scorers.magnitude import Magnitude
from scratchcard.scorers.random import Random
from scratchcard.scorers.scorer import Batch, Loss, NoEffectWarning, Scorer
from scratchcard.scorers.snip import SNIP
from scratchcard.scorers.synflow import SynFlow
from scratchcard.scorers.synflow_l2_data import SynFlowL2Data

SCORERS: dict[str, Callable[..., Scorer]] = {
    "random": Random,
    "magnitude": Magnitude,
    "snip": SNIP,
    "grasp": GraSP,
    "grasp_abs": GraSPAbs,
    "gauss_newton": GaussNewton,
    "synflow": SynFlow,
    "synflow_l2_data": SynFlowL2Data,
}


def make_scorer(name: str, seed: int = 0) -> Scorer:
    """The scorer called `name`, with its default settings; `seed` goes to those that take one.

    Raises:
        ValueError: no such scorer; says which are known and which is nearest.

    Examples:
        >>> make_scorer("grasp")
        GraSP(temperature=200.0)
        >>> make_scorer("random", seed=7)
        Random(seed=7)
    """
    factory = lookup(SCORERS, "scorers", name)
    return factory(seed=seed) if "seed" in inspect.signature(factory).parameters else factory()


__all__ = [
    "SCORERS",
    "SNIP",
    "Batch",
    "GaussNewton",
    "GraSP",
    "GraSPAbs",
    "Loss",
    "Magnitude",
    "NoEffectWarning",
    "Random",
    "Scorer",
    "SynFlow",
    "SynFlowL2Data",
    "make_scorer",
]
