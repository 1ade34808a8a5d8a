"""A training that is found in the store: the same to the bit as the one that was done."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratchcard.workloads.stored_training
from scratchcard.artefacts.store import Store
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.engines.training import TrainingRecord, train
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.stored_training import train_once
from scratchcard.workloads.workload import Workload
from tests.workloads.training_toys import convolutional, perceptron, toy_task

RECIPE = Recipe(max_steps=24, evaluation_interval=6, batch_size=32, learning_rate=0.05, momentum=0.9)
NETWORKS = {"perceptron": perceptron, "convolutional": convolutional}
STEPS = (0, 5, 24)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with every training that is really done."""
    done: list[None] = []

    def counting(*arguments: Any, **keywords: Any) -> TrainingRecord:
        done.append(None)
        return train(*arguments, **keywords)

    monkeypatch.setattr(scratchcard.workloads.stored_training, "train", counting)
    return done


def workload(recipe: Recipe = RECIPE) -> Workload:
    return Workload("toy", toy_task(), recipe)


def some(network: nn.Module, share: float = 0.3) -> Mask:
    generator = torch.Generator().manual_seed(5)
    return Mask({name: torch.rand(w.shape, generator=generator) < share for name, w in prunable(network).items()})


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """A zero's sign counts too."""
    return {name: bytes(t.detach().contiguous().reshape(-1).view(torch.uint8).numpy()) for name, t in tensors.items()}


def told(record: TrainingRecord) -> dict[str, Any]:
    found = {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name != "snapshots"}
    return found | {"snapshots": {step: bits(dict(state)) for step, state in record.snapshots.items()}}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_found_is_what_was_done_to_the_bit(
    tmp_path: Path, trainings: list[None], name: str, masked: bool
) -> None:
    store, keywords = Store(tmp_path), {"seed": 3, "snapshot_steps": STEPS}
    alone, first, second = (NETWORKS[name]() for _ in range(3))
    mask = some(alone) if masked else None
    record = train(alone, toy_task(), RECIPE, mask=mask, seed=3, snapshot_steps=STEPS)
    done = train_once(first, workload(), store=store, mask=mask, **keywords)
    assert len(trainings) == 1
    modes = [module.training for module in second.modules()]
    found = train_once(second, workload(), store=store, mask=mask, **keywords)
    assert len(trainings) == 1
    assert bits(alone.state_dict()) == bits(first.state_dict()) == bits(second.state_dict())
    assert told(done) == told(found)  # its seconds too
    assert told(found) | {"seconds": 0} == told(record) | {"seconds": 0}
    assert sorted(found.snapshots) == list(STEPS)
    assert all(type(entry.step) is int for entry in found.history)
    assert [module.training for module in second.modules()] == modes
    assert all(parameter.requires_grad for parameter in second.parameters())
    # What came from the store is the caller's own: nothing that is done to it comes back.
    for parameter in second.parameters():
        parameter.data.add_(1)
    third = NETWORKS[name]()
    train_once(third, workload(), store=store, mask=mask, **keywords)
    assert bits(third.state_dict()) == bits(first.state_dict())


def test_snapshots_come_back_in_the_networks_order(tmp_path: Path) -> None:
    for _ in range(2):
        network = convolutional()
        record = train_once(network, workload(), store=Store(tmp_path), snapshot_steps=(5,))
        assert list(record.snapshots[5]) == list(network.state_dict())


def test_of_pruned_weights_nothing_is_stored(tmp_path: Path) -> None:
    network, store = convolutional(), Store(tmp_path)
    mask = some(network, 0.1)
    train_once(network, workload(), store=store, mask=mask, snapshot_steps=(5,))
    (path,) = tmp_path.rglob("*.safetensors")
    found = store.get(path.stem)
    assert found is not None
    for name, tensor in network.state_dict().items():
        kept = int(mask.tensors[name].sum()) if name in mask.tensors else tensor.numel()
        assert found.tensors[f"end/{name}"].numel() == found.tensors[f"5/{name}"].numel() == kept


def test_what_decides_a_training_is_in_its_key(tmp_path: Path, trainings: list[None]) -> None:
    store = Store(tmp_path)
    other = perceptron()
    next(iter(other.parameters())).data[0, 0] += 1e-12
    variants: list[tuple[nn.Module, Workload, dict[str, Any]]] = [
        (perceptron(), workload(), {}),
        (other, workload(), {}),
        (perceptron(), workload(dataclasses.replace(RECIPE, momentum=0.8)), {}),
        (perceptron(), workload(), {"seed": 1}),
        (perceptron(), workload(), {"snapshot_steps": (3,)}),
        (perceptron(), workload(), {"mask": some(perceptron())}),
        (perceptron(), workload(), {"mask": some(perceptron(), 0.31)}),
        (perceptron().float(), workload(), {}),
        (nn.Sequential(*perceptron(), nn.Identity()), workload(), {}),
        (perceptron(), dataclasses.replace(workload(), network="another"), {}),
    ]
    for network, where, keywords in variants:
        train_once(network, where, store=store, **keywords)
    assert len(trainings) == len(variants)


def test_what_changes_nothing_is_not_in_the_key(tmp_path: Path, trainings: list[None]) -> None:
    store, network = Store(tmp_path), perceptron()
    train_once(network, workload(), store=store, snapshot_steps=(3, 5))
    dense = Mask({name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(network).items()})
    for keywords in (
        {"device": torch.device("cpu")},
        {"device": "cpu", "snapshot_steps": [5, 3]},
        {"mask": dense},
        {"progress": lambda *_: None},
    ):
        again = perceptron()
        train_once(again, workload(), store=store, **{"snapshot_steps": (3, 5), **keywords})
        assert bits(again.state_dict()) == bits(network.state_dict())
    assert len(trainings) == 1


def test_without_a_store_it_trains(trainings: list[None]) -> None:
    for _ in range(2):
        train_once(perceptron(), workload(), store=None)
    assert len(trainings) == 2


def test_a_diverged_training_comes_back_as_it_was(tmp_path: Path, trainings: list[None]) -> None:
    store, wild = Store(tmp_path), workload(dataclasses.replace(RECIPE, learning_rate=1e30))
    first, second = perceptron(), perceptron()
    done = train_once(first, wild, store=store)
    assert done.diverged
    assert done.best_validation_loss == math.inf
    found = train_once(second, wild, store=store)
    assert len(trainings) == 1
    assert repr(told(found)) == repr(told(done))  # NaN is not itself
    assert bits(second.state_dict()) == bits(first.state_dict()) == bits(perceptron().state_dict())


def test_a_damaged_file_is_trained_again(tmp_path: Path, trainings: list[None]) -> None:
    store, first, second = Store(tmp_path), perceptron(), perceptron()
    train_once(first, workload(), store=store)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    train_once(second, workload(), store=store)
    assert len(trainings) == 2
    assert bits(second.state_dict()) == bits(first.state_dict())
    train_once(perceptron(), workload(), store=store)
    assert len(trainings) == 2


def test_trainings_of_a_gpu_are_kept_apart(
    tmp_path: Path, trainings: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    train_once(perceptron(), workload(), store=store)
    monkeypatch.setattr(scratchcard.workloads.stored_training, "choose_device", lambda _: torch.device("cuda", 1))
    for _ in range(2):
        train_once(perceptron(), workload(), store=store)  # on the CPU in truth
    assert len(trainings) == 2
    monkeypatch.setattr(scratchcard.workloads.stored_training, "choose_device", lambda _: torch.device("cuda"))
    train_once(perceptron(), workload(), store=store)
    assert len(trainings) == 2


def test_stores_keep_the_names_that_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[dict[str, Any]] = []
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda self, key, stored: kept.append(stored.about) or put(self, key, stored))
    record = train_once(perceptron(), workload(), store=Store(tmp_path))
    assert kept[0]["best_validation_accuracy"] == record.best_validation_metric
    assert "best_validation_metric" not in kept[0]
