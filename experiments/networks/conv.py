"""A small convolutional network for images of one channel."""

from __future__ import annotations

from torch import nn


def small_conv() -> nn.Sequential:
    """Two convolutions of 16 and 32 channels, pooling, a hidden layer of 64 units: 38,160 weights on 8 x 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
