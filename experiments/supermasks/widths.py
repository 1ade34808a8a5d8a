"""Widths: a search of both hidden layers' widths (Optuna) that costs what finding and training supermasks costs."""

from __future__ import annotations

import argparse

import torch
from torch import nn

from experiments.markdown import markdown_table
from experiments.supermasks.workload import STEP_SECONDS, recipe, told
from scratchcard.analysis.statistics import interval
from scratchcard.artefacts.files import written_beside
from scratchcard.workloads.engines.training import TrainingRecord, evaluate, train
from scratchcard.workloads.networks.mlp import mlp
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task

WHOLE = (200, 30)
FIRST, SECOND = (10, 200), (3, 30)
"""The widths that are searched."""


def weights(task: Task, first: int, second: int) -> int:
    """Of a network of two hidden layers, biases apart."""
    inputs = task.train.inputs[0].numel()  # type: ignore[index]
    return inputs * first + first * second + second * task.outputs


def built(task: Task, first: int, second: int, seed: int) -> nn.Module:
    """Such a network."""
    return mlp(first, second)(task.input_shape, task.outputs, generator=torch.Generator().manual_seed(seed))


def widths(options: argparse.Namespace) -> None:
    """For each seed: trials until the budget is spent, the best by validation loss, its test accuracy."""
    whole = STEP_SECONDS * (options.search_steps + options.steps)
    if options.dry_run:
        told(len(options.seeds) * 1.3 * whole, f"widths, {len(options.seeds)} seeds")
        return
    task = load_task(options.task, options.data_dir)
    budget = weights(task, *WHOLE) * (options.search_steps + options.steps)
    rows: list[list[object]] = []
    accuracies, counts, steps = [], [], []
    for seed in options.seeds:
        (first, second), trials = search(task, options.steps, budget, seed)
        network = built(task, first, second, seed)
        record = trained(task, network, options.steps, seed)
        accuracy = evaluate(network, task).accuracy
        kept = weights(task, first, second)
        rows.append([seed, f"{first} x {second}", trials, f"{accuracy:.4f}", kept, record.best_step])
        accuracies.append(accuracy)
        counts.append(float(kept))
        steps.append(float(record.best_step))
    best = [interval(counts).text(0), interval(steps).text(0)]
    rows.append(["mean", "", "", interval(accuracies).text(3), *best])
    text = f"Widths by Optuna at the cost of a supermask, {task.name}, {options.steps} steps a trial\n\n"
    text += markdown_table(["seed", "widths", "trials", "test accuracy", "weights", "best step"], rows)
    print(text)
    with written_beside(options.results / "widths.md") as beside:
        beside.write_text(f"{text}\n")


def search(task: Task, steps: int, budget: int, seed: int) -> tuple[tuple[int, int], int]:
    """The widths of the lowest validation loss, and how many were tried.

    Args:
        task, steps: each trial trains a dense network for so many steps.
        budget: of all trials, in weights times steps; the last trial may pass it.
        seed: of the sampler and of the networks.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    spent = 0
    while spent < budget:
        trial = study.ask()
        first, second = trial.suggest_int("first", *FIRST), trial.suggest_int("second", *SECOND)
        record = trained(task, built(task, first, second, seed), steps, seed)
        study.tell(trial, record.best_validation_loss)
        spent += weights(task, first, second) * record.steps
    best = study.best_params
    return (best["first"], best["second"]), len(study.trials)


def trained(task: Task, network: nn.Module, steps: int, seed: int) -> TrainingRecord:
    """Trained in place, as tickets are."""
    return train(network, task, recipe(steps), seed=seed)
