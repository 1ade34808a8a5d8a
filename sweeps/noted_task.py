"""Noted tasks: what sweeps note of tasks that are a user's own code, so that asking how far a grid is imports none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.code_digest import code_digest
from scratchcard.artefacts.json_file import declared, find_json
from scratchcard.workloads.objective import Classification
from scratchcard.workloads.task import Split, Task

GRIDS = "grids"
"""Of a folder of results: what is known of the grids that were swept into it."""


@dataclass(frozen=True)
class TaskNote:
    """What of a task is part of a run's identity.

    Examples:
        >>> TaskNote(digest="ab12", code="cd34", objective={"name": "classification"}).code
        'cd34'
    """

    digest: str
    code: str | None
    objective: dict[str, Any]


@dataclass(frozen=True)
class NotedObjective(Classification):
    """An objective of which only its description is known.

    Examples:
        >>> NotedObjective(described={"name": "regression"}).describe()
        {'name': 'regression'}
    """

    described: Any = None

    def describe(self) -> dict[str, Any]:
        """As it was noted."""
        return dict(self.described)


class NotedTask(Task):
    """A task without its data: enough to tell its runs, not to do one.

    Examples:
        >>> isinstance(noted_task("my_tasks:points", {}), NotedTask)
        True
    """

    def __post_init__(self) -> None:
        """There is nothing to check."""


def notes_of(experiments: Iterable[Experiment]) -> dict[str, Any]:
    """What is noted of the tasks of some runs that are a user's own code, by name; plain JSON.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> notes_of([Experiment(workload, sc.Method("snip"), 0.25, 0)])  # it has no name to import it by
        {}
    """
    tasks = {experiment.workload.task.name: experiment.workload.task for experiment in experiments}
    return {
        name: {"digest": task.digest, "code": task.code, "objective": task.objective.describe()}
        for name, task in tasks.items()
        if task.code is not None
    }


def read_notes(folder: Path, grid: str) -> dict[str, Any]:
    """What an earlier sweep of a grid noted; empty where there was none.

    Examples:
        >>> read_notes(Path("nowhere"), "small")
        {}
    """
    found = (find_json(folder / GRIDS / f"{grid}.json") or {}).get("tasks")
    return found if isinstance(found, dict) else {}


def noted_task(name: str, notes: Mapping[str, Any]) -> Task:
    """The task as it was noted, if its code is still the same; otherwise one of which no run can be known.

    Examples:
        >>> noted_task("my_tasks:points", {}).digest
        'not known'
    """
    try:
        note = declared(TaskNote, notes.get(name), "the note")
    except ValueError:
        note = None
    if note is None or note.code != code_digest(name):
        note = TaskNote("not known", None, {"name": "classification"})
    nothing = Split(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
    objective = NotedObjective(described=note.objective)
    return NotedTask(name, nothing, nothing, nothing, 1, note.digest, None, note.code, objective)
