"""Experiments trained together have the records of experiments run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import scratchcard.sweeps.grouped_runs
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.artefacts.store import Store
from scratchcard.pruning.hold import verify
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.grouped_runs import run_together
from scratchcard.sweeps.run_records import read_failure, read_result
from scratchcard.sweeps.sweep import sweep
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

DIGITS = load_task("digits")
WORKLOAD = Workload("lenet_300_100", DIGITS, Recipe(max_steps=120, evaluation_interval=20, patience=2))
OTHER = Workload("lenet_300_100", DIGITS, Recipe(max_steps=60, evaluation_interval=20))


def run(workload: Workload, scorer: str, density: float, seed: int, **method: Any) -> Experiment:
    return Experiment(workload, Method.of(scorer, **method), density, seed, torch.float64)


EXPERIMENTS = [
    run(WORKLOAD, "snip", 0.05, 1),
    run(OTHER, "magnitude", 0.1, 1),
    run(WORKLOAD, "synflow", 0.02, 2, regime="UMS", rounds=5),
    run(WORKLOAD, "magnitude", 1.0, 2),
    run(WORKLOAD, "magnitude", 0.2, 3, regime="ISS", rounds=2),
]
TIMES = ("pruning_seconds", "wall_seconds", "finished")


def ran(*arguments: Any, **settings: Any) -> list[tuple[dict[str, Any], Ticket]]:
    """Records and tickets of runs of which none fails."""
    found = [entry for _, entry in run_together(*arguments, **settings)]
    assert not any(isinstance(entry, Exception) for entry in found)
    return found  # type: ignore[return-value]


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Without what may differ, and without what differs by rounding."""
    training = {k: v for k, v in record["training"].items() if k not in ("seconds", "engine", "validation_loss")}
    rounds = [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["rounds"]]
    rest = {k: v for k, v in record.items() if k not in (*TIMES, "test_loss", "history")}
    return rest | {"training": training, "rounds": rounds}


def test_records_and_tickets_are_those_of_runs_alone(tmp_path: Path) -> None:
    found = ran(EXPERIMENTS, Session(store=Store(tmp_path)), at_once=3)
    # Group by group: the four of one workload, then the other.
    order = [EXPERIMENTS[place] for place in (0, 2, 3, 4, 1)]
    assert [record["digest"] for record, _ in found] == [experiment.digest for experiment in order]
    for (record, ticket), experiment in zip(found, order, strict=True):
        wanted, alone = experiment.run(Session(store=Store(tmp_path)))
        assert record.keys() == wanted.keys()
        assert comparable(record) == comparable(wanted)
        assert record["training"]["engine"] == "together"
        assert record["test_loss"] == pytest.approx(wanted["test_loss"], rel=1e-9)
        for one, other in zip(record["history"], wanted["history"], strict=True):
            assert one == pytest.approx(other, rel=1e-5)  # six digits are kept
        assert record["training"]["seconds"] < record["wall_seconds"]
        assert ticket.mask == alone.mask
        assert ticket.trained is not None
        assert alone.trained is not None
        for name, tensor in ticket.trained.items():
            torch.testing.assert_close(tensor, alone.trained[name], rtol=1e-9, atol=1e-9)
        network = experiment.workload.build(0, dtype=torch.float64)
        Ticket.load(ticket.save(tmp_path / "ticket.safetensors")).apply_to(network, trained=True)
        verify(network, ticket.mask)
        assert ticket.provenance["training"].keys() == alone.provenance["training"].keys()


def test_a_run_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = run(WORKLOAD, "snip", 1e-6, 1)  # keeps no weight
    experiments = [EXPERIMENTS[1], bad, run(OTHER, "snip", 0.1, 2)]
    outcomes = list(run_together(experiments))
    records = [found[0] for _, found in outcomes if isinstance(found, tuple)]
    assert [record["label"] for record in records] == ["magnitude", "snip"]
    ((failed, error),) = [entry for entry in outcomes if isinstance(entry[1], Exception)]
    assert failed is bad
    assert "keep" in str(error)

    def refuse(*arguments: Any, **settings: Any) -> None:
        raise ValueError("no training today")

    monkeypatch.setattr(scratchcard.sweeps.grouped_runs, "train_stacked", refuse)
    outcomes = list(run_together([experiments[0], experiments[2]]))
    assert [(e.digest, str(error)) for e, error in outcomes] == [
        (experiments[place].digest, "no training today") for place in (0, 2)
    ]


def test_a_group_too_large_for_the_memory_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def small(networks: Any, *arguments: Any, **settings: Any) -> Any:
        sizes.append(len(networks))
        if len(networks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_stacked(networks, *arguments, **settings)

    monkeypatch.setattr(scratchcard.sweeps.grouped_runs, "train_stacked", small)
    experiments = [run(OTHER, "random", 0.1, seed) for seed in range(4)]
    records = [record for record, _ in ran(experiments)]
    assert sizes == [4, 2, 2]
    assert [record["digest"] for record in records] == [experiment.digest for experiment in experiments]


def test_groups_of_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at_once must be at least 1, got 0"):
        list(run_together(EXPERIMENTS, at_once=0))


@pytest.mark.cuda
def test_on_a_gpu_as_on_the_cpu() -> None:
    experiments = [EXPERIMENTS[0], EXPERIMENTS[3]]
    for (record, ticket), experiment in zip(ran(experiments, Session("cuda")), experiments, strict=True):
        wanted, _ = experiment.run()
        assert record["test_accuracy"] == pytest.approx(wanted["test_accuracy"], abs=0.02)
        assert record["device"] == "cuda"
        assert all(tensor.device.type == "cpu" for tensor in (ticket.trained or {}).values())


def test_a_sweep_can_train_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Method.start

    def start(self: Method, workload: Workload, density: float, seed: int, **settings: Any) -> torch.nn.Module:
        if seed == 3:
            raise ValueError("no such weights")
        return real(self, workload, density, seed, **settings)

    monkeypatch.setattr(Method, "start", start)
    seen: list[str] = []
    swept = sweep(
        EXPERIMENTS, tmp_path, together=3, keep_tickets=True, each=lambda record, _: seen.append(record["digest"])
    )
    *good, bad = (EXPERIMENTS[place] for place in (0, 2, 3, 1, 4))
    assert (swept.ran, swept.failed) == (4, {bad.digest: "ValueError: no such weights"})
    assert seen == [experiment.digest for experiment in good]
    assert all(read_result(tmp_path, experiment.digest) is not None for experiment in good)
    assert read_failure(tmp_path, bad.digest) is not None
    assert {path.stem for path in (tmp_path / "tickets").glob("*")} == set(seen)
    # What is there is not run again, what failed is.
    monkeypatch.undo()
    swept = sweep(EXPERIMENTS, tmp_path, together=3, keep_tickets=True)
    assert (swept.ran, swept.failed) == (1, {})
    assert read_failure(tmp_path, bad.digest) is None


@pytest.mark.parametrize("elsewhere", [{"jobs": 2}, {"dask": "tcp://127.0.0.1:1"}])
def test_together_is_in_this_process(tmp_path: Path, elsewhere: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="in this process"):
        sweep(EXPERIMENTS, tmp_path, together=2, **elsewhere)
