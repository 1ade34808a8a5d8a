"""Learning rates: that of each step, from a recipe's schedule and warm-up."""

from __future__ import annotations

import math
from bisect import bisect_right

from scratchcard.workloads.recipe import Recipe


def learning_rates(recipe: Recipe, first: int, count: int) -> list[float]:
    """The learning rates of `count` steps from the step `first` on, which is 0 at the start.

    With the learning rate `r`, `W` warm-up steps and `T` steps at most, that of step `i` is

        constant   r
        step       r * milestone_factor ^ (milestones up to i)
        cosine     r * (1 + cos(pi (i - W) / (T - W))) / 2

    and `(i + 1) / W` of it while `i < W`, where the cosine stands at 1: as `torch.optim.lr_scheduler` has them in
    `LinearLR`, `MultiStepLR` and `CosineAnnealingLR`.

    Examples:
        >>> recipe = Recipe(learning_rate=1.0, learning_rate_schedule="step", warmup_steps=2, max_steps=8)
        >>> learning_rates(recipe, 0, 8)
        [0.5, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01..., 0.01...]
        >>> learning_rates(recipe.changed(learning_rate_schedule="cosine"), 2, 3)
        [1.0, 0.93..., 0.75...]
    """
    return [recipe.learning_rate * _share(recipe, step) for step in range(first, first + count)]


def _share(recipe: Recipe, step: int) -> float:
    warm, share = recipe.warmup, 1.0
    if recipe.learning_rate_schedule == "step":
        share = recipe.milestone_factor ** bisect_right(recipe.milestone_steps, step)
    elif recipe.learning_rate_schedule == "cosine" and step > warm:
        share = (1 + math.cos(math.pi * (step - warm) / (recipe.max_steps - warm))) / 2
    return share * (step + 1) / warm if step < warm else share
