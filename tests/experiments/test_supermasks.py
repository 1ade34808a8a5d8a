"""The commands about supermasks: frozen rests, counts of weights, and what a dry run says."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.supermasks.__main__ import COMMANDS, main
from experiments.supermasks.rest import WithRest
from experiments.supermasks.thresholds import THRESHOLDS
from experiments.supermasks.widths import built, search, weights
from scratchcard.pruning.parameters import count, prunable
from scratchcard.regimes import Supermask
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from tests.scorers.toys import Everything, filled, random_mask


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_a_frozen_rest_stays_while_kept_weights_train(decay: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    mask, rest = random_mask(network), {name: torch.randn_like(w) for name, w in prunable(network).items()}
    whole, before = WithRest(copy.deepcopy(network), mask, rest), copy.deepcopy(network)
    for name, weight in prunable(before).items():
        weight.data = torch.where(mask.tensors[name], weight.data, rest[name])
    images = load_task("digits").validation.inputs
    torch.testing.assert_close(whole(images), before(images))
    recipe = Recipe(optimizer="adamw", learning_rate=0.01, max_steps=20, evaluation_interval=20, weight_decay=decay)
    state = copy.deepcopy(whole.state_dict())
    train(whole, load_task("digits"), recipe, mask=whole.mask, engine="autograd", compact=False)
    for name, kept in mask.tensors.items():
        after = whole.state_dict()
        assert torch.equal(after[whole.names[name]], state[whole.names[name]])
        assert not after[f"network.{name}"][~kept].any()
        assert not torch.equal(after[f"network.{name}"][kept], state[f"network.{name}"][kept])


def test_a_rest_of_zeros_is_a_ticket() -> None:
    network = filled(Everything().double())
    mask, images = random_mask(network), torch.randn(4, 1, 6, 6, dtype=torch.float64)
    zeros = {name: torch.zeros_like(weight) for name, weight in prunable(network).items()}
    whole = WithRest(copy.deepcopy(network), mask, zeros).eval()
    mask.apply_to(network)
    torch.testing.assert_close(whole(images), network.eval()(images))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dry_run_says_its_time_and_does_nothing(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main([command, "--dry-run", "--seeds", "0-3"])
    assert f"{command}, 4 seeds: about" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_weights_are_counted_and_thresholds_are_a_grid() -> None:
    task = load_task("digits")
    assert weights(task, 20, 7) == count(prunable(built(task, 20, 7, seed=0)))
    assert THRESHOLDS[0] == -0.05
    assert THRESHOLDS[-1] == 0.2
    assert Supermask(thresholds=THRESHOLDS).thresholds == THRESHOLDS


@pytest.mark.slow
def test_a_search_of_widths_spends_its_budget_and_repeats() -> None:
    task = load_task("digits")
    budget = 3 * weights(task, 200, 30) * 40
    (first, second), trials = search(task, 40, budget, seed=0)
    assert trials >= 3
    assert 10 <= first <= 200
    assert 3 <= second <= 30
    assert search(task, 40, budget, seed=0) == ((first, second), trials)


@pytest.mark.slow
def test_thresholds_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    main(["thresholds", "--task", "digits", "--seeds", "0-1", "--steps", "60", "--search-steps", "60", *folders])
    assert "| supermask, untrained |" in capsys.readouterr().out
    assert (tmp_path / "results" / "thresholds.png").is_file()
