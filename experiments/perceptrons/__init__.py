"""Perceptrons that early searches are fitted on: of other widths and depths than those that they are judged on."""

from __future__ import annotations

import torch
from torch import nn

from scratchcard.workloads.networks.mlp import mlp
from scratchcard.workloads.task import Task


def narrow(task: Task) -> nn.Module:
    """Hidden layers of 200 and 60 units."""
    return mlp(200, 60)(task.input_shape, task.outputs, generator=torch.default_generator)


def deep(task: Task) -> nn.Module:
    """Hidden layers of 200, 150 and 100 units."""
    return mlp(200, 150, 100)(task.input_shape, task.outputs, generator=torch.default_generator)
