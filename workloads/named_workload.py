"""A workload from words: the names of a network, a task and a recipe, and settings of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import make_recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload


def named_workload(
    network: str,
    task: str,
    *,
    recipe: str | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    weights: Path | None = None,
) -> Workload:
    """The workload that a command line or a request names.

    Args:
        network, weights: see `Workload`.
        task, data_dir: see `load_task`.
        recipe: a name of `RECIPES`, or a recipe.
        settings: of the recipe, in place of its own.

    Raises:
        ValueError: an unknown name or setting, or what does not fit together; one sentence.

    Examples:
        >>> workload = named_workload("lenet_300_100", "digits", settings={"max_steps": 100})
        >>> workload.task.name, workload.recipe.max_steps
        ('digits', 100)
    """
    named = make_recipe(recipe) if isinstance(recipe, str) else recipe or Recipe()
    return Workload(network, load_task(task, data_dir), named.changed(**(settings or {})), weights)
