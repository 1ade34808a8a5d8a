"""LeNet-300-100: the fully connected network of LeCun et al. 1998, usual testbed of pruning at initialisation."""

from __future__ import annotations

import math

import torch
from torch import nn


def lenet_300_100(input_shape: tuple[int, ...], classes: int, *, generator: torch.Generator) -> nn.Sequential:
    """`Flatten -> Linear(d, 300) -> ReLU -> Linear(300, 100) -> ReLU -> Linear(100, classes)`.

    Weights are Kaiming-normal, `N(0, 2 / fan_in)` (He et al. 2015, arXiv 1502.01852), biases zero.
    For `(1, 28, 28)` and 10 classes it has 266,200 prunable weights.
    """
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )
    initialise(network, generator)
    return network


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal weights for ReLU and zero biases in every linear and convolution layer, in place."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
