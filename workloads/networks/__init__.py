"""Networks by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from scratchcard.registry import lookup
from scratchcard.workloads.networks.convolutional import conv, lenet_5, vgg
from scratchcard.workloads.networks.lenet import lenet_300_100
from scratchcard.workloads.networks.mlp import mlp
from scratchcard.workloads.networks.of_package import is_of_package, package_network
from scratchcard.workloads.networks.residual import resnet, resnet_18, wide_resnet
from scratchcard.workloads.networks.takes import Factory, Shape
from scratchcard.workloads.networks.transformer import vit_small

NETWORKS: dict[str, Factory] = {
    "lenet_300_100": lenet_300_100,
    "mlp_500_150": mlp(500, 150),
    "mlp_300_100_50": mlp(300, 100, 50),
    "lenet_5": lenet_5,
    "conv_2": conv(64),
    "conv_4": conv(64, 128),
    "conv_6": conv(64, 128, 256),
    **{f"vgg_{depth}": vgg(depth, normalised=False) for depth in (11, 13, 16, 19)},
    **{f"vgg_{depth}_bn": vgg(depth, normalised=True) for depth in (11, 13, 16, 19)},
    "resnet_18": resnet_18,
    **{f"resnet_{depth}": resnet(depth) for depth in (20, 32, 56, 110)},
    "wide_resnet_16_4": wide_resnet(16, 4),
    "wide_resnet_28_10": wide_resnet(28, 10),
    "vit_small": vit_small,
}


def build_network(name: str, input_shape: Shape | Mapping[str, Shape], outputs: int, seed: int) -> nn.Module:
    """The network called `name` for this input shape and so many outputs, initialised from `seed` alone.

    A name is a registered one, or `torchvision:` or `timm:` and a name of theirs. The same seed gives the same weights
    in every process and leaves the global random state as it was.

    Raises:
        ValueError: unknown name, or an input shape that the network does not take.

    >>> build_network("lenet_300_100", (1, 8, 8), 10, seed=0)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    if is_of_package(name):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return package_network(name, input_shape, outputs)
    try:
        factory = lookup(NETWORKS, "networks", name)
    except ValueError as error:
        if "." not in name:
            raise
        raise ValueError(f"{error}; a network of your own is package.module:factory") from error
    with torch.random.fork_rng(devices=[]):  # torch's layers draw a first initialisation when they are made
        return factory(input_shape, outputs, generator=torch.Generator().manual_seed(seed))
