"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scratchcard.registry import lookup
from scratchcard.workloads.factory import load_factory
from scratchcard.workloads.objective import Classification, Objective
from scratchcard.workloads.objectives.multi_label import MultiLabel
from scratchcard.workloads.objectives.own import OwnObjective
from scratchcard.workloads.objectives.per_position import PerPosition
from scratchcard.workloads.objectives.regression import Regression

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "regression": Regression,
    "per_position": PerPosition,
}

__all__ = [
    "OBJECTIVES",
    "Classification",
    "MultiLabel",
    "Objective",
    "OwnObjective",
    "PerPosition",
    "Regression",
    "make_objective",
]


def make_objective(named: str | Mapping[str, Any] | Objective) -> Objective:
    """The objective of a name of `OBJECTIVES`, or of `package.module:factory`; an objective as it is.

    A mapping holds the name under `name`, and settings, as `Objective.describe` gives them.

    Raises:
        ValueError: an unknown name, or a factory that returns no objective.

    >>> make_objective("regression").metric_names
    ('r2',)
    """
    settings: dict[str, Any] = {}
    if isinstance(named, Mapping):
        settings = {key: value for key, value in named.items() if key != "name"}
        named = str(named.get("name"))
    if not isinstance(named, str):
        return named
    if ":" not in named:
        family = lookup(OBJECTIVES, "objectives", named)
        try:
            return family(**settings)
        except TypeError as error:
            raise ValueError(f"the objective {named!r} does not take {settings}: {error}") from error
    made = load_factory(named, "objective", "an Objective")()
    if not hasattr(made, "statistics"):
        raise ValueError(f"{named} returned {type(made).__name__}, expected an Objective, such as OwnObjective(loss)")
    found: Objective = made
    return found
