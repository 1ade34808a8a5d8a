"""`--recipe NAME`: of a ticket to be found, of its training, in Python, and where recipes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

import scratchcard as sc
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import make_recipe
from tests.frontends.calls import run


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
    refused = run("prune", "--recipe", "lennet", "--overwrite")
    assert refused.exit_code == 2
    assert "did you mean 'lenet'" in refused.stderr


def test_recipes_are_told() -> None:
    told = run("show", "resnet_cifar").stdout
    assert "arXiv 1512.03385" in told
    assert "learning_rate" in told
    assert "batch_size=60" in run("list", "recipes").stdout
