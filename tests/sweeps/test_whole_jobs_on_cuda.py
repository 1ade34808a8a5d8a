"""On a CUDA device, from one end to the other: prune, train, evaluate; one's own loop; a grid; features of pairs.

Where there is no device, it is pretended (tests/pretended_cuda.py).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import scratchcard as sc
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.pieces import scoring_memory
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid
from scratchcard.sweeps.sweep import sweep
from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.recalibration import recalibrate
from scratchcard.workloads.engines.training import train
from tests.scorers.toys import Everything
from tests.sweeps.sweeping import IMP, SNIP, results, runs

pytestmark = pytest.mark.cuda

RECIPE = sc.Recipe(max_steps=30, evaluation_interval=10, batch_size=32, scoring_examples=64)


@pytest.fixture
def task() -> sc.Task:
    return sc.Task.of(torch.randn(300, 1, 6, 6), torch.arange(300) % 3)


@pytest.mark.parametrize("method", ["default", "policy", "snip", "synflow", "grasp", "random"])
def test_prune_train_and_evaluate_a_network_that_lies_there(task: sc.Task, method: str) -> None:
    """Residual, grouped, normalised, with dropout and a shared weight; the network itself stays as it was."""
    network = Everything().eval()
    place: dict[str, Any] = {"recipe": RECIPE, "method": method}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained toys: odd tickets are said
        wanted = sc.prune(network, task, 0.3, **place)
        found = sc.prune(network.to("cuda"), task, 0.3, device="cuda", **place)
    assert all(parameter.device.type == "cuda" for parameter in network.parameters())
    assert (found.mask.kept, found.mask.total) == (wanted.mask.kept, wanted.mask.total)
    same = (found.mask & wanted.mask).kept
    assert same > 0.97 * wanted.mask.kept  # scores that are equal but for rounding may change places
    trained, record = sc.train(found, network, task, device="cuda")
    assert record.steps == RECIPE.max_steps
    again = [sc.evaluate(trained, network, task, device=device).loss for device in ("cpu", "cuda")]
    assert again[0] == pytest.approx(again[1], rel=1e-3)


def test_the_users_own_loop_there_keeps_the_pruned_weights_at_zero(task: sc.Task) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 3)).to("cuda")
    ticket = sc.prune(network, task, 0.2, method="snip", recipe=RECIPE, device="cuda")
    ticket.apply_to(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=0.1)
    inputs, targets = (tensor.to("cuda") for tensor in (task.train.tensor, task.train.targets))
    with sc.hold(network, ticket.mask):
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    for name, weight in prunable(network).items():
        assert not bool(weight[~ticket.mask.tensors[name].to("cuda")].any())


def test_a_grid_there_has_the_records_of_the_cpu(tmp_path: Path) -> None:
    experiments = runs([SNIP, IMP], seeds=(1,), steps=40)
    assert sweep(experiments, tmp_path / "there", device="cuda").failed == {}
    sweep(experiments, tmp_path / "here")
    there, here = results(tmp_path / "there"), results(tmp_path / "here")
    assert there.keys() == here.keys()
    for digest, record in there.items():
        assert record["kept"] == here[digest]["kept"]
        assert record["test_accuracy"] == pytest.approx(here[digest]["test_accuracy"], abs=0.05)


def test_a_grid_whose_predictor_is_fitted_on_a_table_made_there(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(
        """
name = "there"
title = "A predictor of its own"
densities = [0.1]
seeds = [5]
[workload]
task = "digits"
recipe = { max_steps = 20, evaluation_interval = 10, scoring_examples = 64 }
[predictors.straight]
family = "tree"
train_seeds = [0]
held_out_seeds = [1]
table = { regime = "USS", scorer = "snip", density = 0.1 }
[[methods]]
scorer = "predicted"
predictor = "straight"
"""
    )
    grid = read_grid(tmp_path / "grid.toml", tmp_path / "results")
    swept = run_grid(grid, tmp_path / "results", device="cuda")
    assert (swept.ran, swept.failed) == (1, {})


@pytest.mark.parametrize("name", ["snip", "grasp", "gauss_newton"])
def test_a_batch_in_pieces_there_has_the_scores_of_the_whole(name: str) -> None:
    network = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 3)).double().to("cuda")
    batch = torch.randn(200, 16, dtype=torch.float64), torch.arange(200) % 3
    whole = sc.make_scorer(name)(network, batch, F.cross_entropy).flat()
    with scoring_memory(64_000):
        pieces = sc.make_scorer(name)(network, batch, F.cross_entropy).flat()
    assert pieces.device.type == "cuda"
    torch.testing.assert_close(pieces.cpu(), whole.cpu(), rtol=1e-9, atol=1e-12 * float(whole.abs().max()))


def test_recalibration_there(task: sc.Task) -> None:
    network = Everything().to("cuda")
    recalibrate(network, task)
    assert network.norm.running_mean.device.type == "cuda"
    assert bool((network.norm.running_mean != 0).any())


def test_training_there_takes_dropout_from_the_seed_and_leaves_the_generators(task: sc.Task) -> None:
    before, states = torch.cuda.get_rng_state(), []
    for _ in range(2):
        network = Everything()
        network.load_state_dict({name: torch.full_like(t, 0.02) for name, t in network.state_dict().items()})
        train(network, task, RECIPE, seed=4, device="cuda")
        states.append(network.first.weight.detach().cpu())
    assert torch.allclose(*states, rtol=1e-4)
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_augmented_training_there_is_resumed_where_it_was_broken_off(
    task: sc.Task, tmp_path: Path, optimizer: str
) -> None:
    recipe = sc.Recipe(
        max_steps=30, evaluation_interval=10, batch_size=32, optimizer=optimizer, augmentation="crop_flip_cutout"
    )

    def fresh() -> Everything:
        network = Everything()
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.02)
        return network

    def broken_off(step: int, _: int) -> None:
        if step >= 20:
            raise KeyboardInterrupt

    whole, half = fresh(), fresh()
    train(whole, task, recipe, device="cuda")
    how: dict[str, Any] = {"device": "cuda", "checkpoint": Checkpoint(tmp_path / "half", every=0)}
    with pytest.raises(KeyboardInterrupt):
        train(half, task, recipe, progress=broken_off, **how)
    resumed = Checkpoint(tmp_path / "half", resume=True)
    again = fresh()
    train(again, task, recipe, device="cuda", checkpoint=resumed)
    assert resumed.resumed >= 10
    for name, tensor in whole.state_dict().items():
        assert again.state_dict()[name].device.type == "cuda"
        torch.testing.assert_close(again.state_dict()[name].cpu(), tensor.cpu(), rtol=1e-4, atol=1e-6)
