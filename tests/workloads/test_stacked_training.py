"""Networks trained together come out as each trained alone: to 1e-9 in float64, stopping where it stops."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.hold import verify
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.state import copy_state
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import Recipe, TrainingRecord, train
from scratchcard.workloads.task import Split, Task
from tests.workloads.training_toys import convolutional, perceptron, random_mask, randomised, toy_task

TASK = toy_task()
RECIPE = Recipe(batch_size=32, max_steps=120, evaluation_interval=20, patience=99)
# Stops some networks early, each at another evaluation.
STOPPING = replace(RECIPE, max_steps=300, learning_rate=0.3, evaluation_interval=7, patience=3)
RECIPES = {
    "sgd": RECIPE,
    "decay": replace(RECIPE, weight_decay=1e-2),
    "momentum": replace(RECIPE, momentum=0.9, weight_decay=1e-2, learning_rate=0.03),
    "adam": replace(RECIPE, optimizer="adam", learning_rate=0.01, weight_decay=1e-2),
    "stopping": STOPPING,
    "stopping_momentum": replace(STOPPING, momentum=0.9, weight_decay=1e-3, learning_rate=0.05),
    # Without decay, Adam would blow the rounding errors of a gradient that is zero up to whole steps (the bias before
    # batch normalisation).
    "stopping_adam": replace(STOPPING, optimizer="adam", learning_rate=0.03, weight_decay=1e-3),
}


def tanh(seed: int) -> nn.Sequential:
    return randomised(nn.Sequential(nn.Flatten(), nn.Linear(36, 20, bias=False), nn.Tanh(), nn.Linear(20, 5)), seed)


def unbiased(seed: int) -> nn.Sequential:
    layers = [nn.Flatten(), nn.Linear(36, 20, bias=False), nn.ReLU(), nn.Linear(20, 5)]
    return randomised(nn.Sequential(*layers), seed)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "perceptron": perceptron,
    "unbiased": unbiased,
    "tanh": tanh,
    "convolutional": convolutional,
}


def group_of(build: Callable[[int], nn.Module], size: int = 4) -> tuple[list[nn.Module], list[Mask | None]]:
    """Networks of different weights and densities; the last one keeps all."""
    networks = [build(seed) for seed in range(1, size + 1)]
    masks: list[Mask | None] = [
        random_mask(network, density, seed=place)
        for place, (network, density) in enumerate(zip(networks, (0.3, 0.1, 0.6), strict=False))
    ]
    return networks, [*masks, None]


def alone(
    networks: list[nn.Module], masks: list[Mask | None], recipe: Recipe, seeds: list[int], task: Task = TASK
) -> list[TrainingRecord]:
    return [
        train(network, task, recipe, mask=mask, seed=seed, engine="autograd", compact=False)
        for network, mask, seed in zip(networks, masks, seeds, strict=True)
    ]


def losses(record: TrainingRecord) -> Tensor:
    rows = [(e.train_loss, e.validation_loss, e.validation_metric) for e in record.history]
    return torch.tensor(rows, dtype=torch.float64)


def assert_same(
    found: list[TrainingRecord], wanted: list[TrainingRecord], networks: list[nn.Module], others: list[nn.Module]
) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one.steps, one.best_step, one.early_stopped, one.diverged) == (
            (other.steps, other.best_step, other.early_stopped, other.diverged)
        )
        assert [e.step for e in one.history] == [e.step for e in other.history]
        torch.testing.assert_close(losses(one), losses(other), rtol=1e-9, atol=1e-9, equal_nan=True)
        assert one.best_validation_loss == pytest.approx(other.best_validation_loss, rel=1e-9)
        assert one.best_validation_metric == other.best_validation_metric
        assert one.engine == "together"
    for network, other in zip(networks, others, strict=True):
        for name, tensor in other.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    ("network_name", "recipe_name"),
    [
        *(("perceptron", name) for name in RECIPES),
        *(("unbiased", name) for name in ("decay", "stopping")),
        *(("tanh", name) for name in ("adam", "stopping", "stopping_momentum")),
        *(("convolutional", name) for name in ("momentum", "stopping_adam")),
    ],
)
def test_together_is_one_by_one(network_name: str, recipe_name: str) -> None:
    recipe = RECIPES[recipe_name]
    if network_name == "convolutional":
        recipe = replace(recipe, max_steps=100)
    networks, masks = group_of(NETWORKS[network_name])
    others, seeds = copy.deepcopy(networks), [5, 6, 6, 7]
    found = train_stacked(networks, TASK, recipe, masks=masks, seeds=seeds)
    assert_same(found, alone(others, masks, recipe, seeds), networks, others)
    for network, mask in zip(networks, masks, strict=True):
        if mask is not None:
            verify(network, mask)
    if recipe_name.startswith("stopping"):
        assert any(record.early_stopped for record in found)
        assert len({record.steps for record in found}) > 1
        assert any(record.best_step < record.steps for record in found)


@pytest.mark.parametrize("build", [perceptron, tanh])
def test_a_network_that_diverges_harms_no_other(build: Callable[[int], nn.Module]) -> None:
    recipe = replace(RECIPE, max_steps=60)
    networks, masks = group_of(build)
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.mul_(1e200)
    others, seeds = copy.deepcopy(networks), [0, 1, 2, 3]
    found = train_stacked(networks, TASK, recipe, masks=masks, seeds=seeds)
    wanted = alone(others, masks, recipe, seeds)
    assert found[1].diverged == (build is perceptron)  # tanh is bounded
    assert_same(found, wanted, networks, others)
    assert all(bool(torch.isfinite(p.detach()).all()) for p in networks[1].parameters())


def test_frozen_and_unused_parameters_stay() -> None:
    class Partly(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.body = tanh(seed)
            self.unused = nn.Linear(3, 3).double()
            self.body[1].weight.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    networks, masks = group_of(Partly)
    others, before = copy.deepcopy(networks), copy_state(networks[3])
    found = train_stacked(networks, TASK, RECIPES["decay"], masks=masks, seeds=[1, 2, 3, 4])
    assert_same(found, alone(others, masks, RECIPES["decay"], [1, 2, 3, 4]), networks, others)
    for name in ("unused.weight", "body.1.weight"):
        assert torch.equal(networks[3].state_dict()[name], before[name])
    assert not torch.equal(networks[3].state_dict()["body.3.weight"], before["body.3.weight"])
    assert not networks[0].get_parameter("body.1.weight").requires_grad


def test_modes_random_state_and_seconds() -> None:
    networks, masks = group_of(tanh)
    networks[0].eval()
    random_state = torch.get_rng_state()
    progress: list[tuple[int, int]] = []
    found = train_stacked(
        networks,
        TASK,
        RECIPES["stopping"],
        masks=masks,
        seeds=[1, 2, 3, 4],
        progress=lambda done, total: progress.append((done, total)),
    )
    assert [network.training for network in networks] == [False, True, True, True]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None for network in networks for p in network.parameters())
    steps = [done for done, _ in progress]
    assert steps == sorted(steps)
    assert progress[-1] == (4 * 300, 4 * 300)
    shares = [record.seconds / record.steps for record in found]
    assert shares == pytest.approx([shares[0]] * 4)
    assert all(record.seconds > 0 for record in found)


class Noisy(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.body = tanh(seed)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.drop(x))


class Branching(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.body = tanh(seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x if float(x.sum()) > 0 else -x)


class Counting(nn.Module):
    """A buffer that is replaced, not changed in place: the stack cannot follow."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.body = tanh(seed)
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = self.seen + 1
        return self.body(x)


@pytest.mark.parametrize(
    ("build", "reason"), [(Noisy, "random operation"), (Branching, "item"), (Counting, "another seen in the stack")]
)
def test_what_vmap_cannot_run_is_trained_one_by_one(build: Callable[[int], nn.Module], reason: str) -> None:
    networks, masks = group_of(build)
    others, recipe = copy.deepcopy(networks), replace(RECIPE, max_steps=30)
    progress: list[int] = []
    with pytest.warns(UserWarning, match=f"{reason}.*one after another"):
        found = train_stacked(
            networks, TASK, recipe, masks=masks, seeds=[1, 2, 3, 4], progress=lambda done, total: progress.append(done)
        )
    assert [record.engine for record in found] == ["autograd"] * 4
    wanted = alone(others, masks, recipe, [1, 2, 3, 4])
    assert [record.history for record in found] == [record.history for record in wanted]
    for network, other in zip(networks, others, strict=True):
        assert all(torch.equal(t, other.state_dict()[n]) for n, t in network.state_dict().items())
    assert progress == sorted(progress)
    assert progress[-1] == 4 * 30


def test_other_layers_under_the_same_names_are_noticed() -> None:
    networks: list[nn.Module] = [tanh(1), tanh(2)]
    networks[1][2] = nn.Sigmoid()  # type: ignore[operator]
    others = copy.deepcopy(networks)
    with pytest.warns(UserWarning, match="network 1 has another loss"):
        train_stacked(networks, TASK, replace(RECIPE, max_steps=20), masks=[None, None], seeds=[1, 2])
    alone(others, [None, None], replace(RECIPE, max_steps=20), [1, 2])
    for network, other in zip(networks, others, strict=True):
        assert all(torch.equal(t, other.state_dict()[n]) for n, t in network.state_dict().items())


def test_whole_numbers_as_inputs() -> None:
    class Bag(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 8)
            self.out = nn.Linear(8, 3)
            randomised(nn.Sequential(self.out), seed)
            self.double()

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.embedding(x).mean(1))

    inputs = torch.randint(0, 50, (200, 6))
    split = Split(inputs, (inputs.sum(1) % 3))
    task = Task("bags", split, split, split, 3, "0")
    networks, masks = group_of(Bag)
    others, recipe = copy.deepcopy(networks), replace(RECIPE, max_steps=40)
    found = train_stacked(networks, task, recipe, masks=masks, seeds=[1, 2, 3, 4])
    assert_same(found, alone(others, masks, recipe, [1, 2, 3, 4], task), networks, others)


def test_float32_and_a_single_network() -> None:
    network, other = perceptron().float(), perceptron().float()
    mask = random_mask(network, 0.3)
    (found,) = train_stacked([network], TASK, RECIPE, masks=[mask], seeds=[3])
    (wanted,) = alone([other], [mask], RECIPE, [3])
    assert found.steps == wanted.steps
    torch.testing.assert_close(losses(found)[:, :2], losses(wanted)[:, :2], rtol=1e-3, atol=1e-3)
    assert all(tensor.dtype is torch.float32 for tensor in network.state_dict().values())
    assert train_stacked([], TASK, RECIPE, masks=[], seeds=[]) == []


def test_what_makes_no_group_is_refused() -> None:
    network = perceptron()
    cases = [
        (([network], [None, None], [1]), "1 networks, 2 masks and 1 seeds"),
        (([network, network], [None, None], [1, 2]), "listed twice"),
        (([network, perceptron(sizes=(36, 10, 5))], [None, None], [1, 2]), "network 1 has other parameters"),
        (([network, perceptron().float()], [None, None], [1, 2]), "network 1 has other parameters"),
        (([network], [random_mask(tanh(1), 0.5)], [1]), "the mask"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for (networks, masks, seeds), message in cases:
            with pytest.raises(ValueError, match=message):
                train_stacked(networks, TASK, RECIPE, masks=masks, seeds=seeds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch size 301 exceeds"):
        train_stacked([network], TASK, replace(RECIPE, batch_size=301), masks=[None], seeds=[1])


@pytest.mark.cuda
@pytest.mark.parametrize("recipe_name", ["sgd", "stopping_momentum", "stopping_adam"])
@pytest.mark.parametrize("build", [perceptron, tanh, convolutional])
def test_on_a_gpu_as_on_the_cpu(build: Callable[[int], nn.Module], recipe_name: str) -> None:
    recipe = replace(RECIPES[recipe_name], max_steps=60)
    networks, masks = group_of(build)
    others, seeds = copy.deepcopy(networks), [5, 6, 6, 7]
    found = train_stacked(networks, TASK, recipe, masks=masks, seeds=seeds, device="cuda")
    wanted = alone(others, masks, recipe, seeds)
    assert [record.steps for record in found] == [record.steps for record in wanted]
    for network, other, mask in zip(networks, others, masks, strict=True):
        for name, tensor in network.state_dict().items():
            assert tensor.device.type == "cuda"
            torch.testing.assert_close(tensor.cpu(), other.state_dict()[name], rtol=1e-6, atol=1e-8)
        if mask is not None:
            verify(network, mask)
