"""Recalibration: the statistics of batch norms, estimated again for the weights that a network has now."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from scratchcard.pruning.inputs import Inputs, forward, placed, rows
from scratchcard.pruning.modes import modes_kept
from scratchcard.workloads.engines.evaluator import batch_size
from scratchcard.workloads.task import Task


def recalibrate(network: nn.Module, task: Task, *, seed: int = 0) -> None:
    """Estimate the running means and variances of all batch norms anew, on the training split.

    Pruning changes what enters a batch norm, and its statistics are those from before. They become the means over
    batches of a permutation of the training examples, as `torch.optim.swa_utils.update_bn` takes them; all else of the
    network (dropout among it) is in evaluation mode, as it will be used, and every mode is restored. Weights stay.

    Args:
        network: where it lies, in its dtype; changed in place.
        task: only `train` is read.
        seed: of the permutation.

    Raises:
        ValueError: the training split has one example, of which there is no variance.

    Warns:
        UserWarning: the network has no batch norm with running statistics.

    Examples:
        >>> task = Task.of(torch.tensor([[4.0], [6.0]] * 30), torch.arange(60) % 2)
        >>> network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
        >>> _ = nn.init.ones_(network[0].weight), nn.init.zeros_(network[0].bias)
        >>> recalibrate(network, task)
        >>> 4 < float(network[1].running_mean) < 6
        True
    """
    if not any(isinstance(module, _BatchNorm) and module.running_mean is not None for module in network.modules()):
        warnings.warn(
            f"{type(network).__name__} has no batch norm with running statistics: recalibrating changes nothing",
            stacklevel=2,
        )
        return
    parameter, inputs = next(network.parameters()), task.train.inputs
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed))
    # Parts of nearly one size: torch's mean gives each the same weight, and a last batch of one has no variance.
    parts = order.tensor_split(math.ceil(len(order) / batch_size(inputs)))
    with modes_kept(network):
        update_bn(
            (placed(rows(inputs, part), parameter.device, parameter.dtype) for part in parts), _OnlyNorms(network)
        )


class _OnlyNorms(nn.Module):
    """A network that takes one value as its inputs, by name or not, and whose training mode is of its batch norms."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> _OnlyNorms:
        """Evaluation mode, but for batch norms."""
        self.training = mode
        self.network.eval()
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    def forward(self, inputs: Inputs) -> Tensor:
        return forward(self.network, inputs)
