"""What a command line and a service ask for, in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import scratchcard as sc
from scratchcard.apply.pruning_request import PruningRequest
from scratchcard.apply.ticket_report import ticket_report
from scratchcard.apply.ticket_workload import workload_of


@pytest.mark.parametrize(
    "words", [{"passes": 0}, {"method": {"scorer": "magnitude"}}, {"method": {"scorer": "random"}}]
)
def test_without_a_task_the_mask_is_the_one_that_any_data_of_the_shape_gives(words: dict[str, Any]) -> None:
    shaped = PruningRequest("lenet_300_100", None, (0.05,), 3, input_shape=(1, 8, 8), outputs=10, **words)
    alone = shaped.find()[0.05]
    beside = PruningRequest("lenet_300_100", "digits", (0.05,), 3, **words).find()[0.05]
    for name, kept in beside.mask.tensors.items():
        assert torch.equal(alone.mask.tensors[name], kept)
        assert torch.equal(alone.initial[name], beside.initial[name])
    assert "missing_classes" not in {finding.kind for finding in alone.check()}
    workload_of(alone, task="digits")  # it may be trained on any data of the shape


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"method": {"scorer": "snip"}}, "snip reads data"),
        ({"method": {"scorer": "magnitude", "regime": "ISS"}}, "reads data"),
        ({"method": {"scorer": "predicted", "predictor": "default"}}, "reads data"),
        ({"passes": 4}, "a budget of 4 passes reads data"),
        ({}, "a budget of 4 passes reads data"),
    ],
)
def test_without_a_task_what_reads_data_is_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PruningRequest("lenet_300_100", None, input_shape=(1, 8, 8), outputs=10, **words).make_workload()


def test_a_budget_and_a_method_are_not_given_together() -> None:
    with pytest.raises(ValueError, match="passes chooses the method, and so does scorer, regime"):
        PruningRequest(passes=1, method={"scorer": "snip", "regime": "UMS"})
    with pytest.raises(ValueError, match="there is no task: name one"):
        PruningRequest(task=None)
    with pytest.raises(ValueError, match="a task is named: leave them"):
        PruningRequest(outputs=10)


def test_it_finds_what_the_library_finds_and_hands_over_its_scores() -> None:
    scores: dict[float, Any] = {}
    request = PruningRequest(densities=(0.1, 0.05), seed=5, method={"scorer": "snip"})
    found = request.find(on_found=lambda density, found: scores.update({density: found.scores}))
    for density, ticket in found.items():
        alone = sc.prune("lenet_300_100", "digits", density, 5, method="snip")
        assert all(torch.equal(ticket.mask.tensors[name], kept) for name, kept in alone.mask.tensors.items())
        cut = sc.keep_top(scores[density], density)
        assert cut.kept == ticket.mask.kept


def test_a_report_counts_what_the_mask_holds() -> None:
    ticket = sc.prune("lenet_300_100", "digits", 0.05, method="synflow")
    report = ticket_report(ticket)
    for layer, kept in zip(report["layers"], ticket.mask.tensors.values(), strict=True):
        assert layer["kept"] == int(kept.sum())
        assert layer["units_without_inputs"] == int((kept.sum(1) == 0).sum())
        assert layer["live_units"] <= layer["units"] - layer["units_without_inputs"]
    assert sum(layer["kept"] for layer in report["layers"]) == report["kept"]
