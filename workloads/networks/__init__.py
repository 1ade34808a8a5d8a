"""Networks by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from scratchcard.registry import lookup
from scratchcard.workloads.networks.lenet import lenet_300_100
from scratchcard.workloads.networks.mlp import mlp
from scratchcard.workloads.networks.takes import Factory, Shape

NETWORKS: dict[str, Factory] = {
    "lenet_300_100": lenet_300_100,
    "mlp_500_150": mlp(500, 150),
    "mlp_300_100_50": mlp(300, 100, 50),
}


def build_network(name: str, input_shape: Shape | Mapping[str, Shape], outputs: int, seed: int) -> nn.Module:
    """The network called `name` for this input shape and so many outputs, initialised from `seed` alone.

    The same seed gives the same weights in every process and leaves the global random state as it was.

    Raises:
        ValueError: unknown name, or an input shape that the network does not take.

    >>> build_network("lenet_300_100", (1, 8, 8), 10, seed=0)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    try:
        factory = lookup(NETWORKS, "networks", name)
    except ValueError as error:
        if "." not in name:
            raise
        raise ValueError(f"{error}; a network of your own is package.module:factory") from error
    with torch.random.fork_rng(devices=[]):  # torch's layers draw a first initialisation when they are made
        return factory(input_shape, outputs, generator=torch.Generator().manual_seed(seed))
