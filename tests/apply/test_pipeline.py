"""Prune, train, evaluate one ticket: what is refused, what is recorded."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import Any

import pytest

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.apply.ticket_workload import check_belongs
from scratchcard.apply.training_summary import training_summary
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.engines.training import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=60, evaluation_interval=20, scoring_examples=200)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


@pytest.fixture(scope="module")
def ticket(workload: Workload) -> Ticket:
    return find_ticket(workload, Method("snip"), 0.05, seed=2)


@pytest.mark.parametrize("regime", ["USS", "ISS"])
def test_a_density_that_keeps_nothing_is_refused_before_the_search(workload: Workload, regime: str) -> None:
    with pytest.raises(ValueError, match=r"keeps none of the 50,200 prunable weights; ask for at least 1\.99e-05"):
        find_ticket(workload, Method("snip", regime=regime), 0.5 / 50_200)
    assert find_ticket(workload, Method("snip"), 1.99e-05).mask.kept == 1


def test_a_rewind_step_beyond_the_training_is_refused_before_it(workload: Workload) -> None:
    with pytest.raises(ValueError, match="cannot rewind to step 60: the training has 60 steps"):
        find_ticket(workload, Method.of("snip", regime="ISS", rewind_step=60), 0.05)


def test_the_scoring_batch_that_was_used_is_recorded(workload: Workload, ticket: Ticket) -> None:
    assert ticket.provenance["scoring_batch"] == {"examples": 200, "seed": 2, "balanced": False}
    whole = dataclasses.replace(workload, recipe=Recipe())
    assert find_ticket(whole, Method("snip"), 0.05).provenance["scoring_batch"]["examples"] == 1257


def test_pruning_seconds_count_scores_as_weights_and_the_scorers_construction(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, make_scorer = Method.start, Method.make_scorer

    def slow(real: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            begin = time.process_time()
            while time.process_time() < begin + 0.2:
                pass
            return real(*arguments, **keywords)

        return call

    saw = Method("magnitude", initial="saw", initial_scorer="snip")
    monkeypatch.setattr(Method, "start", slow(start))
    assert find_ticket(workload, saw, 0.05).provenance["pruning_seconds"] >= 0.2
    monkeypatch.setattr(Method, "start", start)
    monkeypatch.setattr(Method, "make_scorer", slow(make_scorer))
    assert find_ticket(workload, Method("magnitude"), 0.05).provenance["pruning_seconds"] >= 0.2


def test_the_training_is_recorded_with_its_recipe_data_and_history(workload: Workload, ticket: Ticket) -> None:
    other = dataclasses.replace(workload, recipe=dataclasses.replace(RECIPE, learning_rate=0.05))
    trained, record = train_ticket(ticket, other, seed=5)
    training = trained.provenance["training"]
    assert training["recipe"] == other.recipe.describe()
    assert training["data_digest"] == workload.task.digest
    assert training["data_seed"] == 5
    assert [entry[0] for entry in training["history"]] == [20, 40, 60]
    assert training["history"][-1][2] == pytest.approx(record.history[-1].validation_loss, rel=1e-5)
    assert trained.provenance["workload"] == ticket.provenance["workload"]
    json.dumps(trained.provenance, allow_nan=False)


def test_a_training_that_diverges_is_recorded_as_such(workload: Workload, ticket: Ticket) -> None:
    wild = dataclasses.replace(workload, recipe=dataclasses.replace(RECIPE, learning_rate=1e9))
    trained, record = train_ticket(ticket, wild, seed=0)
    assert record.diverged
    summary = training_summary(record)
    assert summary["diverged"] is True
    assert summary["validation_loss"] is None
    json.dumps(trained.provenance, allow_nan=False)
    assert math.isfinite(evaluate_ticket(trained, workload).loss)


def test_a_ticket_belongs_to_its_network_and_data(workload: Workload, ticket: Ticket) -> None:
    check_belongs(ticket, workload)
    check_belongs(dataclasses.replace(ticket, provenance={}), workload)
    with pytest.raises(ValueError, match="one of the network 'lenet_300_100', not of 'own:net'"):
        check_belongs(ticket, dataclasses.replace(workload, network="own:net"))
    changed = dataclasses.replace(workload.task, digest="0" * 64)
    with pytest.raises(ValueError, match="data of digits here is not the data"):
        check_belongs(ticket, dataclasses.replace(workload, task=changed))
