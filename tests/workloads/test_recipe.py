"""Recipes: what they refuse, and their way through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from scratchcard.workloads.recipe import Recipe


def test_a_recipe_crosses_json() -> None:
    recipe = Recipe("adam", 0.01, betas=(0.8, 0.9), max_steps=7, scoring_balanced=True)
    back = Recipe.from_json(json.loads(json.dumps(dataclasses.asdict(recipe))))
    assert back == recipe
    assert hash(back) == hash(recipe)
    assert Recipe.from_json({}) == Recipe()


@pytest.mark.parametrize("described", [None, [], "sgd", 3])
def test_what_is_no_object_is_refused(described: object) -> None:
    with pytest.raises(ValueError, match="as an object of settings"):
        Recipe.from_json(described)


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ValueError, match="has no setting speed; it has optimizer"):
        Recipe.from_json({"speed": 3})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(
            (name, value)
            for name in ("batch_size", "patience", "max_steps")
            for value in (0, 1.0, math.inf, "3", None, True)
        ),
        *((name, value) for name in ("learning_rate", "epsilon") for value in (0, -1, math.nan, math.inf, "0.1", None)),
        ("momentum", 1.0),
        ("momentum", [0.9]),
        ("weight_decay", -1e-9),
        ("weight_decay", False),
        ("betas", (0.9,)),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9, "0.999")),
        ("betas", "ab"),
        ("optimizer", ["sgd"]),
        ("scoring_balanced", 1),
    ],
)
def test_values_that_no_recipe_has_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=setting):
        Recipe(**{setting: value})


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_training_without_milestones_needs_none(steps: int) -> None:
    assert Recipe(max_steps=steps).learning_rate_schedule == "constant"
