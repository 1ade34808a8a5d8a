"""The learning rate of early searches: where it begins and how it rises."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scratchcard.pruning.modes import scored_by
from scratchcard.regimes import EMS, ESS, RigL
from scratchcard.regimes.one_training import OneTraining
from scratchcard.scorers import make_scorer
from scratchcard.scorers.sharpness import sharpness
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload


@pytest.fixture
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), Recipe(learning_rate=0.1, learning_rate_schedule="cosine"))


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate of each stretch that is trained."""
    seen: list[float] = []
    advance = Trajectory.advance

    def spied(self: Trajectory, steps: int, *rest: Any) -> float:
        assert self.recipe.learning_rate_schedule == "constant"
        seen.append(self.recipe.learning_rate)
        return advance(self, steps, *rest)

    monkeypatch.setattr(Trajectory, "advance", spied)
    return seen


def test_a_rate_rises_by_equal_factors_and_is_constant_between_looks(workload: Workload, rates: list[float]) -> None:
    EMS(rounds=4, search_steps=40, search_rise=16).find(workload, make_scorer("magnitude"), 0.1, 0)
    assert rates == pytest.approx([0.1 * 16 ** ((k + 0.5) / 4) for k in range(4)])


def test_searches_for_other_densities_have_the_same_rates(workload: Workload, rates: list[float]) -> None:
    regime = EMS(rounds=4, search_steps=40, search_rise=16, towards=0.0625)
    regime.find(workload, make_scorer("magnitude"), 0.0625, 0)
    whole = list(rates)
    rates.clear()
    regime.find(workload, make_scorer("magnitude"), 0.25, 0)
    assert rates == whole[:2]


@pytest.mark.parametrize("regime", [ESS(search_steps=20), RigL(search_steps=40, update_steps=10)])
def test_without_a_rise_it_is_the_recipes(workload: Workload, rates: list[float], regime: OneTraining) -> None:
    regime.find(workload, make_scorer("magnitude"), 0.1, 0)
    assert set(rates) == {0.1}


@pytest.mark.parametrize("kind", [ESS, EMS, RigL])
def test_a_stride_is_in_units_of_the_sharpness(workload: Workload, rates: list[float], kind: Any) -> None:
    more = {"update_steps": 10} if kind is RigL else {"rounds": 2} if kind is EMS else {}
    kind(search_steps=40, search_stride=0.5, **more).find(workload, make_scorer("magnitude"), 0.1, 3)
    network = workload.build(3)
    with scored_by(network, "batch"):
        expected = 0.5 / math.sqrt(sharpness(network, workload.scoring_batch(3), workload.task.loss))
    assert set(rates) == {expected}


def test_a_stride_is_for_sgd(workload: Workload) -> None:
    with pytest.raises(ValueError, match="a rule for sgd, and the recipe's optimizer is adam; give a search_learning"):
        EMS(search_stride=1.0).check(Recipe(optimizer="adam", learning_rate=0.001), 0.1)


def test_a_rate_and_a_stride_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="search_learning_rate or by a search_stride; give one"):
        EMS(search_learning_rate=0.1, search_stride=1.0)
