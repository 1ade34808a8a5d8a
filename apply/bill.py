"""Bill: what finding a ticket reads, in passes over the training split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scratchcard.workloads.workload import Workload

STEP = 3
"""A training step's forward and backward pass, in forward passes."""


def passes(reads: float, training: Sequence[Mapping[str, Any]], workload: Workload) -> float:
    r"""Forward passes of the dense network over the training split that finding a ticket is worth.

    `(reads + sum over trainings of (3 * batch size * steps + validation examples * evaluations)) / training examples`.
    A training epoch is three passes. Pruned and compacted networks count as dense ones. What works on scores and
    weights alone (matching, predictors) reads no data and is not in it: see the seconds.

    Args:
        reads: of scoring, in forward passes of one example (`clock.note_reads`).
        training: of the search, as `Found.training`: an entry for each training, with its steps, and its batch size
            where it is not the recipe's; one with a validation loss was evaluated as the recipe says.
        workload: its recipe and task.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> len(workload.task.train), len(workload.task.validation), workload.recipe.batch_size
        (1257, 180, 64)
        >>> round(passes(256, [{"steps": 100}], workload), 3)
        15.478
    """
    recipe, task = workload.recipe, workload.task
    for entry in training:
        reads += STEP * entry.get("batch_size", recipe.batch_size) * entry["steps"]
        if "validation_loss" in entry:
            reads += len(task.validation) * math.ceil(entry["steps"] / recipe.evaluation_interval)  # the last step too
    return reads / len(task.train)
