"""Ticket paths are found as the slow regime finds tickets, and judged in other initialisations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scratchcard.apply.ticket_search import accuracy_elsewhere, find_path
from scratchcard.artefacts.store import Store
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.regimes import ISS
from scratchcard.scorers import make_scorer
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

DENSITIES = (0.2, 0.1, 0.05)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=200, evaluation_interval=50))


@pytest.fixture(scope="module")
def path(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> TicketPath:
    return find_path(workload, 3, DENSITIES, rounds=3, store=Store(tmp_path_factory.mktemp("rounds")))


def test_a_path_holds_the_slow_regimes_tickets(workload: Workload, path: TicketPath) -> None:
    assert path.densities == DENSITIES
    regime = ISS(rounds=3, towards=0.05)
    for level, density in enumerate(DENSITIES, start=1):
        mask = regime.find(workload, make_scorer("magnitude"), density, 3).mask
        assert all(torch.equal(path.levels[name] >= level, tensor) for name, tensor in mask.tensors.items())
    initial = workload.build(3).state_dict()
    kept = path.levels["1.weight"] > 0
    assert torch.equal(path.values["1.weight"][kept], initial["1.weight"][kept])
    assert (path.about["task"], path.about["seed"], path.about["rounds"]) == ("digits", 3, 3)
    assert path.inputs.shape == (10, 64)


def test_an_interrupted_search_trains_nothing_twice(
    workload: Workload, path: TicketPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    find_path(workload, 3, DENSITIES, rounds=3, store=store)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("scratchcard.workloads.stored_training.train", refuse)
    again = find_path(workload, 3, DENSITIES, rounds=3, store=store)
    assert all(torch.equal(again.levels[name], path.levels[name]) for name in path.levels)


def test_it_is_judged_where_it_is_laid(workload: Workload, path: TicketPath) -> None:
    found = accuracy_elsewhere(path, workload, [11, 12], 0.05)
    assert 0.8 < found < 1.0
    with pytest.raises(ValueError, match="the ticket of seed 3 does not fit the initialisation 11"):
        accuracy_elsewhere(path, workload, [11], 0.3)
