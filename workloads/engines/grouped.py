"""Train many networks of one architecture at once, their parameters stacked: one GPU shared by several trainings."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.group import Group, NotTogetherError
from scratchcard.workloads.engines.perceptron import relu_perceptron
from scratchcard.workloads.engines.perceptron_group import PerceptronGroup
from scratchcard.workloads.engines.training import TrainingRecord, train
from scratchcard.workloads.engines.training_loop import PROGRESS_STEPS, Evaluation, batches
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split, Task

NAME = "together"


def train_together(
    networks: Sequence[nn.Module],
    task: Task,
    recipe: Recipe,
    *,
    masks: Sequence[Mask | None],
    seeds: Sequence[int],
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[TrainingRecord]:
    """Train all `networks` in place, in step; each comes out as `train` alone would leave it, but for rounding.

    That is `train(network, task, recipe, mask=mask, seed=seed, engine="autograd", compact=False)` for each: the same
    batches in the same order, the same evaluations, early stopping for each network by itself, the state of its lowest
    validation loss at the end. A network that has stopped leaves the group and costs nothing more.

    The data lies on the device once, and each step gathers the K batches by their indices. ReLU perceptrons take
    batched products with written-out derivatives, other networks `torch.func.vmap`, batch normalisation included. What
    `vmap` cannot run (a forward pass that depends on values, or that draws random numbers, as dropout does) is trained
    one after another by `train`, with a warning that says why; such records have the engine `autograd`.

    It pays where a step of one network leaves the device idle: on a GPU. On a CPU core `train` is faster for tickets,
    as it compacts them.

    Args:
        networks: of one architecture and dtype, different objects; moved to `device`, their modes stay as they are.
        task: the data and the loss; only `train` and `validation` are read.
        recipe: of all.
        masks: the kept weights of each network; None keeps all.
        seeds: of each network's data order.
        device: `"cpu"`, `"cuda"` or `"auto"`.
        progress: called with (steps done, most steps), both over all networks; a network that has stopped counts as
            done.

    Returns:
        One record for each network, in order. `seconds` is its share of the group's wall-clock time, in proportion to
        its steps: the shares add up to the time of the call. It is not what the training would take alone.

    Raises:
        ValueError: as many masks and seeds as networks are needed; networks of several architectures or dtypes, one
            network twice, a mask of another layout, or a batch larger than the training split.
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
    dtype = next(networks[0].parameters()).dtype
    training, validation = _placed(task.train, dtype, where), _placed(task.validation, dtype, where)
    try:
        group = _make_group(networks, masks, task, recipe, training, seeds)
    except NotTogetherError as error:
        warnings.warn(f"{error}; they are trained one after another", stacklevel=2)
        return _one_by_one(networks, task, recipe, masks, seeds, where, progress)
    members = [_Member(place, batches(len(training), recipe.batch_size, seed)) for place, seed in enumerate(seeds)]
    best = {name: tensor.clone() for name, tensor in group.state().items()}
    _run(group, members, best, validation, recipe, progress)
    with torch.no_grad():
        for place, network in enumerate(networks):
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
                tensor.copy_(best[name][place])
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    share = (time.perf_counter() - started) / sum(member.step for member in members)
    return [member.record(recipe, share) for member in members]


@dataclass
class _Member:
    """One network of the group: where its training stands.

    Attributes:
        place: among all networks.
        order: its batches to come.
        step: steps taken.
        total: the losses since the last evaluation, summed.
    """

    place: int
    order: Iterator[Tensor]
    step: int = 0
    total: float = 0.0
    best: Evaluation | None = None
    history: list[Evaluation] = field(default_factory=list)
    diverged: bool = False

    def look(self, found: Evaluation) -> None:
        """Note an evaluation; as `Course` does."""
        self.history.append(found)
        self.total = 0.0
        if not math.isfinite(found.validation_loss):
            self.diverged = True
        elif self.best is None or found.validation_loss < self.best.validation_loss:
            self.best = found

    def finished(self, recipe: Recipe) -> bool:
        waited = 0 if self.best is None else sum(1 for found in self.history if found.step > self.best.step)
        return self.diverged or waited >= recipe.patience or self.step == recipe.max_steps

    def record(self, recipe: Recipe, seconds_a_step: float) -> TrainingRecord:
        best = self.best
        return TrainingRecord(
            steps=self.step,
            best_step=0 if best is None else best.step,
            best_validation_loss=math.inf if best is None else best.validation_loss,
            best_validation_accuracy=0.0 if best is None else best.validation_accuracy,
            history=tuple(self.history),
            seconds=self.step * seconds_a_step,
            engine=NAME,
            early_stopped=self.step < recipe.max_steps or self.diverged,
            diverged=self.diverged,
        )


def _run(
    group: Group,
    members: Sequence[_Member],
    best: dict[str, Tensor],
    validation: Split,
    recipe: Recipe,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train until every member is finished; `best` `(K, ...)` is kept up to date. Stops are those of `Course`."""
    interval, step, since = recipe.evaluation_interval, 0, 0
    active = list(members)
    while active:
        stop = min(recipe.max_steps, (step // interval + 1) * interval, step + PROGRESS_STEPS)
        taken = stop - step
        order = torch.stack([torch.stack([next(member.order) for _ in range(taken)]) for member in active])
        for member, total in zip(active, group.run(order).tolist(), strict=True):
            member.step = stop
            member.total += total
            member.diverged = not math.isfinite(member.total)
        step, since = stop, since + taken
        if stop % interval == 0 or stop == recipe.max_steps:
            for member, loss, accuracy in zip(active, *group.evaluate(validation), strict=True):
                if not member.diverged:
                    member.look(Evaluation(stop, member.total / since, loss, accuracy))
            since = 0
            _keep_best(group, active, best, stop)
        going = [place for place, member in enumerate(active) if not member.finished(recipe)]
        if going and len(going) < len(active):
            group.select(going)
        active = [active[place] for place in going]
        if progress is not None:
            steps = (len(members) - len(active)) * recipe.max_steps + len(active) * step
            progress(steps, len(members) * recipe.max_steps)


def _keep_best(group: Group, active: Sequence[_Member], best: dict[str, Tensor], step: int) -> None:
    better = [place for place, member in enumerate(active) if member.best is not None and member.best.step == step]
    if not better:
        return
    state = group.state()
    device = next(iter(state.values())).device
    places = torch.tensor(better, device=device)
    into = torch.tensor([active[place].place for place in better], device=device)
    for name, tensor in state.items():
        best[name].index_copy_(0, into, tensor.index_select(0, places))


def _make_group(
    networks: Sequence[nn.Module],
    masks: Sequence[Mask | None],
    task: Task,
    recipe: Recipe,
    training: Split,
    seeds: Sequence[int],
) -> Group:
    # A perceptron is all in the shapes of its layers, and they are the same.
    if task.loss is F.cross_entropy and all(relu_perceptron(network) for network in networks):
        return PerceptronGroup(networks, masks, task.loss, recipe, training)
    group = Group(networks, masks, task.loss, recipe, training)
    group.check(networks, next(batches(len(training), recipe.batch_size, seeds[0])))
    return group


def _check(
    networks: Sequence[nn.Module], task: Task, recipe: Recipe, masks: Sequence[Mask | None], seeds: Sequence[int]
) -> None:
    if not len(networks) == len(masks) == len(seeds):
        raise ValueError(
            f"expected as many masks and seeds as networks, got {len(networks)} networks, {len(masks)} masks and "
            f"{len(seeds)} seeds"
        )
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("a network is listed twice; each needs an object of its own, as it is trained in place")
    if recipe.batch_size > len(task.train):
        raise ValueError(
            f"the batch size {recipe.batch_size} exceeds the {len(task.train)} training examples of {task.name}; "
            "set the recipe's batch_size lower"
        )
    layouts = [
        [(name, t.shape, t.dtype, t.requires_grad) for name, t in [*n.named_parameters(), *n.named_buffers()]]
        for n in networks
    ]
    for place, layout in enumerate(layouts):
        if layout != layouts[0]:
            raise ValueError(
                f"network {place} has other parameters than network 0 (names, shapes, dtypes); train networks of one "
                "architecture together"
            )


def _placed(split: Split, dtype: torch.dtype, device: torch.device) -> Split:
    inputs = split.inputs.to(dtype) if split.inputs.is_floating_point() else split.inputs
    return Split(inputs.to(device).contiguous(), split.targets.to(device))


def _one_by_one(
    networks: Sequence[nn.Module],
    task: Task,
    recipe: Recipe,
    masks: Sequence[Mask | None],
    seeds: Sequence[int],
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> list[TrainingRecord]:
    records = []
    most = recipe.max_steps
    for place, (network, mask, seed) in enumerate(zip(networks, masks, seeds, strict=True)):

        def report(step: int, _: int, before: int = place * most) -> None:
            if progress is not None:
                progress(before + step, len(networks) * most)

        records.append(
            train(
                network,
                task,
                recipe,
                mask=mask,
                seed=seed,
                device=device,
                engine="autograd",
                compact=False,
                progress=report,
            )
        )
    return records
