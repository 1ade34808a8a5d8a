"""The evaluator of every engine: mean loss and metrics of a split, from the objective's additive statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import vmap

from scratchcard.pruning.inputs import Inputs, forward, loss_of, rows, tensors, told
from scratchcard.pruning.modes import modes_kept
from scratchcard.workloads.objective import Function, Objective
from scratchcard.workloads.task import Split

# Numbers in the inputs of one evaluation batch at most: 16 MB of float32, so that it stays near the caches.
BATCH_ELEMENTS = 2**22


@dataclass(frozen=True)
class Evaluated:
    """Mean loss and metrics on `examples` examples.

    >>> found = Evaluated(0.31, {"accuracy": 0.92}, 360)
    >>> found.metric, found.accuracy
    (0.92, 0.92)
    """

    loss: float
    metrics: Mapping[str, float]
    examples: int

    @property
    def metric(self) -> float:
        """The headline: the first of the objective's metrics."""
        return next(iter(self.metrics.values()))

    @property
    def accuracy(self) -> float:
        """The share of right answers.

        Raises:
            ValueError: the objective has no accuracy.
        """
        if "accuracy" not in self.metrics:
            raise ValueError(f"this task has no accuracy, it is measured by {', '.join(self.metrics)}; read `metrics`")
        return self.metrics["accuracy"]


def evaluate_split(
    outputs_of: Callable[[Inputs], Tensor], split: Split, objective: Objective, *, networks: int | None = None
) -> list[Evaluated]:
    """Evaluate one network, or several stacked ones, on `split`, in big batches.

    Args:
        outputs_of: from the inputs of a batch to the outputs of one network `(n, ...)`, or of all `(networks, n, ...)`.
        split: on the device and in the dtype that `outputs_of` takes.
        objective: its loss is averaged over the examples, its statistics are added.
        networks: how many are stacked; None if it is one network.

    Returns:
        One entry for each network.

    Examples:
        >>> split = Split(torch.eye(4), torch.tensor([0, 1, 2, 0]))
        >>> evaluate_split(lambda inputs: 5 * inputs, split, sc.Classification())[0].accuracy
        0.75
        >>> both = lambda inputs: torch.stack([inputs, -inputs])
        >>> two = evaluate_split(both, split, sc.Classification(), networks=2)
        >>> [found.accuracy for found in two]
        [0.75, 0.25]
    """
    loss: Function = partial(loss_of, objective.loss)
    statistics: Function = objective.statistics
    if networks is not None:
        loss, statistics = vmap(objective.loss, in_dims=(0, None)), vmap(statistics, in_dims=(0, None))
    size = batch_size(split.inputs, networks or 1)
    total, sums = torch.zeros(networks or 1, dtype=torch.float64), torch.zeros(())
    with torch.inference_mode():
        for start in range(0, len(split), size):
            part = slice(start, start + size)
            outputs, targets = outputs_of(rows(split.inputs, part)), split.targets[part]
            total = total.to(targets.device) + loss(outputs, targets).double() * len(targets)
            with told(lambda: f"the metric {objective.metric_names[0]} cannot be computed"):
                sums = sums.to(targets.device) + statistics(outputs, targets)
    return [
        Evaluated(one / len(split), objective.metrics(found), len(split))
        for one, found in zip(total.tolist(), sums.cpu().reshape(len(total), -1), strict=True)
    ]


def batch_size(inputs: Inputs, networks: int = 1) -> int:
    """How many examples an evaluation takes at once.

    Examples:
        >>> batch_size(torch.zeros(5, 3, 32, 32)), batch_size(torch.zeros(5, 3, 512, 512))
        (1365, 64)
    """
    elements = sum(math.prod(tensor.shape[1:]) for tensor in tensors(inputs).values())
    return max(64, BATCH_ELEMENTS // max(1, elements) // networks)


def evaluate_network(network: nn.Module, split: Split, objective: Objective) -> Evaluated:
    """Evaluate `network` on `split` in evaluation mode; its mode is restored.

    Examples:
        >>> evaluate_network(nn.Identity(), Split(torch.eye(2), torch.tensor([0, 0])), sc.Classification()).accuracy
        0.5
    """
    with modes_kept(network):
        network.eval()
        return evaluate_split(lambda inputs: forward(network, inputs), split, objective)[0]
