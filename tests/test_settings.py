"""Settings: what every declared setting refuses in one sentence, whatever its value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scratchcard.apply.method import Method
from scratchcard.dataset_builder.recording import Recording
from scratchcard.number_list import LARGEST
from scratchcard.pruning.schedules import SCHEDULES
from scratchcard.regimes import IMS, ISS, UMS
from scratchcard.scorers import GraSP, Random
from scratchcard.setting import SettingError
from scratchcard.settings import parsed, settings_of
from scratchcard.workloads.recipe import Recipe


@pytest.mark.parametrize("value", [LARGEST + 1, 10**30, -(10**400)])
def test_whole_numbers_that_are_too_large(value: int) -> None:
    with pytest.raises(SettingError, match=f"at most {LARGEST}") as caught:
        ISS(rewind_step=value)
    assert len(str(caught.value)) < 400
    with pytest.raises(SettingError):
        Recipe(batch_size=value)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    regime = UMS(rounds=np.int64(3))  # type: ignore[arg-type]
    assert type(regime.rounds) is int
    assert regime == UMS(rounds=3)


@pytest.mark.parametrize("kind", [UMS, ISS, IMS])
def test_more_rounds_are_refused_where_they_are_set(kind: Any) -> None:
    with pytest.raises(SettingError, match=r"rounds is 100000000, expected a whole number in \[1, 1000000\]"):
        kind(rounds=100_000_000)


@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_more_rounds_than_memory_holds(schedule: Any) -> None:
    with pytest.raises(ValueError, match="rounds must be at most 1,000,000"):
        schedule(0.5, 10**9)


@pytest.mark.parametrize("predictor", [5, float("nan"), [], {}, True, object()])
def test_a_predictor_that_is_no_path(predictor: Any) -> None:
    with pytest.raises(SettingError, match=r"predictor is .*, expected a text"):
        Method("predicted", predictor=predictor)


@pytest.mark.parametrize("scorer", [int, lambda: 1, 5, None])
def test_a_recording_of_what_is_no_scorer(scorer: Any) -> None:
    with pytest.raises(ValueError, match=r"scorer"):
        Recording("ISS", scorer)


def test_names_and_values_of_the_command_line() -> None:
    with pytest.raises(SettingError, match="temperature is given twice"):
        parsed(GraSP, "grasp", ["temperature=1", "temperature=2"])
    with pytest.raises(SettingError, match="temperature is '"):
        parsed(GraSP, "grasp", ["temperature=" + "[" * 100_000])
    with pytest.raises(SettingError, match=rf"random's seed is '-1', .* {LARGEST}]") as caught:
        parsed(Random, "random", ["seed=-1"])
    assert caught.value.setting == ""  # or the command line says its own --seed


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_numbers_that_no_weight_can_hold(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} is 1e\\+308"):
        Recipe(**{name: 1e308})


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Method("magnitude", regime=3), "the method's regime is 3, expected a name or a regime"),  # type: ignore[arg-type]
        (
            lambda: Method("magnitude", regime="ISS", rounds=3),  # type: ignore[call-arg]
            "method has no setting rounds (UMS, ISS, IMS, EMS, GemMiner have it: say Method.of(..., rounds=...)); "
            "it has scorer",
        ),
        (lambda: Recipe(steps=3), "the recipe has no setting steps; it has optimizer"),  # type: ignore[call-arg]
        (lambda: Recording(rounds=3), "UMS, ISS, IMS, EMS, GemMiner have it: say Recording.of(..., rounds=...)"),  # type: ignore[call-arg]
    ],
)
def test_foreign_settings_and_types_are_refused_in_plain_words(make: Any, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()
    assert told in str(caught.value)


def test_no_type_is_shown_as_python_writes_it() -> None:
    kinds = {declared.kind for made in (Method, Recording, Recipe, UMS) for declared in settings_of(made).values()}
    assert "name or function" in kinds
    assert not any(word in kind for kind in kinds for word in ("Callable", "Regime", "typing", "[", "<"))


@pytest.mark.parametrize("milestones", [0.5, [0.5], (0.5,), 100])
def test_a_single_number_stands_for_a_list_of_one(milestones: Any) -> None:
    """`--milestones 0.5` was no list, and `0.5,0.75` was one."""
    recipe = Recipe(learning_rate_schedule="step", milestones=milestones, max_steps=200)
    assert recipe.milestone_steps == (100,)
    assert parsed(Recipe, "the recipe", ["milestones=0.5"]) == {"milestones": (0.5,)}
    for wrong, told in (
        ({"betas": 0.5}, r"betas is 0\.5, expected two numbers"),
        ({"milestones": True}, "is True, exp"),
    ):
        with pytest.raises(SettingError, match=told):
            Recipe(**wrong)


def test_several_numbers_without_brackets() -> None:
    milestones, betas = (settings_of(Recipe)[name] for name in ("milestones", "betas"))
    assert milestones.parsed("0.5,0.75", "the recipe") == milestones.parsed("[0.5, 0.75]", "the recipe") == (0.5, 0.75)
    assert betas.parsed("0.8,0.9", "the recipe") == (0.8, 0.9)
    with pytest.raises(SettingError, match=r"milestones is '0\.5,a', expected a .*list of numbers"):
        milestones.parsed("0.5,a", "the recipe")
