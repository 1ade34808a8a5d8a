"""`--recipe NAME`: of a ticket to be found, of its training, in Python, and where recipes are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scratchcard as sc
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import make_recipe
from tests.frontends.calls import as_json, refused, run


def test_a_recipe_by_name_and_what_overrides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--scorer", "magnitude", "--density", "0.1", "--recipe", "lenet", "--max-steps", "30"]
    assert run("prune", *asked).exit_code == 0
    wanted = make_recipe("lenet", max_steps=30)
    assert Recipe.from_json(Ticket.load(Path("ticket.safetensors")).provenance["workload"]["recipe"]) == wanted
    assert run("train", "--batch-size", "32", "--device", "cpu").exit_code == 0
    trained = Ticket.load(Path("ticket.safetensors")).provenance["training"]
    assert (trained["recipe"]["learning_rate"], trained["recipe"]["batch_size"], trained["steps"]) == (1.2e-3, 32, 30)
    ticket = sc.prune("lenet_300_100", "digits", 0.1, method="magnitude", recipe="lenet")
    assert Recipe.from_json(ticket.provenance["workload"]["recipe"]) == make_recipe("lenet")
    assert "did you mean 'lenet'" in refused("prune", "--recipe", "lennet", "--overwrite")


def test_a_batch_larger_than_the_training_split_is_refused_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticket was found, and `train` refused it."""
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", train_inputs=np.random.default_rng(0).random((90, 1, 8, 8)), train_targets=np.arange(90) % 3)
    few = ["--task", "tensors:few.npz", "--scorer", "magnitude"]
    told = "the batch size 128 exceeds the 63 training examples of tensors:few.npz; set the recipe's batch_size lower"
    assert told in refused("prune", *few, "--recipe", "resnet_cifar")
    assert not Path("ticket.safetensors").exists()
    assert run("prune", *few, "--recipe", "resnet_cifar", "--batch-size", "32").exit_code == 0
    assert told in refused("train", "--batch-size", "128")


def test_a_single_milestone_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--scorer", "magnitude", "--learning-rate-schedule", "step", "--milestones", "0.5"]
    assert run("prune", *asked).exit_code == 0
    assert Ticket.load(Path("ticket.safetensors")).provenance["workload"]["recipe"]["milestones"] == [0.5]


def test_show_tells_the_settings_of_the_regime_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ticket of USS had rounds, shots, a schedule and a step to rewind to."""
    monkeypatch.chdir(tmp_path)
    for regime, own in (("USS", set()), ("UMS", {"rounds", "schedule"})):
        out = f"{regime}.safetensors"
        assert run("prune", "--scorer", "magnitude", "--regime", regime, "--out", out).exit_code == 0
        told = as_json("show", out)["provenance"]["method"]
        assert told.keys() & {"rounds", "shots", "schedule", "rewind_step"} == own
        assert (told["scope"], told["regime"]) == ("global", regime)


def test_the_forms_of_names_are_listed_beside_the_members() -> None:
    assert {"resnet_18", "torchvision:NAME", "timm:NAME"} <= as_json("list", "networks")["networks"].keys()
    assert "image_folder:PATH" in run("list", "tasks").stdout


def test_recipes_are_told() -> None:
    told = run("show", "resnet_cifar").stdout
    assert "arXiv 1512.03385" in told
    assert "learning_rate" in told
    assert "batch_size=60" in run("list", "recipes").stdout
