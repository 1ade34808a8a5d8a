"""Recipes by name: what their papers say, and how single settings override them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scratchcard.setting import SettingError
from scratchcard.sweeps.grid import read_grid
from scratchcard.workloads.learning_rates import learning_rates
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import RECIPES, make_recipe

GRID = """
name = "named"
title = "A recipe by name"
densities = 0.1
seeds = "0"
workload = {{ task = "digits", recipe = {recipe} }}
methods = [{{ scorer = "snip" }}]
"""


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_says_its_paper_and_crosses_json(name: str) -> None:
    made = RECIPES[name]
    assert re.search(r"\(.*arXiv \d{4}\.\d{5}\)", (made.__doc__ or "").partition("\n")[0])
    assert Recipe.from_json(json.loads(json.dumps(made().describe()))) == made()
    assert made().patience * made().evaluation_interval >= made().max_steps  # no paper of these stops early


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("lenet", {0: 1.2e-3, 49_999: 1.2e-3}),
        ("resnet_cifar", {0: 0.1, 31_999: 0.1, 32_000: 0.01, 48_000: 0.001}),
        ("resnet_cifar_warmup", {9_999: 0.015, 19_999: 0.03, 20_000: 0.003, 25_000: 0.0003}),
        ("wide_resnet", {0: 0.1, 60 * 390: 0.02, 120 * 390: 0.004, 160 * 390 - 1: 0.004, 160 * 390: 0.0008}),
        ("vgg_cifar_warmup", {4_999: 0.05, 9_999: 0.1, 80 * 703: 0.01, 120 * 703: 0.001}),
    ],
)
def test_the_learning_rates_of_the_papers(name: str, rates: dict[int, float]) -> None:
    recipe = make_recipe(name)
    assert {step: learning_rates(recipe, step, 1)[0] for step in rates} == pytest.approx(rates)


def test_single_settings_override_a_named_recipe() -> None:
    assert make_recipe("conv_4", max_steps=100) == make_recipe({"name": "conv_4", "max_steps": 100})
    assert make_recipe("conv_4", max_steps=100).learning_rate == 3e-4
    assert make_recipe("wide_resnet", max_steps=200).milestone_steps == (60, 120, 160)
    cosine = make_recipe("wide_resnet", learning_rate_schedule="cosine")
    assert (cosine.milestones, cosine.milestone_factor, cosine.nesterov) == ((0.5, 0.75), 0.1, True)
    assert make_recipe("wide_resnet", optimizer="adam").nesterov is False
    with pytest.raises(SettingError, match=r"milestones is \[0.5\], which is for the step schedule only"):
        make_recipe("wide_resnet", learning_rate_schedule="cosine", milestones=(0.5,))
    assert make_recipe("resnet_cifar_warmup", max_steps=600).warmup == 400
    with pytest.raises(SettingError, match="warmup_steps is 10000, expected fewer than the 500"):
        make_recipe("vgg_cifar_warmup", max_steps=500)
    assert make_recipe({}) == Recipe()
    with pytest.raises(ValueError, match=r"unknown recipe 'lennet', .* did you mean 'lenet'"):
        make_recipe("lennet")
    with pytest.raises(ValueError, match="a recipe is list"):
        make_recipe([])  # type: ignore[arg-type]


def test_a_grid_names_a_recipe(tmp_path: Path) -> None:
    found = []
    for recipe in ('"conv_4"', '{ name = "conv_4", max_steps = 50 }', '"conv4"', "3"):
        path = tmp_path / "named.toml"
        path.write_text(GRID.format(recipe=recipe))
        try:
            (run,) = read_grid(path, tmp_path).experiments
            found.append(run.workload.recipe)
        except ValueError as error:
            found.append(str(error))
    assert found[:2] == [make_recipe("conv_4"), make_recipe("conv_4", max_steps=50)]
    assert "[workload.recipe]: unknown recipe 'conv4'" in found[2]
    assert "recipe" in found[3]
