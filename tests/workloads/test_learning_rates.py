"""Recipes against torch's own optimisers and schedulers, in a loop of their own in float64; and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler

from scratchcard.pruning.compaction import compact
from scratchcard.setting import SettingError
from scratchcard.settings import settings_of
from scratchcard.workloads.engines.engine import place_split
from scratchcard.workloads.engines.loop import batches
from scratchcard.workloads.engines.perceptron import PerceptronEngine
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.engines.vmap import StackedEngine
from scratchcard.workloads.learning_rates import learning_rates
from scratchcard.workloads.objectives import MultiLabel
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.workload import Workload
from tests.workloads.training_toys import convolutional, perceptron, random_mask, toy_task

STEPS, WARM = 60, 7
TASK = toy_task()
BASE = Recipe(batch_size=32, max_steps=STEPS, evaluation_interval=20, learning_rate=0.05)
Scheduler = Callable[[Optimizer], lr_scheduler.LRScheduler]


def warm(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    return lr_scheduler.LinearLR(optimizer, 1 / WARM, total_iters=WARM - 1)


def cosine_after_warmup(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, STEPS - WARM)
    return lr_scheduler.SequentialLR(optimizer, [warm(optimizer), cosine], [WARM])


def steps_after_warmup(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    steps = lr_scheduler.MultiStepLR(optimizer, [30, 45], 0.2)
    return lr_scheduler.ChainedScheduler([warm(optimizer), steps])


SGD_FAST = {"learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-2}
STEP = {"learning_rate_schedule": "step", "milestone_factor": 0.2}
CASES: dict[str, tuple[dict[str, Any], Callable[[Any], Optimizer], Scheduler | None]] = {
    "warmup": ({"warmup_steps": WARM, "weight_decay": 1e-2}, lambda p: SGD(p, 0.05, weight_decay=1e-2), warm),
    "cosine": (
        {"learning_rate_schedule": "cosine", **SGD_FAST},
        lambda p: SGD(p, 0.03, momentum=0.9, weight_decay=1e-2),
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    ),
    "cosine_warm": (
        {"learning_rate_schedule": "cosine", "warmup_steps": WARM, "optimizer": "adam", "learning_rate": 0.01},
        lambda p: Adam(p, 0.01),
        cosine_after_warmup,
    ),
    "step": (
        {**STEP, "milestones": (0.5, 45), "warmup_steps": WARM, **SGD_FAST},
        lambda p: SGD(p, 0.03, momentum=0.9, weight_decay=1e-2),
        steps_after_warmup,
    ),
    "nesterov": (
        {"nesterov": True, "learning_rate_schedule": "cosine", **SGD_FAST},
        lambda p: SGD(p, 0.03, momentum=0.9, weight_decay=1e-2, nesterov=True),
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    ),
    "adamw": (
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.3, **STEP},
        lambda p: AdamW(p, 0.01, weight_decay=0.3),
        lambda o: lr_scheduler.MultiStepLR(o, [30, 45], 0.2),
    ),
    "smoothed": ({"label_smoothing": 0.1}, lambda p: SGD(p, 0.05), None),
}
STACKS: dict[str, type[StackedEngine]] = {"stacked": StackedEngine, "stacked_dense": PerceptronEngine}
FUSED = ("warmup", "cosine", "cosine_warm", "step")


def recipe_of(case: str) -> Recipe:
    return replace(BASE, **CASES[case][0])


def by_torch(case: str, network: nn.Module, mask: Any, seed: int = 0) -> dict[str, torch.Tensor]:
    """Plain torch: masked by setting pruned weights to zero after every step, whatever moved them."""
    recipe, (_, optimizer_of, scheduler_of) = recipe_of(case), CASES[case]
    network = copy.deepcopy(network).train()
    split, order = place_split(TASK.train, network, torch.device("cpu")), batches(300, 32, seed)
    mask.apply_to(network)
    optimizer = optimizer_of(list(network.parameters()))
    scheduler = None if scheduler_of is None else scheduler_of(optimizer)
    for _ in range(STEPS):
        rows = next(order)
        optimizer.zero_grad()
        outputs = network(split.tensor[rows])
        F.cross_entropy(outputs, split.targets[rows], label_smoothing=recipe.label_smoothing).backward()
        for name, kept in mask.tensors.items():
            network.get_parameter(name).grad.mul_(kept)
        optimizer.step()
        mask.apply_to(network)
        if scheduler is not None:
            scheduler.step()
    return network.state_dict()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["autograd", "dense", "sparse", "fused", "compacted", *STACKS])
def test_every_engine_trains_as_torch_does(engine: str, case: str) -> None:
    network, recipe = perceptron(), recipe_of(case)
    mask = random_mask(network, 0.015, 0.05, 0.3)
    wanted = by_torch(case, network, mask)
    if engine == "fused" and case not in FUSED:
        with pytest.raises(ValueError, match=r"the fused engine does not know (the optimizer adamw|nesterov|label_sm)"):
            train(network, TASK, recipe, mask=mask, engine="fused")
        engine = "auto"  # goes on with another
    if engine in STACKS:
        mask.apply_to(network)
        data = place_split(TASK.train, network, torch.device("cpu"))
        stack = STACKS[engine]([perceptron(7), network], [None, mask], TASK.objective, recipe, data)
        orders = [batches(300, 32, seed) for seed in (3, 0)]
        for steps in (25, STEPS - 25):  # the schedule goes on where it was
            stack.run(torch.stack([torch.stack([next(order) for _ in range(steps)]) for order in orders]))
        network.load_state_dict(stack.state(1))
    else:
        how: dict[str, Any] = {"engine": engine, "compact": False}
        if engine == "compacted":
            how = {"engine": "dense", "compact": True}
        record = train(network, TASK, recipe, mask=mask, restore_best=False, **how)
        assert record.steps == STEPS
    near = {"rtol": 1e-6, "atol": 1e-9} if recipe.optimizer != "sgd" else {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(network.state_dict(), dict(wanted), **near)


@pytest.mark.parametrize("case", ["step", "nesterov", "adamw"])
def test_what_compaction_removed_decays_by_the_schedule(case: str) -> None:
    network, recipe = convolutional(), recipe_of(case)
    mask = random_mask(network, 0.08, 0.08, 0.05, 0.2)
    wanted = by_torch(case, network, mask)
    started = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train(network, TASK, recipe, mask=mask, restore_best=False)
    small = compact(convolutional(), mask, decay=True).network
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
    for name, tensor in network.state_dict().items():
        if "running" not in name:  # the statistics of a removed unit stand still
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-6, atol=1e-9)
    moved = [name for name in started if name.endswith("bias") and not torch.equal(started[name], wanted[name])]
    assert moved


def test_the_rate_at_the_edges() -> None:
    step = replace(BASE, learning_rate=1.0, learning_rate_schedule="step", milestones=(10, 0.5), warmup_steps=2)
    rates = learning_rates(step, 0, STEPS)
    assert [rates[i] for i in (0, 1, 2, 9, 10, 29, 30, 59)] == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert learning_rates(step, 8, 5) == rates[8:13]
    assert learning_rates(replace(step, warmup_steps=2 / STEPS), 0, STEPS) == rates  # a share of the same length
    cosine = learning_rates(step.changed(learning_rate_schedule="cosine"), 0, STEPS)
    assert cosine[:3] == [0.5, 1.0, 1.0]
    assert cosine == cosine[:2] + sorted(cosine[2:], reverse=True)
    assert 0 < cosine[-1] < 0.01
    assert learning_rates(Recipe(), 12_000, 2) == [0.1, 0.1]


def test_the_validation_loss_is_not_smoothed() -> None:
    found = []
    for smoothing in (0.0, 0.5):
        recipe = replace(BASE, label_smoothing=smoothing, learning_rate=1e-12, max_steps=1, evaluation_interval=1)
        record = train(perceptron(), TASK, recipe, engine="autograd")
        found.append((record.history[0].validation_loss, record.history[0].train_loss))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    assert abs(found[0][1] - found[1][1]) > 0.01


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"nesterov": True}, "nesterov is true, which is for SGD with momentum only"),
        ({"nesterov": True, "momentum": 0.9, "optimizer": "adam"}, "nesterov is true, which is for SGD"),
        ({"milestones": (0.5,)}, r"milestones is \[0.5\], which is for the step schedule only"),
        ({"milestones": (0.5,), "learning_rate_schedule": "cosine"}, "milestones is .* the step schedule only"),
        ({"milestone_factor": 0.5}, "milestone_factor is 0.5, which is for the step schedule only"),
        ({"learning_rate_schedule": "step", "milestones": (0.75, 0.5)}, "expected ascending steps, or shares"),
        ({"learning_rate_schedule": "step", "milestones": (0.5, 1.5)}, "expected ascending steps"),
        ({"learning_rate_schedule": "step", "milestones": (0,)}, "milestones is"),
        ({"warmup_steps": 100, "max_steps": 100}, "warmup_steps is 100, expected fewer than the 100 of max_steps"),
        ({"warmup_steps": 2.5, "max_steps": 100}, r"warmup_steps is 2\.5, expected .* or a share of them below 1"),
        ({"warmup_steps": 0.9, "max_steps": 2}, r"warmup_steps is 0\.9, expected fewer than the 2 of max_steps"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"learning_rate_schedule": "linear"}, "expected one of constant, step, cosine"),
    ],
)
def test_what_does_not_apply_is_refused_by_name(words: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        Recipe(**words)


def test_label_smoothing_of_another_objective_is_refused() -> None:
    inputs = torch.rand(60, 4)
    task = type(TASK).of(inputs, (inputs > 0.5).float(), objective=MultiLabel())
    with pytest.raises(ValueError, match="label_smoothing is for classification, and the objective is multi_label"):
        Workload(nn.Linear(4, 4), task, Recipe(label_smoothing=0.1))


def test_settings_that_came_later_are_left_out_of_a_digest_at_their_default() -> None:
    first = set(Recipe().describe())
    later = set(settings_of(Recipe)) - first
    assert {"learning_rate_schedule", "warmup_steps", "nesterov", "label_smoothing"} <= later
    assert {"optimizer", "scoring_balanced"} <= first
    for case, (words, _, _) in CASES.items():
        described = recipe_of(case).describe()
        assert set(described) == first | (set(words) & later)
        assert Recipe.from_json(described) == recipe_of(case)
