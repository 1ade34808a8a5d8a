"""Training and evaluation of a network, dense or masked, on a task that lies in memory."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import nn

from scratchcard.clock import spent
from scratchcard.pruning.compaction import Compacted, compact
from scratchcard.pruning.inputs import rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import modes_kept
from scratchcard.pruning.state import load_state
from scratchcard.workloads.augmentations import NONE
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.checkpoint import Checkpoint, deciding
from scratchcard.workloads.engines.engine import Engine, State, check_runs, place_split, seeded
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_network
from scratchcard.workloads.engines.loop import Evaluation, Training, run_trainings
from scratchcard.workloads.engines.selection import ENGINES, EngineName, make_engine
from scratchcard.workloads.engines.sizing import Sizing
from scratchcard.workloads.engines.trial import differs, first_examples, without_dropout
from scratchcard.workloads.recipe import Recipe, check_batch_size
from scratchcard.workloads.task import Split, Task

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

    @classmethod
    def of(
        cls, done: Training, recipe: Recipe, engine: str, seconds: float, snapshots: Mapping[int, State]
    ) -> TrainingRecord:
        """The record of a training that has ended."""
        best = (done.best.step, done.best.validation_loss, done.best.validation_metric)
        stopped = done.step < recipe.max_steps or done.diverged
        return cls(done.step, *best, tuple(done.history), seconds, engine, stopped, done.diverged, snapshots)


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
    shrinks = compact and mask is not None and engine != "sparse"
    compacted = _compacted(network, mask, recipe, task) if shrinks and mask is not None else None
    with modes_kept(network):
        network.train()
        fault = _fault(network, mask, compacted, engine, task, recipe, where)
        if fault and engine in ("sparse", "fused"):
            raise ValueError(
                f"the {engine} engine does not compute what this network computes ({fault}); use engine='auto' or "
                "'autograd'"
            )
        if fault:
            compacted, engine = None, "autograd"
        small, small_mask = (network, mask) if compacted is None else (compacted.network, compacted.mask)
        small.train()
        training = _prepared(task.train, compacted, small, where)
        validation = _prepared(task.validation, compacted, small, where)
        _check_takes(small, training, task)
        runner = make_engine(engine, small, small_mask, task.objective, recipe, training)
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
    return TrainingRecord.of(done, recipe, runner.name, seconds, snapshots)


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
    _check_takes(network, data, task)
    return evaluate_network(network, data, task.objective)


def _fault(
    network: nn.Module,
    mask: Mask | None,
    compacted: Compacted | None,
    engine: EngineName,
    task: Task,
    recipe: Recipe,
    device: torch.device,
) -> str:
    """What the engine would do otherwise than the network itself, see `trial`; empty where nothing.

    Engines know a network by its layers; what else it does (hooks, weights that are used past their layer, branches by
    the layers' types, layers that are subclasses) shows in a trial alone.
    """
    small, small_mask = (network, mask) if compacted is None else (compacted.network, compacted.mask)
    few = first_examples(task.train)
    prepared = _prepared(few, compacted, small, device)
    examples = place_split(few, network, device)
    _check_takes(network, examples, task)
    recipe = dataclasses.replace(recipe, batch_size=len(few))
    chosen = make_engine(engine, small.train(), small_mask, task.objective, recipe, prepared)
    if compacted is None and type(chosen) is AutogradEngine:
        return ""
    sizing, name = Sizing(network, compacted, Recipe()), cast(EngineName, chosen.name)

    def make(recipe: Recipe) -> tuple[Engine, Split, Callable[[State], State]]:
        worked = without_dropout(copy.deepcopy(small)).train()
        made = make_engine(name, worked, small_mask, task.objective, recipe, prepared)
        return made, prepared, lambda state: sizing.full(state, 1)

    return differs(network, mask, task.objective, examples, make)


def _check_takes(network: nn.Module, data: Split, task: Task) -> None:
    """Refuse a network that cannot take two of the inputs, in evaluation mode."""
    with modes_kept(network):
        network.eval()
        check_runs(network, rows(data.inputs, slice(2)), f"the network cannot take the inputs of {task.name}")


def _compacted(network: nn.Module, mask: Mask, recipe: Recipe, task: Task) -> Compacted | None:
    """The small network; None where nothing can be removed, or the network cannot be followed at all."""
    try:
        small = compact(network, mask, task.train.inputs, decay=recipe.weight_decay > 0)
    except ValueError:
        return None
    if small.inputs is not None and recipe.augmentation != NONE:
        return None  # images are changed as a whole: none of their pixels may be left out before
    sizes = [sum(p.numel() for p in each.parameters()) for each in (small.network, network)]
    return small if sizes[0] < sizes[1] else None


def _prepared(split: Split, compacted: Compacted | None, network: nn.Module, device: torch.device) -> Split:
    """The split on the device, in the network's dtype, with the inputs that a compacted network takes."""
    if compacted is not None and compacted.inputs is not None:
        split = dataclasses.replace(split, inputs=compacted.gather(split.tensor))
    return place_split(split, network, device)
