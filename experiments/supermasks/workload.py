"""What the experiments with supermasks share: the study's recipe, and estimates of their time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scratchcard.artefacts.store import Store
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

NETWORK = "experiments.supermask_networks:mlp_200_30"
SEARCH_STEPS = 20_000
STEP_SECONDS = 0.0022
"""Of a training step of 784-200-30-10, batches of 60, one core; larger networks take as many times longer."""


def recipe(steps: int) -> Recipe:
    """Adam at 0.0012, batches of 60, the validation loss every 100 steps; it never stops early."""
    settings: dict[str, Any] = {"max_steps": steps, "evaluation_interval": min(100, steps), "patience": 1_000_000}
    return Recipe(optimizer="adam", learning_rate=0.0012, batch_size=60, **settings)


def workload(options: argparse.Namespace, network: str = NETWORK) -> Workload:
    """A network on the task, by the study's recipe; tickets and networks are trained for `--steps`."""
    return Workload(network, load_task(options.task, options.data_dir), recipe(options.steps))


def session(options: argparse.Namespace) -> Session:
    """Trainings are kept in the folder of runs, so that a second call goes on."""
    return Session(store=Store(Path(options.runs) / "supermasks"))


def told(seconds: float, what: str) -> None:
    """What a dry run says."""
    print(f"{what}: about {max(1, round(seconds / 60))} minutes on one core")
