"""A small U-Net: a class for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pair(channels: int, width: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for entering in (channels, width):
        layers += [nn.Conv2d(entering, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """As Ronneberger et al. (2015, arXiv 1505.04597) have it, in three levels of 16, 32 and 64 channels."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second, self.deep = pair(channels, 16), pair(16, 32), pair(32, 64)
        self.pool = nn.MaxPool2d(2)
        self.up_deep, self.up_second = nn.ConvTranspose2d(64, 32, 2, stride=2), nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.join_second, self.join_first = pair(64, 32), pair(32, 16)
        self.head = nn.Conv2d(16, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """`(n, channels, height, width)` to `(n, outputs, height, width)`; sides are multiples of four."""
        first = self.first(images)
        second = self.second(self.pool(first))
        up = self.up_deep(self.deep(self.pool(second)))
        up = self.up_second(self.join_second(torch.cat([second, up], 1)))
        found: Tensor = self.head(self.join_first(torch.cat([first, up], 1)))
        return found


def unet() -> UNet:
    """For images of three channels and five classes of pixels: 116,624 weights."""
    return UNet(3, 5)
