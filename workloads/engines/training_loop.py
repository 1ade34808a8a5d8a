"""Course: the way of one training through steps, evaluations and snapshots to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from scratchcard.workloads.engines.engine import Engine, State
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

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


class Course:
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

    def run(self, order_of: Iterator[Tensor]) -> None:
        """Train until the last step, the end of patience or divergence."""
        total, since = 0.0, 0
        while self.step < self._recipe.max_steps:
            stop = self._next_stop()
            order = torch.stack([next(order_of) for _ in range(stop - self.step)])
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
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from the seed; the random state of the caller is put back."""
    devices = []
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield


def batches(examples: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices `(batch,)`: one permutation an epoch, the incomplete last batch dropped."""
    generator = torch.Generator().manual_seed(seed)
    whole = examples - examples % batch_size
    while True:
        yield from torch.randperm(examples, generator=generator)[:whole].view(-1, batch_size)
