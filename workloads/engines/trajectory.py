"""Trajectory: one training that is looked at, masked and gone on with; it evaluates nothing and stops for nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import modes_kept
from scratchcard.pruning.state import load_state
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.engine import State, seeded
from scratchcard.workloads.engines.fitting import Fitted, fitted
from scratchcard.workloads.engines.loop import batches
from scratchcard.workloads.engines.selection import make_engine
from scratchcard.workloads.engines.sizing import Sizing
from scratchcard.workloads.recipe import Recipe, check_batch_size
from scratchcard.workloads.task import Split, Task


class Diverged(ValueError):
    """A training whose loss is no number any more.

    Examples:
        >>> issubclass(Diverged, ValueError)
        True
    """


class Trajectory:
    """The training of one network, in stretches between which its weights may be looked at and pruned.

    Data comes as in `train`: one permutation of the training examples an epoch, seeded, over all stretches. Each
    stretch trains what the mask leaves, compacted where that is less, by the engine that is fastest for it; only the
    examples of its own steps are read. The optimiser's moments begin anew in each stretch, unless it goes `onward`. The
    learning rate is the recipe's, without a schedule: those are for a whole training.

    Attributes:
        network: trained in place; on the device.
        step: steps taken.
        engine: the one of the last stretch; empty before there is one.
        recipe, seed, device: as given.
        onward: the moments go on from one stretch to the next, which both train the whole network: it is looked at, and
            left as it is. A network with dropout still draws anew in each stretch.

    Raises:
        ValueError: a batch larger than the training split, or a recipe with a schedule.

    Examples:
        >>> task = sc.load_task("digits")
        >>> network = sc.Workload("lenet_300_100", task).build(seed=0)
        >>> trajectory = Trajectory(network, task, Recipe(learning_rate=0.2), seed=0)
        >>> first, later = trajectory.advance(20), trajectory.advance(20)
        >>> trajectory.step, trajectory.engine, first > later
        (40, 'dense', True)
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        recipe: Recipe,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        onward: bool = False,
    ) -> None:
        check_batch_size(task, recipe)
        if recipe.learning_rate_schedule != "constant" or recipe.warmup:
            raise ValueError("the search's recipe has a schedule or a warm-up, expected a constant learning rate")
        self.device = choose_device(str(device))
        self.network = network.to(self.device)
        self.step, self.engine = 0, ""
        self.recipe, self.seed, self.onward = recipe, seed, onward
        self._task = task
        self._standing: State | None = None
        self._order = self._order_from(0)
        self._tried: set[tuple[str, bool]] = set()

    def advance(self, steps: int, mask: Mask | None = None) -> float:
        """Train for some steps, the pruned weights at zero; the mean loss of the steps, each before it.

        Raises:
            ValueError: no steps, or a mask of another layout.
            Diverged: the loss or a weight is no number any more. The trajectory stands where it stood; the
                network's weights are lost.
        """
        if steps < 1:
            raise ValueError(f"a trajectory goes on by at least one step, got {steps}")
        if mask is not None:
            mask.apply_to(self.network)
            mask = None if mask.kept == mask.total else mask.to(self.device)
        order = torch.stack([next(self._order) for _ in range(steps)])
        with modes_kept(self.network):
            self.network.train()
            fit = self._fitted(mask)
            sizing = Sizing(self.network, fit.compacted, self.recipe)
            split, order = self._read(order)
            prepared = fit.prepared(split, self.device)
            runner = make_engine(fit.engine, fit.network.train(), fit.mask, self._task.objective, self.recipe, prepared)
            if self._standing is not None and mask is None:
                runner.restore(self._standing, self.step)
            with seeded(self.seed + self.step, self.device):
                loss = float(runner.run(order.unsqueeze(0)))
            state = runner.state()
            if not math.isfinite(loss) or not all(bool(tensor.isfinite().all()) for tensor in state.values()):
                self._order = self._order_from(self.step)
                raise Diverged(
                    f"the search's training diverged before step {self.step + steps}; take a lower rate "
                    "(search_learning_rate, search_stride, search_rise)"
                )
            self.step, self.engine = self.step + steps, runner.name
            self._standing = runner.standing() if self.carries and mask is None else None
            load_state(self.network, sizing.full(state, steps))
            if self.recipe.channels_last:
                self.network.to(memory_format=torch.contiguous_format)
        return loss / steps

    @property
    def carries(self) -> bool:
        """Whether more goes on from one stretch to the next than the weights: moments."""
        return self.onward and (self.recipe.optimizer != "sgd" or self.recipe.momentum > 0)

    def skip(self, steps: int) -> None:
        """Stand so many steps further without training: the network is given its weights otherwise."""
        for _ in range(steps):
            next(self._order)
        self.step += steps

    def _order_from(self, step: int) -> Iterator[Tensor]:
        return itertools.islice(batches(len(self._task.train), self.recipe.batch_size, self.seed), step, None)

    def _read(self, order: Tensor) -> tuple[Split, Tensor]:
        """The examples of an order `(steps, batch)`, and the order of those."""
        train = self._task.train
        if order.numel() >= len(train):
            return train, order
        places = order.reshape(-1).to(train.targets.device)
        return Split(rows(train.inputs, places), train.targets[places]), torch.arange(order.numel()).view(order.shape)

    def _fitted(self, mask: Mask | None) -> Fitted:
        """What is trained of the network under a mask, and by which engine; each kind is tried once."""
        found = fitted(self.network, mask, self._task, self.recipe, self.device, tried=self._tried)
        self._tried.add(found.kind)
        return found
