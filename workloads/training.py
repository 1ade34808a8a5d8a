"""Training and evaluation of a network, dense or masked, on a task that lies in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from pruning.chain import NotAChainError
from pruning.compaction import Compacted, compact
from pruning.mask import Mask
from workloads.device import choose_device
from workloads.engine import Engine, State, evaluate_split
from workloads.recipe import Recipe
from workloads.selection import ENGINES, EngineName, make_engine
from workloads.task import Split, Task

__all__ = ["ENGINES", "Evaluated", "Evaluation", "Recipe", "TrainingRecord", "evaluate", "train"]

# So many steps at most between two calls of `progress`.
PROGRESS_STEPS = 430


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation split during training.

    Attributes:
        step: training steps taken so far.
        train_loss: mean over the steps since the last evaluation, each measured before its update.
        validation_loss, validation_accuracy: on the whole validation split.
    """

    step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What a training did.

    Attributes:
        steps: steps taken.
        best_step: the step after which the validation loss was lowest (the first of equals); 0 if it never
            was a number.
        best_validation_loss, best_validation_accuracy: at that step; infinity and 0 if there is none.
        history: the evaluations, in order.
        seconds: wall-clock time of the whole call.
        engine: which engine ran: dense, sparse, fused or autograd.
        early_stopped: stopped before the recipe's last step, out of patience or diverged.
        diverged: stopped because a loss was NaN or infinite.
        snapshots: the full-size network's state on the CPU after the steps asked for, as far as they were
            reached.
    """

    steps: int
    best_step: int
    best_validation_loss: float
    best_validation_accuracy: float
    history: tuple[Evaluation, ...]
    seconds: float
    engine: str
    early_stopped: bool
    diverged: bool = False
    snapshots: Mapping[int, State] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Evaluated:
    """Mean loss and accuracy on `examples` examples."""

    loss: float
    accuracy: float
    examples: int


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
) -> TrainingRecord:
    """Train `network` in place; its pruned weights are set to zero first and stay exactly zero.

    All data is put on the device once, in the network's dtype. Each epoch is one permutation of the training
    examples from a `torch.Generator` seeded with `seed`, cut into batches. The same arguments give the same
    result, to the bit on the CPU. Networks are small: one torch thread (`torch.set_num_threads(1)`) is
    fastest, and several trainings side by side in processes; `train` leaves the caller's setting as it is.

    A loss that becomes NaN or infinite ends the training: the record says `diverged`, and the network gets
        the best
    state before, which is the state before training if no evaluation came first.

    Args:
        network: moved to `device` and trained there; its mode (training or evaluation) is restored.
        task: the data and the loss; only `train` and `validation` are read.
        recipe: optimiser, steps, early stopping.
        mask: the kept weights; None trains all.
        seed: of the data order, and of dropout.
        device: `"cpu"`, `"cuda"` or `"auto"`.
        engine: `"dense"` multiplies whole matrices; `"sparse"` keeps linear layers below 2 % density as CSR;
            `"fused"` runs all steps in one compiled loop (ReLU multi-layer perceptrons on the CPU);
            `"autograd"` is the plain way that every network can go; `"auto"` takes the one that measured
            fastest. An engine that does not fit the network falls back to `"autograd"` only under `"auto"`
            and `"dense"`.
        compact: remove what the mask makes useless before training (`pruning.compaction`); a network that is
            no chain of layers is trained at its full size. What was removed keeps its value and takes no
            part in weight decay.
        snapshot_steps: after which steps to copy the network's state, for rewinding; 0 is before the first
            step, with the pruned weights already zero.
        restore_best: end with the state of the lowest validation loss, not with the last.
        progress: called with (steps done, most steps) every few hundred steps.

    Raises:
        ValueError: an unknown or unfitting engine, a mask of another layout, a batch larger than the training
            split, a negative snapshot step, or a network that does not take the task's inputs.
    """
    started = time.perf_counter()
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}, expected one of {', '.join(ENGINES)}")
    if any(step < 0 for step in snapshot_steps):
        raise ValueError(f"the snapshot steps are {sorted(snapshot_steps)}, expected zero or more")
    examples = len(task.train)
    if recipe.batch_size > examples:
        raise ValueError(
            f"the batch size {recipe.batch_size} exceeds the {examples} training examples of {task.name}; "
            "set the recipe's batch_size lower"
        )
    where = choose_device(str(device))
    network.to(where)
    if mask is not None:
        mask.apply_to(network)
        mask = None if mask.kept == mask.total else mask.to(where)
    compacted = _compacted(network, mask, recipe) if compact and mask is not None else None
    small, small_mask = (network, mask) if compacted is None else (compacted.network, compacted.mask)
    modes = {module: module.training for module in network.modules()}
    small.train()
    try:
        training = _prepared(task.train, compacted, small, where)
        validation = _prepared(task.validation, compacted, small, where)
        runner = make_engine(engine, small, small_mask, task.loss, recipe, training)
        course = _Course(runner, recipe, validation, frozenset(snapshot_steps), progress)
        with _seeded(seed, where):
            course.run(_batches(examples, recipe.batch_size, seed))
        final = runner.state() if not (restore_best or course.diverged) else course.best_state
        snapshots = {step: _full(state, network, compacted) for step, state in course.snapshots.items()}
        _full_size(network, compacted, final)
    finally:
        for module, mode in modes.items():
            module.training = mode
    best = course.best
    return TrainingRecord(
        steps=course.step,
        best_step=0 if best is None else best.step,
        best_validation_loss=math.inf if best is None else best.validation_loss,
        best_validation_accuracy=0.0 if best is None else best.validation_accuracy,
        history=tuple(course.history),
        seconds=time.perf_counter() - started,
        engine=runner.name,
        early_stopped=course.step < recipe.max_steps or course.diverged,
        diverged=course.diverged,
        snapshots=snapshots,
    )


def evaluate(
    network: nn.Module,
    task: Task,
    split: Literal["train", "validation", "test"] = "test",
    *,
    device: str | torch.device = "cpu",
) -> Evaluated:
    """Mean loss and accuracy of `network` on a split of `task`, in evaluation mode, in big batches.

    The network is moved to `device`; its mode is restored.

    Raises:
        ValueError: an unknown split or device.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"unknown split {split!r}, expected 'train', 'validation' or 'test'")
    where = choose_device(str(device))
    network.to(where)
    data: Split = getattr(task, split)
    loss, accuracy = evaluate_split(network, _prepared(data, None, network, where), task.loss)
    return Evaluated(loss, accuracy, len(data))


class _Course:
    """The way of one training: steps, evaluations, snapshots, the best state, the end."""

    def __init__(
        self,
        runner: Engine,
        recipe: Recipe,
        validation: Split,
        snapshot_steps: frozenset[int],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._runner, self._recipe, self._validation = runner, recipe, validation
        self._snapshot_steps, self._progress = snapshot_steps, progress
        self.step, self.diverged = 0, False
        self.history: list[Evaluation] = []
        self.best: Evaluation | None = None
        self.best_state = runner.state()
        self.snapshots: dict[int, State] = {0: runner.state()} if 0 in snapshot_steps else {}

    def run(self, batches: Iterator[Tensor]) -> None:
        """Train until the last step, the end of patience or divergence."""
        total, since = 0.0, 0
        while self.step < self._recipe.max_steps:
            stop = self._next_stop()
            order = torch.stack([next(batches) for _ in range(stop - self.step)])
            total, since = total + self._runner.run(order) * len(order), since + len(order)
            self.step = stop
            if not math.isfinite(total):
                self.diverged = True
                return
            if stop in self._snapshot_steps:
                self.snapshots[stop] = self._runner.state()
            if self._progress is not None:
                self._progress(stop, self._recipe.max_steps)
            if stop % self._recipe.evaluation_interval == 0 or stop == self._recipe.max_steps:
                self._evaluate(total / since)
                total, since = 0.0, 0
                if self.diverged or self._out_of_patience():
                    return

    def _next_stop(self) -> int:
        interval = self._recipe.evaluation_interval
        stops = [self._recipe.max_steps, (self.step // interval + 1) * interval, self.step + PROGRESS_STEPS]
        return min(stops + [step for step in self._snapshot_steps if step > self.step])

    def _evaluate(self, train_loss: float) -> None:
        loss, accuracy = self._runner.evaluate(self._validation)
        found = Evaluation(self.step, train_loss, loss, accuracy)
        self.history.append(found)
        if not math.isfinite(loss):
            self.diverged = True
        elif self.best is None or loss < self.best.validation_loss:
            self.best, self.best_state = found, self._runner.state()

    def _out_of_patience(self) -> bool:
        waited = sum(1 for found in self.history if self.best is not None and found.step > self.best.step)
        return waited >= self._recipe.patience


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from the seed; the random state of the caller is put back."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield


def _batches(examples: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices `(batch,)`: one permutation an epoch, the incomplete last batch dropped."""
    generator = torch.Generator().manual_seed(seed)
    whole = examples - examples % batch_size
    while True:
        yield from torch.randperm(examples, generator=generator)[:whole].view(-1, batch_size)


def _compacted(network: nn.Module, mask: Mask, recipe: Recipe) -> Compacted | None:
    try:
        return compact(network, mask, decay=recipe.weight_decay > 0)
    except NotAChainError:
        return None


def _prepared(split: Split, compacted: Compacted | None, network: nn.Module, device: torch.device) -> Split:
    """The split on the device, in the network's dtype, with the inputs that a compacted network takes."""
    inputs = split.inputs if compacted is None else compacted.gather(split.inputs)
    parameter = next(network.parameters(), inputs)
    if inputs.is_floating_point():
        inputs = inputs.to(parameter.dtype)
    return Split(inputs.to(device).contiguous(), split.targets.to(device))


def _full(state: State, network: nn.Module, compacted: Compacted | None) -> State:
    """The full-size network's state on the CPU for the state of the network that was trained."""
    if compacted is None:
        return {name: tensor.to("cpu", copy=True) for name, tensor in state.items()}
    full = {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}
    compacted.expand_state(full, state)
    return full


def _full_size(network: nn.Module, compacted: Compacted | None, state: State) -> None:
    if compacted is None:
        network.load_state_dict(state)
    else:
        compacted.expand_state(network.state_dict(), state)
