"""train and evaluate: what a training promises, whatever engine runs it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from scratchcard.pruning.hold import verify
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.state import copy_state
from scratchcard.workloads.engines.training import Recipe, evaluate, train
from tests.workloads.training_toys import convolutional, perceptron, random_mask, toy_task

TASK = toy_task()
RECIPE = Recipe(batch_size=32, max_steps=60, evaluation_interval=10)
ENGINES = ("autograd", "dense", "sparse", "fused")


def same_state(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_plain_sgd_equals_a_written_out_loop() -> None:
    network, reference = perceptron(), perceptron()
    record = train(network, TASK, replace(RECIPE, max_steps=15, evaluation_interval=5), seed=4, restore_best=False)
    generator = torch.Generator().manual_seed(4)
    inputs, losses = TASK.train.inputs.double(), []
    steps = iter(range(15))
    for _ in range(2):
        order = torch.randperm(300, generator=generator)
        for start in range(0, 288, 32):
            if next(steps, None) is None:
                break
            rows = order[start : start + 32]
            loss = TASK.loss(reference(inputs[rows]), TASK.train.targets[rows])
            gradients = torch.autograd.grad(loss, list(reference.parameters()))
            losses.append(float(loss.detach()))
            with torch.no_grad():
                for parameter, gradient in zip(reference.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient
    for trained, wanted in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, wanted, rtol=1e-9, atol=1e-12)
    assert [e.step for e in record.history] == [5, 10, 15]
    assert record.history[0].train_loss == pytest.approx(sum(losses[:5]) / 5, rel=1e-9)
    assert record.history[2].train_loss == pytest.approx(sum(losses[10:]) / 5, rel=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9, "weight_decay": 1e-2, "learning_rate": 0.03},
        {"optimizer": "adam", "weight_decay": 1e-2},
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_pruned_weights_stay_exactly_zero(engine: str, settings: dict[str, object]) -> None:
    network = perceptron()
    mask = random_mask(network, 0.015, 0.2, 0.5)
    before = copy_state(network)
    train(
        network,
        TASK,
        replace(RECIPE, **settings),
        mask=mask,
        engine=engine,
        compact=False,
        restore_best=False,
    )
    verify(network, mask)
    kept = mask.tensors["3.weight"]
    assert bool((network.state_dict()["3.weight"][kept] != before["3.weight"][kept]).any())


@pytest.mark.parametrize("build", [perceptron, convolutional])
def test_a_masked_convolution_trains_and_keeps_its_zeros(build) -> None:
    network = build()
    mask = random_mask(network, 0.4)
    record = train(network, TASK, replace(RECIPE, momentum=0.9, weight_decay=1e-3), mask=mask)
    verify(network, mask)
    assert record.best_validation_loss < record.history[0].validation_loss or record.best_step == 10


@pytest.mark.parametrize("engine", ["autograd", "dense", "fused"])
def test_same_seed_same_result_other_seed_another(engine: str) -> None:
    runs = []
    for seed in (0, 0, 1):
        network = perceptron()
        train(network, TASK, RECIPE, mask=random_mask(network, 0.3), seed=seed, engine=engine)
        runs.append(network)
    assert same_state(runs[0], runs[1])
    assert not same_state(runs[0], runs[2])


def test_dropout_follows_the_seed_and_leaves_the_random_state_alone() -> None:
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 5))
        network.load_state_dict({name: torch.full_like(t, 0.1) for name, t in network.state_dict().items()})
        state = torch.get_rng_state()
        train(network, TASK, RECIPE, seed=7)
        assert torch.equal(state, torch.get_rng_state())
        runs.append(network)
    assert same_state(*runs)


def test_early_stopping_restores_the_best_state() -> None:
    network = perceptron()
    recipe = replace(RECIPE, learning_rate=0.6, max_steps=2000, patience=2)
    record = train(network, TASK, recipe)
    losses = [e.validation_loss for e in record.history]
    assert record.early_stopped
    assert not record.diverged
    assert record.steps < 2000
    assert record.best_validation_loss == min(losses)
    assert record.history[-1].step == record.best_step + 2 * 10
    assert evaluate(network, TASK, "validation").loss == pytest.approx(record.best_validation_loss, rel=1e-12)
    assert evaluate(network, TASK, "validation").accuracy == record.best_validation_metric
    last = perceptron()
    train(last, TASK, recipe, restore_best=False)
    assert evaluate(last, TASK, "validation").loss == pytest.approx(losses[-1], rel=1e-12)


@pytest.mark.parametrize("compact", [True, False])
def test_snapshots_are_full_size_copies_at_their_steps(compact: bool) -> None:
    network = perceptron()
    mask = random_mask(network, 0.05, 0.1, 0.3)
    mask.apply_to(network)
    before = copy_state(network)
    record = train(network, TASK, RECIPE, mask=mask, snapshot_steps=(0, 7, 60, 999), compact=compact)
    assert list(record.snapshots) == [0, 7, 60]
    assert all(torch.equal(record.snapshots[0][name], before[name]) for name in before)
    short = perceptron()
    train(short, TASK, replace(RECIPE, max_steps=7), mask=mask, compact=compact)
    for name, tensor in short.state_dict().items():
        torch.testing.assert_close(record.snapshots[7][name], tensor, rtol=1e-12, atol=0)
    kept = {name: tensor.clone() for name, tensor in record.snapshots[60].items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(5)
    assert all(torch.equal(record.snapshots[60][name], kept[name]) for name in kept)


@pytest.mark.parametrize("engine", ["autograd", "dense", "fused"])
def test_divergence_is_recorded_and_the_state_is_finite(engine: str) -> None:
    network = perceptron()
    mask = random_mask(network, 0.5)
    mask.apply_to(network)
    before = copy_state(network)
    record = train(network, TASK, replace(RECIPE, learning_rate=1e38), mask=mask, engine=engine)
    assert record.diverged
    assert record.early_stopped
    assert record.steps <= 10
    assert record.best_step == 0
    assert math.isinf(record.best_validation_loss)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_batch_normalisation_and_frozen_parameters_are_respected() -> None:
    network = convolutional()
    network[0].weight.requires_grad_(False)
    before = network[0].weight.clone()
    mean = network[1].running_mean.clone()
    network.eval()
    train(network, TASK, RECIPE)
    assert torch.equal(before, network[0].weight)
    assert not torch.equal(mean, network[1].running_mean)
    assert not network.training
    assert not network[1].training


def test_evaluate_is_the_mean_over_the_split() -> None:
    network = convolutional()
    network.train()
    network[1].eval()
    found = evaluate(network, TASK, "test")
    assert network.training
    assert not network[1].training
    network.eval()
    with torch.no_grad():
        outputs = network(TASK.test.inputs.double())
    assert found.loss == pytest.approx(float(TASK.loss(outputs, TASK.test.targets)), rel=1e-12)
    assert found.accuracy == float((outputs.argmax(1) == TASK.test.targets).double().mean())
    assert found.examples == 90


def test_progress_reaches_the_last_step() -> None:
    seen: list[tuple[int, int]] = []
    train(perceptron(), TASK, RECIPE, progress=lambda done, most: seen.append((done, most)))
    assert seen == [(step, 60) for step in range(10, 61, 10)]


def test_the_last_step_is_evaluated_too() -> None:
    record = train(perceptron(), TASK, replace(RECIPE, max_steps=13))
    assert [e.step for e in record.history] == [10, 13]
    assert not record.early_stopped


def test_auto_chooses_by_network_and_density() -> None:
    network = perceptron()
    recipe = replace(RECIPE, max_steps=2)
    assert train(network, TASK, recipe).engine == "dense"
    assert train(network, TASK, recipe, mask=random_mask(network, 0.1)).engine == "fused"
    assert train(network, TASK, recipe, mask=random_mask(network, 0.9)).engine == "dense"
    assert train(convolutional(), TASK, recipe).engine == "autograd"
    wide = convolutional()
    assert train(wide, TASK, recipe, mask=random_mask(wide, 1, 1, 0.01, 1), compact=False).engine == "sparse"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "warp"}, "unknown engine 'warp'"),
        ({"snapshot_steps": (-1,)}, "zero or more"),
        ({"recipe": Recipe(batch_size=301)}, "exceeds the 300 training examples"),
        ({"device": "tpu"}, "unknown device"),
        ({"engine": "sparse"}, "needs a mask"),
        ({"mask": Mask({})}, "the mask"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    recipe = arguments.pop("recipe", RECIPE)
    with pytest.raises(ValueError, match=message):
        train(perceptron(), TASK, recipe, **arguments)


def test_fused_refuses_what_it_cannot_train() -> None:
    with pytest.raises(ValueError, match="linear layers with ReLU"):
        train(convolutional(), TASK, RECIPE, engine="fused")
    with pytest.raises(ValueError, match="unknown split"):
        evaluate(perceptron(), TASK, "exam")


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"batch_size": 0},
        {"optimizer": "lion"},
        {"weight_decay": -1.0},
    ],
)
def test_recipe_refuses_numbers_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Recipe(**settings)
