"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from scratchcard.registry import lookup
from scratchcard.workloads.networks.lenet import lenet_300_100
from scratchcard.workloads.networks.mlp import mlp

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "lenet_300_100": lenet_300_100,
    "mlp_500_150": mlp(500, 150),
    "mlp_300_100_50": mlp(300, 100, 50),
}


def build_network(
    name: str, input_shape: tuple[int, ...], classes: int, seed: int, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The network called `name` for this input shape and class count, initialised from `seed` alone.

    The same seed gives the same weights in every process and leaves the global random state as it was.

    Raises:
        ValueError: unknown name.

    Examples:
        >>> build_network("lenet_300_100", input_shape=(1, 8, 8), classes=10, seed=0)
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Linear(in_features=64, out_features=300, bias=True)
          (2): ReLU()
          (3): Linear(in_features=300, out_features=100, bias=True)
          (4): ReLU()
          (5): Linear(in_features=100, out_features=10, bias=True)
        )
    """
    factory = lookup(NETWORKS, "networks", name)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw a first initialisation when they are made
        network = factory(input_shape, classes, generator=torch.Generator().manual_seed(seed))
    return network.to(dtype)
