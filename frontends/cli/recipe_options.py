"""The options of a recipe: one by name, and each of its settings."""

from __future__ import annotations

import click

from scratchcard.frontends.cli.options import Option, all_of, completed, names_of, settings_options
from scratchcard.settings import settings_of
from scratchcard.workloads.recipe import Recipe


def _named(default: str) -> Option:
    return click.option(
        "--recipe",
        shell_complete=completed(names_of("recipes")),
        help="How to train, by name, e.g. resnet_cifar; the options for single settings override it. "
        f"`scratchcard list recipes` names them all. [default: {default}]",
    )


recipe_options = all_of(_named("each setting's own default"), settings_options(Recipe))
"""Of commands that make a workload."""
_TRAINING = tuple(name for name in settings_of(Recipe) if not name.startswith("scoring_"))
ticket_recipe_options = all_of(
    _named("the ticket's"), settings_options(Recipe, *_TRAINING, default="the ticket's, or the named recipe's")
)
"""Of commands that train a ticket, which has a recipe."""
