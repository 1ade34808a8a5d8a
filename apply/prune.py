"""Prune, train and evaluate one ticket."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from apply.method import Method
from pruning.ticket import Ticket, copy_state
from pruning.version import versions
from workloads.training import Evaluated, TrainingRecord, evaluate, train
from workloads.workload import Workload

Progress = Callable[[int, int], None]


def prune(
    workload: Workload,
    method: Method,
    density: float,
    seed: int = 0,
    *,
    data_seed: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    directory: Path | None = None,
    progress: Progress | None = None,
) -> Ticket:
    """Find a ticket of `workload`'s network at initialisation `seed`.

    Args:
        workload: network, task, recipe.
        method: scorer, regime, initial weights.
        density: kept weights / prunable weights, in (0, 1].
        seed: of the initial weights, the scoring batch, ties, and the data order unless `data_seed` is given.
        data_seed: of the data order in regimes that train.
        device: where to score and train.
        dtype: precision of the network.
        directory: where iterative regimes keep finished rounds, so that a second call goes on.
        progress: called with (done, total).

    Returns:
        The ticket: initial weights, mask and provenance; not yet trained.

    Raises:
        ValueError: a density outside (0, 1], or anything that does not fit together; one sentence.
    """
    network = method.start(workload, density, seed, dtype=dtype, device=device)
    found = method.make_regime().find(
        workload,
        method.make_scorer(density, seed),
        density,
        seed,
        network=network,
        data_seed=data_seed,
        device=device,
        dtype=dtype,
        directory=directory,
        progress=progress,
    )
    provenance = {
        "workload": workload.describe(),
        "method": method.describe(),
        "label": method.label,
        "scorer": found.scores.criterion,
        "density": density,
        "kept": found.mask.kept,
        "prunable": found.mask.total,
        "seed": seed,
        "data_seed": seed if data_seed is None else data_seed,
        "pruning_seconds": found.seconds,
        "versions": versions(),
    }
    return Ticket(dict(found.start), found.mask, provenance)


def train_ticket(
    ticket: Ticket,
    workload: Workload,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> tuple[Ticket, TrainingRecord]:
    """Train a ticket's kept weights; returns it with its trained weights, and the record.

    `seed` is that of the data order.

    Raises:
        ValueError: the ticket is one of another network.
    """
    network = workload.build(0, dtype=dtype, device=device)
    ticket.apply_to(network)
    record = train(
        network, workload.task, workload.recipe, mask=ticket.mask, seed=seed, device=device, progress=progress
    )
    provenance = dict(ticket.provenance) | {"training": training_summary(record) | {"data_seed": seed}}
    return dataclasses.replace(ticket, trained=copy_state(network), provenance=provenance), record


def training_summary(record: TrainingRecord) -> dict[str, Any]:
    """The record's numbers as plain JSON, without its history."""
    return {
        "steps": record.steps,
        "best_step": record.best_step,
        "validation_loss": record.best_validation_loss,
        "validation_accuracy": record.best_validation_accuracy,
        "early_stopped": record.early_stopped,
        "engine": record.engine,
        "seconds": record.seconds,
    }


def evaluate_ticket(
    ticket: Ticket,
    workload: Workload,
    split: Literal["train", "validation", "test"] = "test",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Evaluated:
    """Loss and accuracy of a trained ticket.

    Raises:
        ValueError: the ticket was not trained, or is one of another network.
    """
    network = workload.build(0, dtype=dtype, device=device)
    ticket.apply_to(network, trained=True)
    return evaluate(network, workload.task, split, device=device)
