"""Changes of `toys.mlp` that leave its function as it is: what they do to scores tells criteria apart."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

ORDERS = (torch.tensor([3, 0, 6, 1, 5, 2, 4]), torch.tensor([5, 2, 0, 4, 1, 3]))


def permuted(network: nn.Sequential) -> nn.Sequential:
    """The network with its hidden units in another order."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for order, before, after in zip(ORDERS, (0, 2), (2, 4), strict=True):
            network[before].weight.copy_(network[before].weight[order])
            network[before].bias.copy_(network[before].bias[order])
            network[after].weight.copy_(network[after].weight[:, order])
    return network


def permuted_back(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores of a permuted network in the original order."""
    first, second = (torch.argsort(order) for order in ORDERS)
    return {
        "0.weight": scores["0.weight"][first],
        "2.weight": scores["2.weight"][second][:, first],
        "4.weight": scores["4.weight"][:, second],
    }


def rescaled(network: nn.Sequential) -> nn.Sequential:
    """The network with each hidden unit's incoming weights multiplied, its outgoing ones divided by a number.

    ReLU is homogeneous, so the function stays.
    """
    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for before, after in ((0, 2), (2, 4)):
            units = network[before].out_features
            factors = torch.rand(units, generator=generator, dtype=torch.float64) * 4 + 0.25
            network[before].weight.mul_(factors[:, None])
            network[before].bias.mul_(factors)
            network[after].weight.div_(factors)
    return network
