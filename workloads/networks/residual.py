"""Residual networks for small images: ResNet-18, ResNet-20 to ResNet-110, and Wide-ResNet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.networks.takes import Shape, takes


class Block(nn.Module):
    """`relu(x' + bn(conv(relu(bn(conv(x))))))`, where `x'` is `x`, subsampled and padded where the channels change.

    Shortcuts without weights: option A of He et al. (2016, arXiv 1512.03385, section 4.2).

    Examples:
        >>> Block(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.stride, self.added = stride, width - channels

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's outputs."""
        hidden = F.relu(self.first_norm(self.first(inputs)))
        hidden = self.second_norm(self.second(hidden))
        if self.stride > 1:
            inputs = inputs[:, :, :: self.stride, :: self.stride]
        if self.added:
            inputs = F.pad(inputs, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return F.relu(hidden + inputs)


def resnet(depth: int) -> Callable[..., nn.Module]:
    """The factory of a ResNet for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2): `6 n + 2` layers.

    A 3 x 3 convolution of 16 channels, three stages of n blocks with 16, 32, 64 channels, the mean, a linear layer.

    Examples:
        >>> network = resnet(20)((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        268336
    """

    @takes((1, 8, 8), (3, 10, 12), sizes=(None, None, None))
    def build(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Sequential:
        layers: list[nn.Module] = [
            nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
        channels = 16
        for width in (16, 32, 64):
            for number in range((depth - 2) // 6):
                layers.append(Block(channels, width, stride=2 if number == 0 and width > 16 else 1))
                channels = width
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs))
        initialise(network, generator)
        return network

    build.__name__ = f"resnet_{depth}"
    build.__doc__ = f"""ResNet-{depth} for small images: three stages of {(depth - 2) // 6} blocks, 16 to 64 channels.

    Examples:
        >>> network = sc.NETWORKS["resnet_{depth}"]((1, 8, 8), 10, generator=torch.Generator().manual_seed(0))
        >>> network[-1]
        Linear(in_features=64, out_features=10, bias=True)
    """
    return build


@takes((1, 6, 8), sizes=(None, None, None))
def resnet_18(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Module:
    """ResNet-18 (He et al. 2016, arXiv 1512.03385, table 1) with the first layer that small images have.

    torchvision's, but for a 3 x 3 convolution of stride 1 in place of the 7 x 7 one of stride 2 and the max pooling, as
    the networks that are compared on CIFAR have it.

    Examples:
        >>> network = resnet_18((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> network.conv1.kernel_size, sum(weight.numel() for weight in sc.prunable(network).values())
        ((3, 3), 11164352)
    """
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=outputs)
    network.conv1, network.maxpool = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False), nn.Identity()
    initialise(network, generator)
    return network


class WideBlock(nn.Module):
    """`x' + conv(relu(bn(conv(relu(bn(x))))))` (Zagoruyko & Komodakis 2016, arXiv 1605.07146).

    Here `x'` is `x`, or a 1 x 1 convolution of `relu(bn(x))` where the channels change.

    Examples:
        >>> WideBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(channels)
        self.first = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = None if channels == width else nn.Conv2d(channels, width, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's outputs."""
        normed = F.relu(self.first_norm(inputs))
        hidden: Tensor = self.second(F.relu(self.second_norm(self.first(normed))))
        return hidden + (inputs if self.shortcut is None else self.shortcut(normed))


def wide_resnet(depth: int, widening: int) -> Callable[..., nn.Module]:
    """The factory of a Wide-ResNet (Zagoruyko & Komodakis 2016, arXiv 1605.07146) of `6 n + 4` layers, no dropout.

    A 3 x 3 convolution of 16 channels, three stages of n blocks with 16, 32, 64 channels times the widening.

    Examples:
        >>> network = wide_resnet(16, 4)((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        2745264
    """

    @takes((1, 8, 8), sizes=(None, None, None))
    def build(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)]
        channels = 16
        for stage, width in enumerate((16 * widening, 32 * widening, 64 * widening)):
            for number in range((depth - 4) // 6):
                layers.append(WideBlock(channels, width, stride=2 if number == 0 and stage else 1))
                channels = width
        end = (nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))
        network = nn.Sequential(*layers, *end)
        initialise(network, generator)
        return network

    build.__name__ = f"wide_resnet_{depth}_{widening}"
    build.__doc__ = f"""WRN-{depth}-{widening}: three stages of {(depth - 4) // 6} blocks, {widening} times as wide.

    Examples:
        >>> network = sc.NETWORKS["wide_resnet_{depth}_{widening}"]((1, 8, 8), 10, generator=torch.Generator())
        >>> network[-1]
        Linear(in_features={64 * widening}, out_features=10, bias=True)
    """
    return build
