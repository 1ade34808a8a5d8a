"""A budget in passes over the data: which method it gives, and that the method keeps to it."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean
from typing import Any

import pytest
import torch

from experiments.budgets import measure
from scratchcard.apply.budget import LEAST_STEPS, budgets, measured, remark, within
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.prune import prune
from scratchcard.regimes import EMS
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.workload import Workload


def workload(examples: int) -> Workload:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 12, generator=draw)
    task = Task.of(inputs, (inputs[:, 0] > 0).long())
    return Workload("lenet_300_100", task, Recipe(batch_size=16, scoring_examples=128))


def test_without_training_there_is_one_method_each() -> None:
    assert within(0, workload(500)).label == "synflow, UMS 100"
    assert within(0.99, workload(500)) == within(0, workload(500))
    assert within(1, workload(500)).label == "synflow_l2_data, UMS 100"


@pytest.mark.parametrize("passes", [2, 4, 11.9, 12, 16])
def test_a_search_takes_what_it_may_and_no_more(passes: float) -> None:
    large = workload(14_000)
    method = within(passes, large)
    spent = find_ticket(large, method, 0.1).provenance["passes"]
    step = 3 * 32 / len(large.task.train)
    assert passes - 2 * step < spent <= passes


def test_more_passes_are_more_steps_and_never_a_smaller_budgets_method() -> None:
    steps = [within(passes, workload(14_000)).make_regime().search_steps for passes in (2, 3, 8, 12, 40)]  # type: ignore[attr-defined]
    assert steps == sorted(steps)


def test_few_data_make_no_search_of_a_few_steps() -> None:
    small = workload(500)
    assert within(4, small) == within(1, small)
    enough = (LEAST_STEPS * 3 * 32 + budgets()[-1].reads) / len(small.task.train)
    assert within(enough + 1e-9, small).make_regime().search_steps == LEAST_STEPS  # type: ignore[attr-defined]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_search_is_by_plain_sgd_whatever_trains_the_ticket(optimizer: Any) -> None:
    more = {"momentum": 0.9} if optimizer == "sgd" else {}
    own = Recipe(batch_size=16, scoring_examples=128, optimizer=optimizer, learning_rate=0.001, **more)
    regime = within(4, replace(workload(14_000), recipe=own)).make_regime()
    assert isinstance(regime, EMS)
    regime.check(own, 0.1)
    search = regime.recipe(own, rate=0.1)
    assert (search.optimizer, search.momentum, search.batch_size) == ("sgd", 0.0, 32)


@pytest.mark.parametrize("passes", [-1, float("nan"), float("inf"), 1e9, "4", True, None])
def test_no_number_of_passes_is_refused(passes: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a number from 0 to 10000, such as 4"):
        within(passes, workload(500))


def test_a_method_and_a_budget_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="a method and a budget"):
        prune(workload(500), method=Method("snip"), passes=4)
    assert prune(workload(500), passes=0).provenance["label"] == "synflow, UMS 100"


def test_a_bill_on_few_data_that_none_would_expect_is_explained() -> None:
    few, many = (prune(workload(examples), density=0.1, passes=0) for examples in (100, 20_000))
    assert remark(0, few).startswith("it reads no data: its rounds, of one input of ones, cost as much as 4.")
    assert remark(0, many) == ""


def test_nothing_named_is_the_usual_budget() -> None:
    large = workload(14_000)
    assert prune(large, density=0.1).provenance["label"] == within(4, large).label
    assert isinstance(within(4, large).make_regime(), EMS)


def test_what_budgets_reach_elsewhere_is_what_the_committed_runs_say() -> None:
    rows = measure()
    for found in measured():
        expected = {row["budget"]: mean(row["accuracies"]) for row in rows if row["task"] == found.task}
        assert found.accuracy == pytest.approx(expected, abs=1e-4)
        assert {len(row["accuracies"]) for row in rows} == {10}
