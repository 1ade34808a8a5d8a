"""TensorBoard logs, read back."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.sweep import sweep
from scratchcard.sweeps.tensorboard import Logs, run_folder
from tests.sweeps.sweeping import IMP, runs, workload

Found = tuple[dict[str, Any], Ticket]


@pytest.fixture(scope="module")
def found() -> Found:
    return Experiment(workload(), IMP, 0.05, 3).run()


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0})
    events.Reload()
    return events


def scalars(events: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(name)]


def near(pairs: list[tuple[int, float]]) -> Any:
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in pairs]


def test_all_of_a_run_is_read_back(found: Found, tmp_path: Path) -> None:
    record, ticket = found
    place = Logs(tmp_path, {"digits": 1257}).write(record, ticket)
    assert place == tmp_path / "lenet_300_100-digits" / "magnitude_ISS_2" / "d0.05" / "s3"
    events = read(place)
    history, best = record["history"], record["training"]["best_step"]
    assert len(history) == 5
    assert scalars(events, "loss/train") == near([(entry[0], entry[1]) for entry in history])
    assert scalars(events, "loss/validation") == near([(entry[0], entry[2]) for entry in history])
    assert scalars(events, "accuracy/validation") == near([(entry[0], entry[3]) for entry in history])
    assert scalars(events, "accuracy/test") == near([(best, record["test_accuracy"])])
    assert scalars(events, "loss/test") == near([(best, record["test_loss"])])
    assert scalars(events, "density") == near([(0, record["kept"] / record["prunable"])])
    assert scalars(events, "density/effective") == near([(0, record["effective_density"])])
    assert scalars(events, "seconds/pruning") == near([(0, record["pruning_seconds"])])
    seconds = record["training"]["seconds"]
    assert scalars(events, "seconds/training") == near([(0, seconds)])
    assert scalars(events, "seconds/epoch") == near([(0, seconds / 100 * 19)])  # 100 steps; 1257 // 64 = 19 an epoch
    rounds = list(enumerate(record["rounds"], start=1))
    assert len(rounds) == 2
    assert scalars(events, "rounds/density") == near([(number, entry["density"]) for number, entry in rounds])
    assert scalars(events, "rounds/accuracy") == near([(n, entry["validation_accuracy"]) for n, entry in rounds])
    assert scalars(events, "rounds/seconds") == near([(number, entry["seconds"]) for number, entry in rounds])
    text = events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("magnitude, ISS 2")
    assert '"max_steps": 100' in text


def test_histograms_hold_the_kept_weights_alone(found: Found, tmp_path: Path) -> None:
    record, ticket = found
    events = read(Logs(tmp_path).write(record, ticket))
    assert ticket.trained is not None
    for name, mask in ticket.mask.tensors.items():
        for when, state, step in (
            ("initial", ticket.initial, 0),
            ("trained", ticket.trained, record["training"]["best_step"]),
        ):
            (event,) = events.Histograms(f"{when}/{name}")
            kept = state[name][mask].double()
            assert event.step == step
            assert event.histogram_value.num == mask.sum()
            assert event.histogram_value.sum == pytest.approx(float(kept.sum()), rel=1e-5)
            assert (event.histogram_value.min, event.histogram_value.max) == pytest.approx(
                (float(kept.min()), float(kept.max())), rel=1e-6
            )
            assert np.sum(event.histogram_value.bucket) == mask.sum()
    assert "seconds/epoch" not in events.Tags()["scalars"]  # the number of examples is not known


def test_what_a_run_has_not_is_left_out(found: Found, tmp_path: Path) -> None:
    record = copy.deepcopy(found[0])
    record |= {"test_loss": None, "rounds": [], "label": "a/b: c, d"}
    record["history"] = [[20, None, None, 0.1], [40, 0.5, 0.6, 0.7]]
    record["training"]["steps"] = 0
    place = Logs(tmp_path, {"digits": 1257}).write(record, None)
    assert place.parent.parent.name == "a_b_c_d"
    events = read(place)
    assert scalars(events, "loss/train") == near([(40, 0.5)])
    assert scalars(events, "accuracy/validation") == near([(20, 0.1), (40, 0.7)])
    assert events.Tags()["histograms"] == []
    assert not {"loss/test", "rounds/density", "seconds/epoch"} & set(events.Tags()["scalars"])
    del record["history"]  # records of earlier releases have none
    assert "loss/train" not in read(Logs(tmp_path / "early").write(record, None)).Tags()["scalars"]


def test_a_layer_without_kept_weights_has_no_histogram(found: Found, tmp_path: Path) -> None:
    record, ticket = found
    first = next(iter(ticket.mask.tensors))
    ticket = copy.deepcopy(ticket)
    dict(ticket.mask.tensors)[first].zero_()
    assert ticket.trained is not None
    ticket.trained[list(ticket.mask.tensors)[1]].fill_(torch.nan)  # type: ignore[index]
    names = read(Logs(tmp_path).write(record, ticket)).Tags()["histograms"]
    assert f"initial/{first}" not in names
    assert len(names) == 3


def test_written_again_the_logs_are_replaced(found: Found, tmp_path: Path) -> None:
    record, ticket = found
    logs = Logs(tmp_path)
    logs.write(record, ticket)
    foreign = tmp_path / run_folder(record) / "events.out.tfevents.1.machine.2.3"
    foreign.touch()
    events = read(logs.write(record | {"test_accuracy": 0.25}, ticket))
    assert [value for _, value in scalars(events, "accuracy/test")] == [0.25]
    foreign.unlink()  # another program's stays
    assert len(list((tmp_path / run_folder(record)).iterdir())) == 1


def test_a_sweep_writes_each_of_its_runs(tmp_path: Path) -> None:
    experiments = runs([Method("snip"), Method("random")], seeds=(1,))
    sweep(experiments, tmp_path / "results", each=Logs(tmp_path / "logs").write)
    places = sorted(path.parent for path in (tmp_path / "logs").rglob("events*"))
    assert [path.parent.parent.name for path in places] == ["random", "snip"]
    assert all("trained/1.weight" in read(place).Tags()["histograms"] for place in places)


def test_without_tensorboard_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'scratchcard\[tensorboard\]'"):
        Logs(tmp_path)
