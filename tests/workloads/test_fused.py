"""The fused kernels: one step against torch, odd widths, missing biases, empty layers, read-only installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import scratchcard
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.evaluator import evaluate_network
from scratchcard.workloads.engines.fused import FusedEngine
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.objective import Classification
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split, Task
from tests.workloads.training_toys import perceptron, random_mask, toy_task

TASK, OBJECTIVE = toy_task(), Classification()


def doubled(split: Split, count: int | None = None) -> Split:
    return Split(split.inputs[:count].double(), split.targets[:count])


def biasless(network: nn.Sequential, places: tuple[int, ...]) -> nn.Sequential:
    for place in places:
        network[place].bias = None
    return network


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 37),
    density=st.floats(0, 1),
    without=st.sampled_from([(), (1,), (3,), (1, 3, 5)]),
    seed=st.integers(0, 10**6),
    settings_=st.sampled_from([{}, {"momentum": 0.5, "weight_decay": 0.1}, {"optimizer": "adam"}]),
)
def test_three_steps_equal_autograd(
    batch: int, density: float, without: tuple[int, ...], seed: int, settings_: dict[str, object]
) -> None:
    recipe = Recipe(batch_size=batch, learning_rate=0.05, **settings_)
    split = doubled(TASK.train)
    order = torch.randint(300, (3, batch), generator=torch.Generator().manual_seed(seed))
    network = biasless(perceptron(seed), without)
    mask = random_mask(network, density, seed=seed)
    mask.apply_to(network)
    engine = FusedEngine(network, mask, OBJECTIVE, recipe, split)
    loss = float(engine.run(order[None, :1]) + engine.run(order[None, 1:]))
    plain = AutogradEngine(network, mask, OBJECTIVE, recipe, split)
    assert loss == pytest.approx(float(plain.run(order[None])), rel=1e-10)
    for name, tensor in plain.state().items():
        # Adam divides rounding by rounding where a gradient is zero but for that: looser absolutely.
        torch.testing.assert_close(engine.state()[name], tensor, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 90])
def test_evaluation_covers_every_example_once(count: int) -> None:
    network = perceptron()
    engine = FusedEngine(network, None, OBJECTIVE, Recipe(), doubled(TASK.train))
    split = doubled(TASK.validation, count)
    (found,), wanted = engine.evaluate(split), evaluate_network(network, split, OBJECTIVE)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-12)
    assert found == replace(wanted, loss=found.loss)


def test_large_logits_do_not_overflow() -> None:
    network = perceptron().float()
    with torch.no_grad():
        network[5].weight.mul_(1e4)
    engine = FusedEngine(network, None, OBJECTIVE, Recipe(learning_rate=1e-9), TASK.train)
    wanted = evaluate_network(network, TASK.validation, OBJECTIVE)
    assert engine.evaluate(TASK.validation)[0].loss == pytest.approx(wanted.loss, rel=1e-4)
    assert torch.isfinite(engine.run(torch.arange(64).view(1, 1, 64)))


def test_nan_is_seen() -> None:
    network = perceptron()
    with torch.no_grad():
        network[1].weight[0, 0] = float("nan")
    engine = FusedEngine(network, None, OBJECTIVE, Recipe(), doubled(TASK.train))
    assert torch.isnan(engine.run(torch.arange(64).view(1, 1, 64)))
    assert np.isnan(engine.evaluate(doubled(TASK.validation))[0].loss)


def test_the_network_and_earlier_states_are_not_touched() -> None:
    network = perceptron()
    weights = network[1].weight.clone()
    engine = FusedEngine(network, None, OBJECTIVE, Recipe(), doubled(TASK.train))
    before = engine.state()
    engine.run(torch.arange(64).view(1, 1, 64))
    assert torch.equal(network[1].weight, weights)
    assert torch.equal(before["1.weight"], weights)
    assert not torch.equal(engine.state()["1.weight"], weights)


def relabelled(label: int) -> Split:
    targets = TASK.train.targets.clone()
    targets[7] = label
    return Split(TASK.train.inputs.double(), targets)


@pytest.mark.parametrize("label", [-1, 5, 10**6, -100])
def test_a_label_out_of_range_never_reaches_the_loop(label: int) -> None:
    with pytest.raises(ValueError, match=f"the class index {label}; 5 classes go from 0 to 4"):
        FusedEngine(perceptron(), None, OBJECTIVE, Recipe(), relabelled(label))
    # A second defence for a task that is made by hand: the way through `train`.
    with pytest.raises(ValueError, match="the class index"):
        train(perceptron(), _unchecked(relabelled(label)), Recipe(max_steps=2), mask=random_mask(perceptron(), 0.1))


def _unchecked(split: Split) -> Task:
    """A task whose splits nobody has checked."""
    task = toy_task()
    object.__setattr__(task, "train", split)
    return task


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.full((1, 2, 64), 300), "names examples 300 to 300, expected 0 to 299"),
        (torch.full((1, 2, 64), -1), "examples -1 to -1"),
        (torch.zeros(1, 2, 65, dtype=torch.int64), r"expected int64 of shape \(1, steps, 64\)"),
        (torch.zeros(2, 2, 64, dtype=torch.int64), "expected int64 of shape"),
        (torch.zeros(1, 0, 64, dtype=torch.int64), "expected int64 of shape"),
        (torch.zeros(64, dtype=torch.int64), "expected int64 of shape"),
        (torch.zeros(1, 2, 64), "the order is torch.float32"),
    ],
)
def test_an_order_out_of_range_never_reaches_the_loop(order: torch.Tensor, message: str) -> None:
    engine = FusedEngine(perceptron(), None, OBJECTIVE, Recipe(), doubled(TASK.train))
    before = engine.state()
    with pytest.raises(ValueError, match=message):
        engine.run(order)
    torch.testing.assert_close(engine.state(), before, rtol=0, atol=0)


def narrow() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(35, 5)).double()


def torn() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(7, 5)).double()


@pytest.mark.parametrize("build", [narrow, torn, lambda: perceptron().float(), lambda: perceptron().half()])
def test_layers_that_do_not_fit_never_reach_the_loop(build: Callable[[], nn.Sequential]) -> None:
    with pytest.raises(ValueError, match="the fused engine takes"):
        FusedEngine(build(), None, OBJECTIVE, Recipe(), doubled(TASK.train))


def test_masks_and_inputs_of_another_layout_never_reach_the_loop() -> None:
    mask = random_mask(perceptron(sizes=(36, 30, 20, 6)), 0.5)
    with pytest.raises(ValueError, match="the mask"):
        FusedEngine(perceptron(), mask, OBJECTIVE, Recipe(), doubled(TASK.train))
    engine = FusedEngine(perceptron(), None, OBJECTIVE, Recipe(), doubled(TASK.train))
    for inputs in (torch.zeros(3, 35, dtype=torch.float64), torch.zeros(3, 36)):
        with pytest.raises(ValueError, match=r"expected torch\.float64 with 36"):
            engine.outputs(inputs)


def test_an_install_that_cannot_be_written_compiles_without_a_cache(tmp_path: Path) -> None:
    """Where neither beside the module nor in the user's cache can be written, importing must still work."""
    root = Path(scratchcard.__file__).parent
    package = tmp_path / "scratchcard"
    package.mkdir()
    for module in root.glob("*.py"):
        shutil.copy(module, package)
    for name in ("artefacts", "pruning", "score_tables", "workloads"):
        shutil.copytree(root / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    # A file in the place of the folder: root may write into read-only folders, but not below a file.
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__pycache__").write_text("")
    home = tmp_path / "home"
    home.write_text("")
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment |= {"XDG_CACHE_HOME": str(home / "cache"), "NUMBA_CACHE_DIR": ""}
    code = "import scratchcard.workloads.engines.fused_loops as f; print(f.__file__, f.gather.stats.cache_path)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "None" in done.stdout
