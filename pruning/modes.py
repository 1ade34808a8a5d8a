"""Modes of a network's modules: kept while something is done, and set for scoring. Settings read this without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Statistics = Literal["batch", "running"]
"""What batch normalisation normalises by while a network is scored: the batch's mean and variance, or the running ones,
which are 0 and 1 in a network that was not trained."""


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Put the mode of every module back, training or evaluation.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
        >>> with modes_kept(network):
        ...     _ = network.eval()
        >>> network.training, network[1].training
        (True, True)
    """
    modes = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def scored_by(network: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Set the mode that a network is scored in, whatever mode it came in, and put its own back afterwards.

    That is training mode, as the network will be trained (random layers draw from the scorers' own generators); with
    `running` all layers that have running statistics are in evaluation mode.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()).eval()
        >>> with scored_by(network, "running"):
        ...     [module.training for module in network]
        [True, False, True]
        >>> network.training
        False
    """
    with modes_kept(network):
        network.train()
        if statistics == "running":
            for module in network.modules():
                if getattr(module, "running_mean", None) is not None:
                    module.eval()
        yield
