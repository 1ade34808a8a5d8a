"""ISS and IMS: rewinding, nesting, resuming round by round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchcard.artefacts.store import Store
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import IMS, ISS, Found, Iterative
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.training import Recipe, train
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=60, evaluation_interval=20))


def test_one_round_of_imp_by_hand(workload: Workload) -> None:
    found = ISS(rounds=1).find(workload, make_scorer("magnitude"), 0.1, seed=4)
    network = workload.build(4)
    train(network, workload.task, workload.recipe, seed=4)
    scores = {n: p.detach().abs() for n, p in network.named_parameters() if n.endswith("weight")}
    assert found.mask == keep_top(Scores(scores, "by hand"), 0.1, seed=4)
    # The ticket starts from the initialisation, not from what training left.
    for name, tensor in workload.build(4).state_dict().items():
        assert torch.equal(found.start[name], tensor)


@pytest.mark.parametrize(("shots", "scorer"), [(1, "magnitude"), (4, "synflow"), (3, "snip")])
def test_masks_are_nested_and_counts_exact(workload: Workload, shots: int, scorer: str) -> None:
    found = (ISS(rounds=3) if shots == 1 else IMS(rounds=3, shots=shots)).find(
        workload, make_scorer(scorer), 0.02, seed=0
    )
    for number in range(1, 4):
        assert found.mask_after(number).kept == round(found.densities[number - 1] * found.mask.total)
        assert found.mask_after(number - 1).contains(found.mask_after(number))
    assert found.mask.kept == round(0.02 * found.mask.total)
    assert len(found.training) == 3


@pytest.mark.parametrize("kind", [ISS, IMS])
def test_rewinding_to_an_early_step(workload: Workload, kind: type[Iterative]) -> None:
    """Late rewinding (Frankle et al. 2020)."""
    found = kind(rounds=2, rewind_step=10).find(workload, make_scorer("magnitude"), 0.1, seed=0)
    network = workload.build(0)
    record = train(network, workload.task, workload.recipe, seed=0, snapshot_steps=(10,))
    early = record.snapshots[10]
    initial = workload.build(0).state_dict()
    assert any(not torch.equal(found.start[name], initial[name]) for name in initial)
    for name, tensor in early.items():
        assert torch.equal(found.start[name], tensor)


def test_a_rewind_step_after_the_end_is_refused(workload: Workload) -> None:
    with pytest.raises(ValueError, match="cannot rewind to step 5000"):
        ISS(rounds=2, rewind_step=5000).find(workload, make_scorer("magnitude"), 0.1, seed=0)


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows with every training that is really done."""
    trained: list[Any] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        trained.append(kwargs.get("mask"))
        return train(*args, **kwargs)

    monkeypatch.setattr("scratchcard.workloads.stored_training.train", counted)
    return trained


def assert_same(one: Found, other: Found) -> None:
    assert one.mask == other.mask
    assert one.densities == other.densities
    assert all(torch.equal(one.start[n], other.start[n]) for n in other.start)
    assert all(torch.equal(one.survived[n], other.survived[n]) for n in other.survived)
    assert all(torch.equal(one.scores.tensors[n], other.scores.tensors[n]) for n in other.scores.tensors)


class Killed(Exception):
    pass


def kill_in(round_: int, max_steps: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done > (round_ - 1) * max_steps:
            raise Killed

    return progress


@pytest.mark.parametrize("rewind_step", [0, 10])
def test_a_killed_search_goes_on_where_it_stopped(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewind_step: int
) -> None:
    regime, store = ISS(rounds=3, rewind_step=rewind_step), Store(tmp_path)
    whole = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0)
    with pytest.raises(Killed):
        regime.find(
            workload, make_scorer("magnitude"), 0.05, seed=0, session=Session(store=store, progress=kill_in(3, 60))
        )
    trained = count_trainings(monkeypatch)
    resumed = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, session=Session(store=store))
    assert len(trained) == 1
    assert_same(resumed, whole)
    # The seconds of the first session count too.
    assert all(entry["seconds"] > 0 for entry in resumed.training)
    # A finished search is only read.
    assert_same(regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, session=Session(store=store)), whole)
    assert len(trained) == 1


def test_other_searches_share_the_dense_training_and_nothing_else(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regime, store = ISS(rounds=2), Store(tmp_path)
    regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, session=Session(store=store))
    trained = count_trainings(monkeypatch)
    for arguments, expected in [
        ({"density": 0.06, "seed": 0}, 1),
        ({"density": 0.05, "seed": 1}, 2),
        ({"density": 0.05, "seed": 0, "data_seed": 7}, 2),
        ({"density": 0.05, "seed": 0, "session": Session(dtype=torch.float64)}, 2),
    ]:
        session = arguments.pop("session", Session())
        alone = regime.find(workload, make_scorer("magnitude"), session=session, **arguments)  # type: ignore[arg-type]
        trained.clear()
        shared = regime.find(workload, make_scorer("magnitude"), session=replace(session, store=store), **arguments)  # type: ignore[arg-type]
        assert len(trained) == expected, arguments
        assert_same(shared, alone)


def test_densities_of_one_path_share_its_rounds(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regime = ISS(rounds=4, towards=0.0625)
    assert regime.densities(0.0625) == (0.5, 0.25, 0.125, 0.0625)
    assert regime.densities(0.2) == (0.5, 0.25, 0.2)
    assert regime.densities(0.25) == (0.5, 0.25)
    assert regime.densities(0.9) == (0.9,)
    with pytest.raises(ValueError, match="never reaches"):
        regime.densities(0.05)
    trained = count_trainings(monkeypatch)
    found = {
        density: regime.find(
            workload, make_scorer("magnitude"), density, seed=0, session=Session(store=Store(tmp_path))
        )
        for density in (0.9, 0.2, 0.0625)
    }
    assert len(trained) == 4
    assert_same(found[0.2], regime.find(workload, make_scorer("magnitude"), 0.2, seed=0))
    assert found[0.0625].mask_after(2) == found[0.2].mask_after(2)


def test_a_truncated_training_is_done_again(workload: Workload, tmp_path: Path) -> None:
    regime, store = ISS(rounds=1), Store(tmp_path)
    whole = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, session=Session(store=store))
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 1
    files[0].write_bytes(files[0].read_bytes()[:1000])
    assert_same(regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, session=Session(store=store)), whole)
    assert len(files[0].read_bytes()) > 1000


def test_another_data_order_gives_another_ticket_of_the_same_initialisation(workload: Workload) -> None:
    regime = ISS(rounds=2)
    one = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0)
    other = regime.find(workload, make_scorer("magnitude"), 0.05, seed=0, data_seed=9)
    assert all(torch.equal(one.start[n], other.start[n]) for n in one.start)
    assert one.mask != other.mask
    assert (one.mask & other.mask).kept > 0.3 * one.mask.kept


def test_the_given_network_comes_back_as_it_was(workload: Workload) -> None:
    network = workload.build(0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ISS(rounds=1).find(workload, make_scorer("magnitude"), 0.1, seed=0, network=network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("density", [0.9999, 0.999, 1.0])
def test_densities_so_high_that_rounds_keep_the_same_count(workload: Workload, density: float) -> None:
    found = ISS(rounds=6).find(workload, make_scorer("magnitude"), density, seed=0)
    assert found.mask.kept == round(density * found.mask.total)


def test_rounds_can_be_shorter_than_the_tickets_training(workload: Workload) -> None:
    short = ISS(rounds=2, round_steps=25).find(workload, make_scorer("magnitude"), 0.1, seed=4)
    assert [record["steps"] for record in short.training] == [25, 25]
    by_recipe = replace(workload, recipe=replace(workload.recipe, max_steps=25))
    assert short.mask == ISS(rounds=2).find(by_recipe, make_scorer("magnitude"), 0.1, seed=4).mask
    assert short.mask != ISS(rounds=2).find(workload, make_scorer("magnitude"), 0.1, seed=4).mask
