"""Prune, train, evaluate: the record, the ticket, the sweep."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.pruning.hold import verify
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.run_records import read_result
from scratchcard.sweeps.sweep import run_all
from scratchcard.workloads.engines.training import Evaluated, Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=120, evaluation_interval=20, scoring_examples=200)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


def test_one_run(workload: Workload, tmp_path: Path) -> None:
    experiment = Experiment(workload, Method.of("synflow", regime="UMS", rounds=10), 0.05, seed=3)
    record, ticket = experiment.run()
    assert json.loads(json.dumps(record)) == record
    assert record["digest"] == experiment.digest
    assert record["kept"] == round(0.05 * record["prunable"]) == ticket.mask.kept
    assert 0.5 < record["test_accuracy"] <= 1
    assert 0.04 < record["effective_density"] <= 0.05
    # The ticket on disk is the ticket: initial weights of the seed, pruned weights zero after training.
    loaded = Ticket.load(ticket.save(tmp_path / "ticket.safetensors"))
    assert all(torch.equal(loaded.initial[n], t) for n, t in workload.build(3).state_dict().items())
    network = workload.build(0)
    loaded.apply_to(network, trained=True)
    verify(network, loaded.mask)
    assert evaluate_ticket(loaded, workload).accuracy == record["test_accuracy"]


def test_a_record_of_another_metric_says_which(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(workload, Method("magnitude"), 0.1, seed=1)
    record, ticket = experiment.run()
    assert "metric" not in record
    _, trained = train_ticket(ticket, workload, 1)
    measured = Evaluated(0.4, {"r2": 0.75, "mae": float("nan")}, 100)
    monkeypatch.setattr("scratchcard.apply.experiment.evaluate_ticket", lambda *_, **__: measured)
    other = experiment.result(ticket, trained, seconds=0)
    assert (other["test_accuracy"], other["metric"], other["test_metrics"]) == (0.75, "r2", {"r2": 0.75, "mae": None})
    assert other.keys() - record.keys() == {"metric", "test_metrics"}


def test_the_identity_of_a_run_is_all_that_decides_its_result(workload: Workload) -> None:
    base = Experiment(workload, Method("snip"), 0.05, 1)
    same = Experiment(Workload("lenet_300_100", load_task("digits"), RECIPE), Method("snip"), 0.05, 1)
    assert base.digest == same.digest
    longer = Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=121))
    others = [
        Experiment(longer, Method("snip"), 0.05, 1),
        Experiment(workload, Method("snip", regime="UMS"), 0.05, 1),
        Experiment(workload, Method("snip"), 0.06, 1),
        Experiment(workload, Method("snip"), 0.05, 2),
        Experiment(workload, Method("snip"), 0.05, 1, torch.float64),
    ]
    assert len({e.digest for e in [base, *others]}) == 6
    assert Experiment(workload, Method("snip"), 1, 1).digest == Experiment(workload, Method("snip"), 1.0, 1).digest


def test_weights_count_by_what_they_are_not_by_where_they_lie(workload: Workload, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first", "second", "other")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        save_file(workload.build(seed).state_dict(), path)
    found = [Experiment(dataclasses.replace(workload, weights=path), Method("snip"), 0.05, 1) for path in paths]
    assert found[0].digest == found[1].digest
    assert (
        len({experiment.digest for experiment in found} | {Experiment(workload, Method("snip"), 0.05, 1).digest}) == 3
    )
    assert found[0].describe()["workload"]["weights"] == str(paths[0])  # told all the same


def test_a_sweep_runs_each_once_and_mends_damaged_records(workload: Workload, tmp_path: Path) -> None:
    experiments = [Experiment(workload, Method(name), 0.05, 1) for name in ("random", "magnitude", "random")]
    progress: list[tuple[int, int]] = []
    first = run_all(experiments, tmp_path, progress=lambda done, total: progress.append((done, total)))
    assert [record["label"] for record in first] == ["random", "magnitude", "random"]
    assert progress == [(0, 2), (1, 2), (2, 2)]
    files = sorted(tmp_path.glob("[!.]*.json"))
    assert len(files) == 2
    times = [path.stat().st_mtime_ns for path in files]
    assert run_all(experiments, tmp_path) == first
    assert [path.stat().st_mtime_ns for path in files] == times
    files[0].write_text(files[0].read_text()[:100])
    assert read_result(tmp_path, files[0].stem) is None
    again = run_all(experiments, tmp_path, jobs=2)
    assert [r["test_accuracy"] for r in again] == [r["test_accuracy"] for r in first]


def test_scores_as_weights_become_the_tickets_initial_weights(workload: Workload) -> None:
    method = Method("magnitude", initial="saw", initial_scorer="snip")
    ticket = find_ticket(workload, method, 0.05, seed=2)
    given = workload.build(2).state_dict()["1.weight"]
    saw = ticket.initial["1.weight"]
    assert float(max(t.abs().max() for n, t in ticket.initial.items() if n.endswith("weight"))) == 1.0
    assert torch.equal(saw.sign()[saw != 0], given.sign()[saw != 0])
    trained, record = train_ticket(ticket, workload, seed=2)
    assert record.steps > 0
    assert trained.trained is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scorer": "synflo"}, "did you mean 'synflow'"),
        ({"scorer": "snip", "predictor": "somewhere"}, "use the scorer 'predicted'"),
        ({"scorer": "snip", "regime": "USS", "rounds": 3}, "USS has no setting rounds"),
        ({"scorer": "snip", "regime": "IMS", "shots": 0}, "IMS's shots is 0"),
        ({"scorer": "snip", "initial": "zeros"}, "initial is"),
        ({"scorer": "snip", "initial_scorer": "snip"}, "need an initial scorer"),
        ({"scorer": "snip", "scope": "unit"}, "USS's scope is"),
        ({"scorer": "snip", "shots": 3}, "has no setting shots"),
        ({"scorer": "snip", "rewind_step": 3}, "USS has no setting rewind_step"),
        ({"scorer": "snip", "schedule": "cubic"}, "USS has no setting schedule"),
    ],
)
def test_methods_that_make_no_sense_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method.of(**arguments)  # type: ignore[arg-type]


def test_labels_are_short_and_tell_methods_apart() -> None:
    methods = [
        Method("snip"),
        Method("snip", regime="UMS"),
        Method.of("synflow", on="snip", regime="UMS", rounds=20),
        Method("magnitude", regime="ISS"),
        Method("magnitude", initial="saw", initial_scorer="snip"),
        Method.of("snip", regime="IMS", schedule="cubic", scope="layer", rewind_step=50, shots=3),
    ]
    assert [m.label for m in methods] == [
        "snip",
        "snip, UMS 100",
        "synflow on snip, UMS 20",
        "magnitude, ISS 10",
        "magnitude, saw snip",
        "snip, IMS 10 x 3, cubic, scope layer, rewind 50",
    ]


def test_a_regime_that_chooses_its_density_is_no_dense_network() -> None:
    workload = Workload("lenet_300_100", load_task("digits"))
    with pytest.raises(ValueError, match="Supermask chooses its density"):
        Experiment(workload, Method("magnitude", regime="Supermask"), 1.0, seed=0)
    assert Experiment(workload, Method("magnitude", regime="Supermask"), 0.99, seed=0).label == "magnitude, Supermask"
