"""Stacked training: many networks of one architecture at once, so that several trainings share one GPU."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.engine import place_split
from scratchcard.workloads.engines.loop import run_trainings
from scratchcard.workloads.engines.selection import make_stacked_engine
from scratchcard.workloads.engines.training import TrainingRecord, train
from scratchcard.workloads.engines.vmap import Masks, NotStackableError, StackedEngine
from scratchcard.workloads.recipe import Recipe, check_batch_size
from scratchcard.workloads.session import shifted
from scratchcard.workloads.task import Task


def train_stacked(
    networks: Sequence[nn.Module],
    task: Task,
    recipe: Recipe,
    *,
    masks: Masks,
    seeds: Sequence[int],
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[TrainingRecord]:
    """Train all `networks` in place, in step; each comes out as `train` alone would leave it, but for rounding.

    That is `train(network, task, recipe, mask=mask, seed=seed, engine="autograd", compact=False)` for each: the same
    batches in the same order, the same evaluations, early stopping for each network by itself, the state of its lowest
    validation loss at the end. A network that has stopped leaves the stack and costs nothing more.

    The data lies on the device once, and each step gathers the K batches by their indices. ReLU perceptrons take
    batched products with written-out derivatives, other networks `torch.func.vmap`, batch normalisation included. What
    `vmap` cannot run (a forward pass that depends on values, or that draws random numbers, as dropout does) is trained
    one after another by `train`, with a warning that says why; such records have the engine `autograd`.

    It pays where a step of one network leaves the device idle: on a GPU. On a CPU core `train` is faster for tickets,
    as it compacts them.

    Args:
        networks: of one architecture and dtype, different objects; moved to `device`, their modes stay as they are.
        task: the data and the objective; only `train` and `validation` are read.
        recipe: of all.
        masks: the kept weights of each network; None keeps all.
        seeds: of each network's data order.
        device: `"cpu"`, `"cuda"` or `"auto"`.
        progress: called with (steps done, most steps), both over all networks; a network that has stopped counts as
            done.

    Returns:
        One record for each network, in order. `seconds` is its share of the stack's wall-clock time, in proportion to
        its steps: the shares add up to the time of the call. It is not what the training would take alone.

    Raises:
        ValueError: as many masks and seeds as networks are needed; networks of several architectures or dtypes, one
            network twice, a mask of another layout, or a batch larger than the training split.

    Examples:
        >>> task, recipe = sc.load_task("digits"), Recipe(max_steps=20, evaluation_interval=10)
        >>> networks = [sc.Workload("lenet_300_100", task).build(seed) for seed in (0, 1)]
        >>> records = train_stacked(networks, task, recipe, masks=[None, None], seeds=[0, 1])
        >>> [record.steps for record in records], records[0].engine
        ([20, 20], 'together')
    """
    started = time.perf_counter()
    _check(networks, task, recipe, masks, seeds)
    if not networks:
        return []
    where = choose_device(str(device))
    for network, mask in zip(networks, masks, strict=True):
        network.to(where)
        if mask is not None:
            mask.apply_to(network)
    training, validation = (place_split(split, networks[0], where) for split in (task.train, task.validation))
    try:
        engine = make_stacked_engine(networks, masks, task.objective, recipe, training, seeds[0])
    except NotStackableError as error:
        warnings.warn(f"{error}; they are trained one after another", stacklevel=2)
        settings: dict[str, Any] = {"device": where, "engine": "autograd", "compact": False}
        records, most = [], recipe.max_steps
        for number, (network, mask, seed) in enumerate(zip(networks, masks, seeds, strict=True)):
            told = shifted(progress, number * most, len(networks) * most)
            records.append(train(network, task, recipe, mask=mask, seed=seed, progress=told, **settings))
        return records
    done = run_trainings(engine, recipe, len(training), validation, seeds, progress=progress)
    with torch.no_grad():
        for network, training_of in zip(networks, done, strict=True):
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
                tensor.copy_(training_of.best_state[name])
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    share = (time.perf_counter() - started) / sum(one.step for one in done)
    return [TrainingRecord.of(one, recipe, StackedEngine.name, one.step * share, {}) for one in done]


def _check(networks: Sequence[nn.Module], task: Task, recipe: Recipe, masks: Masks, seeds: Sequence[int]) -> None:
    if not len(networks) == len(masks) == len(seeds):
        raise ValueError(
            f"expected as many masks and seeds as networks, got {len(networks)} networks, {len(masks)} masks and "
            f"{len(seeds)} seeds"
        )
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("a network is listed twice; each needs an object of its own, as it is trained in place")
    check_batch_size(task, recipe)
    layouts = [
        [(name, t.shape, t.dtype, t.requires_grad) for name, t in [*n.named_parameters(), *n.named_buffers()]]
        for n in networks
    ]
    for place, layout in enumerate(layouts):
        if layout != layouts[0]:
            raise ValueError(
                f"network {place} has other parameters than network 0 (names, shapes, dtypes); train networks of one "
                "architecture in one stack"
            )
