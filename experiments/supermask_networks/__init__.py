"""Perceptrons of the supermask study: 784-200-30-10, and layers that are shrunk in its place."""

from __future__ import annotations

import torch
from torch import nn

from scratchcard.workloads.networks.mlp import mlp
from scratchcard.workloads.task import Task


def sized(task: Task, *widths: int) -> nn.Module:
    """Hidden layers of some widths."""
    return mlp(*widths)(task.input_shape, task.outputs, generator=torch.default_generator)


def mlp_200_30(task: Task) -> nn.Module:
    """The study's network."""
    return sized(task, 200, 30)


def mlp_50_5(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 50, 5)


def mlp_50_15(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 50, 15)


def mlp_50_25(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 50, 25)


def mlp_100_5(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 100, 5)


def mlp_100_15(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 100, 15)


def mlp_100_25(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 100, 25)


def mlp_150_5(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 150, 5)


def mlp_150_15(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 150, 15)


def mlp_150_25(task: Task) -> nn.Module:
    """Shrunk."""
    return sized(task, 150, 25)
