"""Networks whose tickets' emergence is measured: LeNet-5, Conv-6 and a VGG-19, narrow enough to be trained on a CPU.

Runs are identified by this folder: an edit makes new ones.
"""

from __future__ import annotations

import torch
from torch import nn

from scratchcard.workloads.networks.convolutional import POOL, convolutions, initialised


def lenet_5_narrow() -> nn.Sequential:
    """LeNet-5 at its first widths, 6, 16, 120 and 84 (LeCun et al. 1998), for MNIST: 44,190 weights."""
    layers = [
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    ]
    return initialised(layers, torch.default_generator)


def conv_6_narrow() -> nn.Sequential:
    """Conv-6 (Frankle & Carbin 2019) for 16 x 16 pixels, an eighth of its channels, a quarter of its units."""
    body = convolutions(3, [8, 8, POOL, 16, 16, POOL, 32, 32, POOL])
    head = (nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return initialised([*body, nn.Flatten(), *head], torch.default_generator)


def vgg_19_narrow() -> nn.Sequential:
    """VGG-19 with batch normalisation for 16 x 16 pixels, an eighth of its channels; four poolings, then the mean."""
    body = convolutions(3, [8, 8, POOL, 16, 16, POOL, *[32] * 4, POOL, *[64] * 4, POOL, *[64] * 4], normalised=True)
    return initialised([*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)], torch.default_generator)
