"""The fused kernels: one step against torch, odd widths, missing biases, empty layers, read-only installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import scratchcard
from scratchcard.workloads.engines.engine import AutogradEngine, evaluate_split
from scratchcard.workloads.engines.fused import FusedEngine
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split
from tests.workloads.training_toys import perceptron, random_mask, toy_task

TASK = toy_task()


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
    train = doubled(TASK.train)
    order = torch.randint(300, (3, batch), generator=torch.Generator().manual_seed(seed))
    network = biasless(perceptron(seed), without)
    mask = random_mask(network, density, seed=seed)
    mask.apply_to(network)
    engine = FusedEngine(network, mask, recipe, train)
    loss = engine.run(order[:1]) + 2 * engine.run(order[1:])
    masks = {name: kept.double() for name, kept in mask.tensors.items()}
    plain = AutogradEngine(network, masks, TASK.loss, recipe, train)
    assert loss == pytest.approx(3 * plain.run(order), rel=1e-10)
    for name, tensor in plain.state().items():
        # Adam divides rounding by rounding where a gradient is zero but for that: looser absolutely.
        torch.testing.assert_close(engine.state()[name], tensor, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 90])
def test_evaluation_covers_every_example_once(count: int) -> None:
    network = perceptron()
    engine = FusedEngine(network, None, Recipe(), doubled(TASK.train))
    split = doubled(TASK.validation, count)
    wanted = evaluate_split(network, split, TASK.loss)
    assert engine.evaluate(split) == pytest.approx(wanted, rel=1e-12)


def test_large_logits_do_not_overflow() -> None:
    network = perceptron().float()
    with torch.no_grad():
        network[5].weight.mul_(1e4)
    engine = FusedEngine(network, None, Recipe(learning_rate=1e-9), TASK.train)
    assert engine.evaluate(TASK.validation)[0] == pytest.approx(
        evaluate_split(network, TASK.validation, TASK.loss)[0], rel=1e-4
    )
    assert np.isfinite(engine.run(torch.arange(64).view(1, 64)))


def test_nan_is_seen() -> None:
    network = perceptron()
    with torch.no_grad():
        network[1].weight[0, 0] = float("nan")
    engine = FusedEngine(network, None, Recipe(), doubled(TASK.train))
    assert np.isnan(engine.run(torch.arange(64).view(1, 64)))
    assert np.isnan(engine.evaluate(doubled(TASK.validation))[0])


def test_the_network_and_earlier_states_are_not_touched() -> None:
    network = perceptron()
    weights = network[1].weight.clone()
    engine = FusedEngine(network, None, Recipe(), doubled(TASK.train))
    before = engine.state()
    engine.run(torch.arange(64).view(1, 64))
    assert torch.equal(network[1].weight, weights)
    assert torch.equal(before["1.weight"], weights)
    assert not torch.equal(engine.state()["1.weight"], weights)


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
    code = "import scratchcard.workloads.engines.fused as f; print(f.__file__, f._gather.stats.cache_path)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "None" in done.stdout
