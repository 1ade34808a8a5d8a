"""Networks by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from scratchcard.registry import lookup
from scratchcard.workloads.named_options import name_with, options_in, plain_name
from scratchcard.workloads.networks.convolutional import conv, lenet_5, vgg
from scratchcard.workloads.networks.lenet import lenet_300_100
from scratchcard.workloads.networks.mlp import mlp
from scratchcard.workloads.networks.of_package import is_of_package, package_network
from scratchcard.workloads.networks.residual import resnet, resnet_18, wide_resnet
from scratchcard.workloads.networks.takes import Factory, Shape, takes_tokens
from scratchcard.workloads.networks.text import text_bag, text_cnn, text_widths
from scratchcard.workloads.networks.transformer import vit_small
from scratchcard.workloads.networks.word_vectors import vectors_digest

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
    "text_cnn": text_cnn,
    "text_widths": text_widths,
    "text_bag": text_bag,
}


def build_network(
    name: str,
    input_shape: Shape | Mapping[str, Shape],
    outputs: int,
    seed: int,
    vocabulary: Sequence[str] | None = None,
) -> nn.Module:
    """The network called `name` for this input shape and so many outputs, initialised from `seed` alone.

    A name is a registered one, with options where it takes some (`text_cnn,width=50`), or `torchvision:` or `timm:` and
    a name of theirs. The same seed gives the same weights in every process and leaves the global random state as it
    was. Networks of texts need the task's vocabulary.

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
        factory = registered_network(name)
    except ValueError as error:
        if "." not in name:
            raise
        raise ValueError(f"{error}; a network of your own is package.module:factory") from error
    options = options_in(factory, name)
    given: dict[str, Any] = {} if options is None else {"options": options}
    if takes_tokens(factory):
        if vocabulary is None:
            raise ValueError(
                f"the network {plain_name(name)!r} takes texts, and the task has none; name one of texts, such as "
                "movie_reviews or text_folder:PATH"
            )
        given["vocabulary"] = vocabulary
    with torch.random.fork_rng(devices=[]):  # torch's layers draw a first initialisation when they are made
        return factory(input_shape, outputs, generator=torch.Generator().manual_seed(seed), **given)


def registered_network(name: str) -> Factory:
    """The factory of a registered network; its name may hold options.

    Raises:
        ValueError: unknown name.

    Examples:
        >>> registered_network("text_cnn,width=50") is NETWORKS["text_cnn"]
        True
    """
    return lookup(NETWORKS, "networks", plain_name(name))


def plainly(name: str) -> str:
    """A registered network's name without those of its options that say what they would be anyway.

    Raises:
        ValueError: unknown name, or options that it does not take.

    Examples:
        >>> plainly("text_cnn,filters=100,width=50")
        'text_cnn,width=50'
    """
    factory = registered_network(name)
    return name_with(plain_name(name), options_in(factory, name))


def network_files(name: str) -> dict[str, str]:
    """sha256 of the files that a network's name names: what else decides its initial weights.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("b.vec").write_text("cat 1 2 3")
        >>> list(network_files("text_cnn,vectors=b.vec")), network_files("text_cnn")
        (['vectors_sha256'], {})
    """
    if "," not in name:
        return {}
    named = getattr(options_in(registered_network(name), name), "vectors", None)
    return {} if named is None else {"vectors_sha256": vectors_digest(named)}
