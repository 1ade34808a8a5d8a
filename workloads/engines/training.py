"""Training and evaluation of a network, dense or masked, on a task that lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from scratchcard.clock import spent
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import modes_kept
from scratchcard.pruning.shrunk import Shrunk
from scratchcard.pruning.state import load_state
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.checkpoint import Checkpoint, deciding
from scratchcard.workloads.engines.engine import State, place_split, seeded
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_network
from scratchcard.workloads.engines.fitting import check_takes, fitted
from scratchcard.workloads.engines.loop import Evaluation, Training, run_trainings
from scratchcard.workloads.engines.selection import ENGINES, EngineName, make_engine
from scratchcard.workloads.engines.sizing import Sizing
from scratchcard.workloads.recipe import Recipe, check_batch_size
from scratchcard.workloads.task import Task

__all__ = ["ENGINES", "Evaluated", "Evaluation", "Recipe", "TrainingRecord", "evaluate", "train"]


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What a training did.

    Attributes:
        steps: steps taken.
        best_step: the step after which the validation loss was lowest (the first of equals); 0 if it never
            was a number.
        best_validation_loss, best_validation_metric: at that step; infinity and 0 if there is none.
        history: the evaluations, in order.
        seconds: of the whole call: processor time on the CPU, wall-clock time on a GPU (`clock`).
        engine: which engine ran: dense, sparse, fused or autograd.
        early_stopped: stopped before the recipe's last step, out of patience or diverged.
        diverged: stopped because a loss was NaN or infinite.
        snapshots: the full-size network's state on the CPU after the steps asked for, as far as they were
            reached.
        compacted: how small the network was that was trained; None where it was trained at its full size.

    Examples:
        >>> record = TrainingRecord(200, 150, 0.31, 0.9, (), seconds=1.5, engine="fused", early_stopped=True)
        >>> record.best_step, record.best_validation_metric
        (150, 0.9)
    """

    steps: int
    best_step: int
    best_validation_loss: float
    best_validation_metric: float
    history: tuple[Evaluation, ...] = field(repr=False)
    seconds: float
    engine: str
    early_stopped: bool
    diverged: bool = False
    snapshots: Mapping[int, State] = field(default_factory=dict, repr=False)
    compacted: Shrunk | None = None

    @classmethod
    def of(
        cls,
        done: Training,
        recipe: Recipe,
        engine: str,
        seconds: float,
        snapshots: Mapping[int, State],
        compacted: Shrunk | None = None,
    ) -> TrainingRecord:
        """The record of a training that has ended."""
        best = (done.best.step, done.best.validation_loss, done.best.validation_metric)
        stopped = done.step < recipe.max_steps or done.diverged
        ended: dict[str, Any] = {"diverged": done.diverged, "snapshots": snapshots, "compacted": compacted}
        return cls(done.step, *best, tuple(done.history), seconds, engine, stopped, **ended)


def train(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    mask: Mask | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    engine: EngineName = "auto",
    compact: bool = True,
    snapshot_steps: Collection[int] = (),
    restore_best: bool = True,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingRecord:
    """Train `network` in place; its pruned weights are set to zero first and stay exactly zero.

    All data is put on the device once, in the network's dtype. Each epoch is one permutation of the training
    examples from a `torch.Generator` seeded with `seed`, cut into batches. The same arguments give the same
    result, to the bit on the CPU. Networks are small: one torch thread (`torch.set_num_threads(1)`) is
    fastest, and several trainings side by side in processes; `train` leaves the caller's setting as it is.

    A loss that becomes NaN or infinite ends the training: the record says `diverged`, and the network gets the best
    state before, which is the state before training if no evaluation came first.

    Args:
        network: moved to `device` and trained there; its mode (training or evaluation) is restored.
        task: the data and the objective; only `train` and `validation` are read.
        recipe: optimiser, steps, early stopping.
        mask: the kept weights; None trains all.
        seed: of the data order, and of dropout.
        device: `"cpu"`, `"cuda"` or `"auto"`.
        engine: `"dense"` multiplies whole matrices; `"sparse"` keeps linear layers below 2 % density as CSR;
            `"fused"` runs all steps in one compiled loop (ReLU multi-layer perceptrons on the CPU);
            `"autograd"` is the plain way that every network can go; `"auto"` takes the one that measured
            fastest. An engine that does not fit the network falls back to `"autograd"` only under `"auto"`
            and `"dense"`. Whether it fits is tried: one step on a few examples, beside the plain way's.
        compact: remove what the mask makes useless before training (`pruning.compaction`); what cannot be
            followed in a network is left at its full size. Under SGD and AdamW what was removed decays as it would
            have, so that the outcome is the same; under Adam it keeps its value. The sparse engine needs the full size:
            a compacted layer is seldom below 2 %.
        snapshot_steps: after which steps to copy the network's state, for rewinding; 0 is before the first
            step, with the pruned weights already zero.
        restore_best: end with the state of the lowest validation loss, not with the last.
        progress: called with (steps done, most steps) every few hundred steps.
        checkpoint: where the training is kept while it goes on, so that it can be resumed; it stays at the end.

    Raises:
        ValueError: an unknown or unfitting engine, a mask of another layout, a batch larger than the training
            split, a negative snapshot step, a network that does not take the task's inputs, or a checkpoint of another
            training.

    Examples:
        >>> task = sc.load_task("digits")
        >>> network = sc.Workload("lenet_300_100", task).build(seed=0)
        >>> record = train(network, task, Recipe(max_steps=200, evaluation_interval=100))
        >>> record.steps, [entry.step for entry in record.history], record.best_validation_metric > 0.8
        (200, [100, 200], True)
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}, expected one of {', '.join(ENGINES)}")
    if any(step < 0 for step in snapshot_steps):
        raise ValueError(f"the snapshot steps are {sorted(snapshot_steps)}, expected zero or more")
    check_batch_size(task, recipe)
    where = choose_device(str(device))
    started = spent(where)
    network.to(where)
    if mask is not None:
        mask.apply_to(network)
        mask = None if mask.kept == mask.total else mask.to(where)
    with modes_kept(network):
        network.train()
        fit = fitted(network, mask, task, recipe, where, engine=engine, compact=compact)
        small, compacted = fit.network.train(), fit.compacted
        training = fit.prepared(task.train, where)
        validation = fit.prepared(task.validation, where)
        check_takes(small, training, task)
        runner = make_engine(fit.engine, small, fit.mask, task.objective, recipe, training)
        if checkpoint is not None:
            decided = deciding(network, mask, task, recipe, seed, snapshot_steps) | {"the device": where.type}
            checkpoint.begin(
                decided | {"the engine": [runner.name, compacted is not None]}, lambda: spent(where) - started
            )
        with seeded(seed, where):
            (done,) = run_trainings(
                runner,
                recipe,
                len(training),
                validation,
                [seed],
                snapshot_steps=snapshot_steps,
                progress=progress,
                checkpoint=checkpoint,
            )
        last = not (restore_best or done.diverged)
        sizing = Sizing(network, compacted, recipe)
        snapshots = {step: sizing.full(state, step) for step, state in done.snapshots.items()}
        final = (runner.state(), done.step) if last else (done.best_state, done.best.step)
        load_state(network, sizing.full(*final))
        if recipe.channels_last:
            network.to(memory_format=torch.contiguous_format)
    seconds = spent(where) - started + (checkpoint.seconds if checkpoint is not None else 0)
    shrunk = None if compacted is None else Shrunk.of(small, network)
    return TrainingRecord.of(done, recipe, runner.name, seconds, snapshots, shrunk)


def evaluate(
    network: nn.Module,
    task: Task,
    split: Literal["train", "validation", "test"] = "test",
    *,
    device: str | torch.device = "cpu",
) -> Evaluated:
    """Mean loss and metrics of `network` on a split of `task`, in evaluation mode, in big batches.

    The network is moved to `device`; its mode is restored.

    Raises:
        ValueError: an unknown split or device, or a network that does not take the task's inputs.

    Examples:
        >>> task, network = Task.of(torch.eye(50), torch.arange(50) % 2), nn.Linear(50, 2, bias=False)
        >>> _ = nn.init.zeros_(network.weight)
        >>> found = evaluate(network, task)
        >>> found.examples, round(found.loss, 4)  # log 2: it does not know the class
        (10, 0.6931)
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"unknown split {split!r}, expected 'train', 'validation' or 'test'")
    where = choose_device(str(device))
    network.to(where)
    data = place_split(getattr(task, split), network, where)
    check_takes(network, data, task)
    return evaluate_network(network, data, task.objective)
