"""Fully connected networks with ReLU between their layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import nn

from scratchcard.workloads.networks.takes import takes


def mlp(*widths: int) -> Callable[..., nn.Module]:
    """The factory of `Flatten -> Linear(d, w1) -> ReLU -> ... -> Linear(wk, outputs)`.

    Weights are Kaiming-normal, `N(0, 2 / fan_in)` (He et al. 2015, arXiv 1502.01852), biases zero.

    Examples:
        >>> mlp(16)((1, 8, 8), 10, generator=torch.Generator().manual_seed(0))
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Linear(in_features=64, out_features=16, bias=True)
          (2): ReLU()
          (3): Linear(in_features=16, out_features=10, bias=True)
        )
    """

    @takes((1, 28, 28), (64,), (3, 8, 8))
    def build(input_shape: tuple[int, ...], outputs: int, *, generator: torch.Generator) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise((math.prod(input_shape), *widths, outputs)):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        network = nn.Sequential(*layers[:-1])
        initialise(network, generator)
        return network

    build.__name__ = "mlp_" + "_".join(map(str, widths))
    build.__doc__ = f"""Fully connected: hidden layers of {", ".join(map(str, widths))} units with ReLU.

    Examples:
        >>> network = mlp({", ".join(map(str, widths))})((64,), 10, generator=torch.Generator().manual_seed(0))
        >>> network[1]
        Linear(in_features=64, out_features={widths[0]}, bias=True)
    """
    return build


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal weights for ReLU and zero biases in every linear and convolution layer, in place.

    Examples:
        >>> network = nn.Linear(4, 2)
        >>> initialise(network, torch.Generator().manual_seed(0))
        >>> network.bias.data
        tensor([0., 0.])
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
