"""The learning rate of early searches: where it begins and how it rises."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from scratchcard.apply.bill import passes
from scratchcard.artefacts.store import Store
from scratchcard.pruning.modes import scored_by
from scratchcard.regimes import EMS, ESS, RigL
from scratchcard.regimes.one_training import OneTraining
from scratchcard.scorers import make_scorer
from scratchcard.scorers.sharpness import sharpness
from scratchcard.workloads.engines.trajectory import Diverged, Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
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


def test_a_network_that_is_flat_at_first_is_not_taken_at_its_word(workload: Workload, rates: list[float]) -> None:
    small = Workload("experiments.networks.conv:small_conv", workload.task)
    network = small.build(0)
    with scored_by(network, "batch"):
        assert sharpness(network, small.scoring_batch(0), small.task.loss) < 5
    ESS(search_steps=5, search_stride=0.5).find(small, make_scorer("magnitude"), 0.1, 0)
    assert set(rates) == {0.1}


def test_a_stride_is_for_sgd(workload: Workload) -> None:
    with pytest.raises(ValueError, match="a rule for sgd, and the search's optimizer is adam; give a search_learning"):
        EMS(search_stride=1.0).check(Recipe(optimizer="adam", learning_rate=0.001), 0.1)


def test_a_rate_and_a_stride_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="search_learning_rate or by a search_stride; give one"):
        EMS(search_learning_rate=0.1, search_stride=1.0)


@pytest.mark.parametrize(
    "regime", [ESS(search_steps=40, search_stride=400.0), EMS(rounds=2, search_steps=40, search_stride=400.0)]
)
def test_a_stride_that_diverges_gives_way(workload: Workload, rates: list[float], regime: OneTraining) -> None:
    found = regime.find(workload, make_scorer("magnitude"), 0.1, 3)
    assert len(rates) > len(found.training)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] / rates[-1] == 2 ** (len(rates) - len(found.training))
    assert all(math.isfinite(float(tensor.sum())) for tensor in found.scores.tensors.values())
    # What led nowhere is paid for.
    assert sum(entry["steps"] for entry in found.training) > 40
    assert found.training[-1]["learning_rate"] == rates[-1]


def test_a_rate_that_was_given_does_not_give_way(workload: Workload) -> None:
    with pytest.raises(Diverged, match="diverged before step 20; take a lower rate"):
        EMS(rounds=2, search_steps=40, search_learning_rate=1e4).find(workload, make_scorer("magnitude"), 0.1, 3)


def test_a_search_that_gives_way_repeats_to_the_bit(workload: Workload, tmp_path: Path) -> None:
    store = Store(tmp_path, brief=True)
    regime, scorer = EMS(rounds=2, search_steps=40, search_stride=400.0), make_scorer("magnitude")
    first, again, plain = (
        regime.find(workload, scorer, 0.1, 3, session) for session in (Session(store=store), Session(store=store), None)
    )
    for found in (again, plain):
        assert all(found.scores.tensors[name].equal(tensor) for name, tensor in first.scores.tensors.items())
        assert [entry["steps"] for entry in found.training] == [entry["steps"] for entry in first.training]


@pytest.mark.parametrize("kind", [ESS, EMS, RigL])
def test_batches_and_decay_of_the_search_are_its_own(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    seen: list[tuple[int, float]] = []
    advance = Trajectory.advance

    def spied(self: Trajectory, steps: int, *rest: Any) -> float:
        seen.append((self.recipe.batch_size, self.recipe.weight_decay))
        return advance(self, steps, *rest)

    monkeypatch.setattr(Trajectory, "advance", spied)
    more = {"update_steps": 10} if kind is RigL else {"rounds": 2} if kind is EMS else {}
    regime = kind(search_steps=40, search_batch_size=16, search_weight_decay=0.01, **more)
    found = regime.find(workload, make_scorer("magnitude"), 0.1, 3)
    assert set(seen) == {(16, 0.01)}
    steps = passes(0, found.training, workload) * len(workload.task.train) / 3 / 16
    assert steps == 40
