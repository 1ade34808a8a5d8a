"""Fitting: what of a masked network is trained, and by which engine, so that the outcome is the network's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from scratchcard.pruning.compaction import Compacted
from scratchcard.pruning.compaction import compact as compact_network
from scratchcard.pruning.inputs import rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import modes_kept
from scratchcard.pruning.state import copied_module
from scratchcard.workloads.augmentations import NONE
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.engine import Engine, State, check_runs, place_split
from scratchcard.workloads.engines.selection import EngineName, make_engine
from scratchcard.workloads.engines.sizing import Sizing
from scratchcard.workloads.engines.trial import differs, first_examples, without_dropout
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split, Task


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is trained in place of a masked network.

    Attributes:
        network: the network itself, or the small one that is left of it.
        mask: of that network; None keeps all.
        compacted: how the small network belongs to the whole; None if it is the network itself.
        engine: the name of the engine that trains it.

    Examples:
        >>> task = sc.load_task("digits")
        >>> fit = fitted(sc.Workload("lenet_300_100", task).build(0), None, task, Recipe(), torch.device("cpu"))
        >>> fit.engine, fit.compacted is None
        ('dense', True)
    """

    network: nn.Module
    mask: Mask | None
    compacted: Compacted | None
    engine: EngineName

    @property
    def kind(self) -> tuple[str, bool]:
        """Engine, and whether it trains a small network: what a trial is about."""
        return self.engine, self.compacted is not None

    def prepared(self, split: Split, device: torch.device) -> Split:
        """A split on the device, in the network's dtype, with the inputs that the network takes."""
        if self.compacted is not None and self.compacted.inputs is not None:
            split = dataclasses.replace(split, inputs=self.compacted.gather(split.tensor))
        return place_split(split, self.network, device)


def fitted(
    network: nn.Module,
    mask: Mask | None,
    task: Task,
    recipe: Recipe,
    device: torch.device,
    *,
    engine: EngineName = "auto",
    compact: bool = True,
    tried: Container[tuple[str, bool]] = (),
) -> Fitted:
    """What of a masked network is trained, and by which engine.

    Engines know a network by its layers; what else it does (hooks, weights that are used past their layer, branches by
    the layers' types, layers that are subclasses) shows in a trial alone: one step on a few examples, beside the
    network's own.

    Args:
        network: on the device, in training mode, its pruned weights zero.
        mask: None keeps all.
        task: its first examples are tried.
        recipe: of the training.
        device: of the training.
        engine: see `workloads.engines.training.train`.
        compact: whether to remove what the mask makes useless.
        tried: the kinds of which this network has passed the trial before.

    Raises:
        ValueError: an engine that was asked for does not compute what the network computes, or the network does not
            take the task's inputs.

    Examples:
        >>> task = sc.load_task("digits")
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh())
        >>> fitted(network, None, task, Recipe(), torch.device("cpu")).engine
        'autograd'
    """
    small = _compacted(network, mask, recipe, task) if compact and mask is not None and engine != "sparse" else None
    found = Fitted(network, mask, None, engine) if small is None else Fitted(small.network, small.mask, small, engine)
    few = first_examples(task.train)
    examples = place_split(few, network, device)
    check_takes(network, examples, task)
    trial = dataclasses.replace(recipe, batch_size=len(few))
    prepared = found.prepared(few, device)
    chosen = make_engine(engine, found.network.train(), found.mask, task.objective, trial, prepared)
    name = cast(EngineName, chosen.name)
    if (small is None and type(chosen) is AutogradEngine) or (name, small is not None) in tried:
        return dataclasses.replace(found, engine=name)
    sizing = Sizing(network, small, Recipe())

    def make(recipe: Recipe) -> tuple[Engine, Split, Callable[[State], State]]:
        worked = without_dropout(copied_module(found.network)).train()
        made = make_engine(name, worked, found.mask, task.objective, recipe, prepared)
        return made, prepared, lambda state: sizing.full(state, 1)

    fault = differs(network, mask, task.objective, examples, make)
    if not fault:
        return dataclasses.replace(found, engine=name)
    if engine in ("sparse", "fused"):
        raise ValueError(
            f"the {engine} engine does not compute what this network computes ({fault}); use engine='auto' or "
            "'autograd'"
        )
    return Fitted(network, mask, None, "autograd")


def check_takes(network: nn.Module, data: Split, task: Task) -> None:
    """Refuse a network that cannot take two of the inputs, in evaluation mode.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> check_takes(nn.Linear(3, 2), task.train, task)
        Traceback (most recent call last):
            ...
        ValueError: the network cannot take the inputs of own: ...
    """
    with modes_kept(network):
        network.eval()
        check_runs(network, rows(data.inputs, slice(2)), f"the network cannot take the inputs of {task.name}")


def _compacted(network: nn.Module, mask: Mask, recipe: Recipe, task: Task) -> Compacted | None:
    """The small network; None where nothing can be removed, or the network cannot be followed at all."""
    try:
        small = compact_network(network, mask, task.train.inputs, decay=recipe.weight_decay > 0)
    except ValueError:
        return None
    if small.inputs is not None and (recipe.augmentation != NONE or recipe.channels_last):
        return None  # images are taken as a whole: none of their pixels may be left out before
    sizes = [sum(p.numel() for p in each.parameters()) for each in (small.network, network)]
    return small if sizes[0] < sizes[1] else None
