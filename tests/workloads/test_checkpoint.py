"""A training that is broken off and resumed ends as one that was not, to the bit; another training is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import scratchcard as sc
from scratchcard.pruning.state import load_state
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.fused import FusedEngine
from scratchcard.workloads.engines.training import TrainingRecord, train
from scratchcard.workloads.engines.vmap import StackedEngine
from scratchcard.workloads.recipe import Recipe
from tests.workloads.training_toys import convolutional, perceptron, random_mask, toy_task

TASK = toy_task()
RECIPE = Recipe(batch_size=32, max_steps=40, evaluation_interval=9, patience=99, learning_rate=0.02)
RECIPES = {
    "sgd": RECIPE,
    "cosine": replace(RECIPE, learning_rate_schedule="cosine", warmup_steps=5, momentum=0.9, weight_decay=1e-3),
    "adam": replace(RECIPE, optimizer="adam", learning_rate=0.01),
    "adamw": replace(RECIPE, optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
    "images": replace(RECIPE, augmentation="crop_flip", channels_last=True, precision="bfloat16"),
}


class Stopped(Exception):
    """Breaks a training off."""


def with_dropout() -> nn.Module:
    network = convolutional()
    network.append(nn.Dropout(0.3))
    return network


def breaking(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """The stretch of steps of that number is broken off in its middle."""
    calls = [0]
    for kind in (AutogradEngine, StackedEngine, FusedEngine):
        real: Callable[..., Any] = kind.run

        def run(self: Any, order: torch.Tensor, real: Callable[..., Any] = real) -> torch.Tensor:
            calls[0] += order.shape[1] > 1  # the trial before is of one step
            if calls[0] == call and order.shape[1] > 1:
                real(self, order[:, : order.shape[1] // 2])
                raise KeyboardInterrupt
            return real(self, order)

        monkeypatch.setattr(kind, "run", run)


def same(one: TrainingRecord, other: TrainingRecord) -> bool:
    told = [(r.steps, r.best_step, r.history, r.engine, r.early_stopped, r.diverged) for r in (one, other)]
    states = [{f"{step}/{n}": t for step, s in r.snapshots.items() for n, t in s.items()} for r in (one, other)]
    return told[0] == told[1] and equal(*states)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(t, other[name]) for name, t in one.items())


# The first stretches end at 9, 12 (a snapshot), 18, 27; the sixth is the last.
@pytest.mark.parametrize(
    ("engine", "build", "recipe", "call"),
    [
        *(("autograd", with_dropout, "cosine", call) for call in (1, 2, 3, 5, 6)),
        ("autograd", convolutional, "adamw", 3),
        ("dense", perceptron, "sgd", 3),
        ("dense", perceptron, "adam", 5),
        ("sparse", perceptron, "cosine", 3),
        ("fused", perceptron, "adam", 3),
        ("fused", perceptron, "cosine", 5),
        ("auto", with_dropout, "images", 3),
    ],
)
def test_a_resumed_training_ends_as_one_that_was_not_broken_off(
    engine: Any, build: Any, recipe: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = RECIPES[recipe]
    network = build()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    how: dict[str, Any] = {"mask": random_mask(network, *_densities(network)), "engine": engine, "seed": 3}
    how |= {"snapshot_steps": (0, 12), "restore_best": recipe != "cosine"}
    wanted = train(network, TASK, chosen, **how)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    load_state(network, start)
    path = tmp_path / "training"
    with monkeypatch.context() as patched:
        breaking(patched, call)
        with pytest.raises(KeyboardInterrupt):
            train(network, TASK, chosen, **how, checkpoint=Checkpoint(path))
    assert path.exists() == (call > 1)  # before the first stretch is done there is nothing to keep
    load_state(network, start)
    torch.manual_seed(99)  # the caller's random state is another
    checkpoint = Checkpoint(path, resume=True)
    resumed = train(network, TASK, chosen, **how, checkpoint=checkpoint)
    assert checkpoint.resumed == {1: 0, 2: 9, 3: 12, 5: 27, 6: 36}[call]
    assert same(resumed, wanted)
    assert equal(dict(network.state_dict()), state)


def _densities(network: nn.Module) -> tuple[float, ...]:
    return (0.015, 0.05, 0.3) if len(list(network.parameters())) == 6 else (0.3, 0.3, 0.2, 0.5)


def test_it_is_written_now_and_then_and_stays_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, path = perceptron(), tmp_path / "deep" / "training"
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    written = []

    def killed(step: int, most: int) -> None:
        written.append(path.exists())
        if step == 27:
            monkeypatch.setattr(Checkpoint, "write", lambda self: None)  # no time for it
            raise Stopped

    with pytest.raises(Stopped):
        train(network, TASK, RECIPE, progress=killed, checkpoint=Checkpoint(path, every=0))
    assert written == [True, True, True]
    monkeypatch.undo()
    load_state(network, start)
    checkpoint = Checkpoint(path, resume=True)
    train(network, TASK, RECIPE, checkpoint=checkpoint)
    assert checkpoint.resumed == 27
    rare = Checkpoint(tmp_path / "rare", every=1000)
    train(perceptron(), TASK, RECIPE, checkpoint=rare)
    assert not rare.path.exists()
    assert checkpoint.path.exists()  # until whoever has the outcome removes it
    checkpoint.remove()
    assert not checkpoint.path.exists()


def test_the_seconds_before_count(tmp_path: Path) -> None:
    path, network = tmp_path / "training", perceptron()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    checkpoint = Checkpoint(path, every=0)

    def stop(step: int, most: int) -> None:
        checkpoint._spent, checkpoint._kept = (lambda: 500.0), {"a": torch.zeros(1)} if step < 0 else checkpoint._kept
        if step >= 18:
            raise Stopped

    with pytest.raises(Stopped):
        train(network, TASK, RECIPE, progress=stop, checkpoint=checkpoint)
    load_state(network, start)
    record = train(network, TASK, RECIPE, checkpoint=Checkpoint(path, resume=True))
    assert 500 < record.seconds < 600


def test_a_disk_that_takes_nothing_ends_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the training cannot be kept in .*training"):
        record = train(perceptron(), TASK, RECIPE, checkpoint=Checkpoint(tmp_path / "file" / "training", every=0))
    assert record.steps == 40


@pytest.fixture
def broken_off(tmp_path: Path) -> Path:
    path = tmp_path / "training"

    def stop(step: int, most: int) -> None:
        raise Stopped

    network = perceptron()
    with pytest.raises(Stopped):
        train(network, TASK, RECIPE, mask=random_mask(network, 0.3), seed=3, progress=stop, checkpoint=Checkpoint(path))
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": replace(RECIPE, learning_rate=0.05)}, r"the recipe's learning_rate was another \(0.02, not 0.05\)"),
        ({"recipe": replace(RECIPE, warmup_steps=3)}, r"the recipe's warmup_steps was another \(the default, not 3\)"),
        ({"task": toy_task(seed=1)}, "the data was another"),
        ({"seed": 4}, r"the seed was another \(3, not 4\)"),
        ({"mask": 0.5}, "the mask was another"),
        ({"network": perceptron(2)}, "the initial weights was another"),
        ({"network": "elu"}, "the network's code was another"),
        ({"engine": "autograd"}, "the engine was another"),
        ({"snapshot_steps": (5,)}, "the rewinding steps was another"),
    ],
)
def test_another_training_is_refused_by_what_differs(broken_off: Path, change: dict[str, Any], told: str) -> None:
    network = change.pop("network", None) or perceptron()
    if network == "elu":
        network = perceptron()
        network[2] = nn.ELU()
        change["engine"] = "auto"
    mask = random_mask(perceptron(), change.pop("mask", 0.3))
    task = change.pop("task", TASK)
    task = replace(task, digest=str(float(task.train.tensor.sum())) if task is not TASK else "0")
    recipe = change.pop("recipe", RECIPE)
    with pytest.raises(ValueError, match=rf"training is of a training of which {told}.*resume it with the same"):
        train(network, task, recipe, mask=mask, checkpoint=Checkpoint(broken_off, resume=True), **{"seed": 3} | change)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_file_is_refused(broken_off: Path, damage: str) -> None:
    content = bytearray(broken_off.read_bytes())
    content[len(content) // 2] ^= 1
    half = content[: len(content) // 2]
    broken_off.write_bytes({"flip": content, "cut": half, "empty": b"", "other": b"a text"}[damage])
    with pytest.raises(ValueError, match=r"training cannot be resumed from .*delete it, or begin anew"):
        train(perceptron(), TASK, RECIPE, seed=3, checkpoint=Checkpoint(broken_off, resume=True))


def test_without_resuming_it_begins_anew(broken_off: Path) -> None:
    checkpoint = Checkpoint(broken_off)
    train(perceptron(), TASK, replace(RECIPE, learning_rate=0.05), checkpoint=checkpoint)
    assert checkpoint.resumed == 0


def test_a_ticket_goes_on_in_python(tmp_path: Path) -> None:
    recipe, path = replace(RECIPE, max_steps=60), tmp_path / "training"
    ticket = sc.prune("lenet_300_100", "digits", 0.1, method="magnitude", recipe=recipe)
    wanted, record = sc.train(ticket, "lenet_300_100", "digits")

    def stop(step: int, most: int) -> None:
        if step >= 18:
            raise Stopped

    with pytest.raises(Stopped):
        sc.train(ticket, "lenet_300_100", "digits", checkpoint=path, progress=stop)
    assert path.exists()
    resumed, again = sc.train(ticket, "lenet_300_100", "digits", checkpoint=path)
    assert not path.exists()
    assert wanted.trained is not None
    assert resumed.trained is not None
    assert equal(dict(resumed.trained), dict(wanted.trained))
    assert same(record, again)
