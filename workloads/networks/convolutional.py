"""Plain convolutional networks: LeNet-5, Conv-2, Conv-4, Conv-6 and VGG with a small head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.networks.takes import Shape, takes

POOL = "pool"
IMAGES = (None, None, None)
_VGG: dict[int, tuple[int, ...]] = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@takes((1, 28, 28), (3, 32, 32), sizes=IMAGES)
def lenet_5(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Sequential:
    """`Conv(20, 5 x 5) -> pool -> Conv(50, 5 x 5) -> pool -> Linear(500) -> Linear(outputs)` with ReLU.

    The form of LeCun et al. 1998 that pruning studies use; images of 16 x 16 pixels at least. For `(1, 28, 28)` and 10
    classes it has 430,500 prunable weights.

    Examples:
        >>> network = sc.NETWORKS["lenet_5"]((1, 28, 28), 10, generator=torch.Generator().manual_seed(0))
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        430500
    """
    channels, height, width = input_shape
    sides = [((side - 4) // 2 - 4) // 2 for side in (height, width)]
    if min(sides) < 1:
        raise ValueError(f"the network 'lenet_5' takes images of 16 x 16 pixels at least, and these are {input_shape}")
    layers = [
        *(nn.Conv2d(channels, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(50 * sides[0] * sides[1], 500), nn.ReLU(), nn.Linear(500, outputs)),
    ]
    return initialised(layers, generator)


def conv(*blocks: int) -> Callable[..., nn.Module]:
    """The factory of a network of Frankle & Carbin (2019, arXiv 1803.03635, figure 2).

    Two 3 x 3 convolutions of so many channels and max pooling for each block, then two hidden layers of 256 units. Of
    `(3, 32, 32)` and 10 classes Conv-2 has 4,300,992 prunable weights, Conv-4 2,425,024, Conv-6 2,261,184.

    Examples:
        >>> network = conv(64)((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        4300992
    """
    least = 2 ** len(blocks)

    @takes((1, 8, 8), (3, 16, 24), sizes=IMAGES)
    def build(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Sequential:
        channels, height, width = input_shape
        if min(height, width) < least:
            raise ValueError(
                f"the network {build.__name__!r} takes images of {least} x {least} pixels at least, and these are "
                f"{input_shape}"
            )
        plan = [step for block in blocks for step in (block, block, POOL)]
        flat = blocks[-1] * (height // least) * (width // least)
        head = (nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs))
        return initialised([*convolutions(channels, plan), nn.Flatten(), *head], generator)

    build.__name__ = f"conv_{2 * len(blocks)}"
    build.__doc__ = f"""Conv-{2 * len(blocks)}: {2 * len(blocks)} convolutions of up to {blocks[-1]} channels.

    Examples:
        >>> network = sc.NETWORKS["conv_{2 * len(blocks)}"]((1, 8, 8), 10, generator=torch.Generator().manual_seed(0))
        >>> network[0]
        Conv2d(1, 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    return build


def vgg(depth: int, *, normalised: bool) -> Callable[..., nn.Module]:
    """The factory of a VGG (Simonyan & Zisserman 2014, arXiv 1409.1556) for small images, with one linear layer.

    Five stages of 3 x 3 convolutions with 64, 128, 256, 512, 512 channels, each ended by max pooling; the mean over
    what is left, then `Linear(512, outputs)`, as pruning studies have it on CIFAR. Images of 32 x 32 pixels at least.

    Examples:
        >>> network = vgg(16, normalised=True)((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        14715584
    """

    @takes((1, 32, 32), sizes=IMAGES)
    def build(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Sequential:
        if min(input_shape[1:]) < 32:
            raise ValueError(
                f"the network {build.__name__!r} takes images of 32 x 32 pixels at least, and these are {input_shape}"
            )
        widths = (64, 128, 256, 512, 512)
        plan: list[int | str] = []
        for width, times in zip(widths, _VGG[depth], strict=True):
            plan += [*[width] * times, POOL]
        body = convolutions(input_shape[0], plan, normalised=normalised)
        return initialised([*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, outputs)], generator)

    build.__name__ = f"vgg_{depth}{'_bn' if normalised else ''}"
    build.__doc__ = f"""VGG-{depth} for small images, {"with" if normalised else "without"} batch normalisation.

    Examples:
        >>> network = sc.NETWORKS["{build.__name__}"]((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> network[-1]
        Linear(in_features=512, out_features=10, bias=True)
    """
    return build


def convolutions(channels: int, plan: Sequence[int | str], *, normalised: bool = False) -> list[nn.Module]:
    """3 x 3 convolutions that keep the size, each with ReLU, and max pooling, by a plan.

    Examples:
        >>> [type(layer).__name__ for layer in convolutions(3, [8, POOL])]
        ['Conv2d', 'ReLU', 'MaxPool2d']
    """
    layers: list[nn.Module] = []
    for step in plan:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, step, 3, padding=1, bias=not normalised))
        layers += [nn.BatchNorm2d(step), nn.ReLU()] if normalised else [nn.ReLU()]
        channels = step
    return layers


def initialised(layers: Sequence[nn.Module], generator: torch.Generator) -> nn.Sequential:
    """The chain of layers with Kaiming-normal weights and zero biases.

    Examples:
        >>> initialised([nn.Linear(3, 2)], torch.Generator().manual_seed(0))[0].bias.data
        tensor([0., 0.])
    """
    network = nn.Sequential(*layers)
    initialise(network, generator)
    return network
