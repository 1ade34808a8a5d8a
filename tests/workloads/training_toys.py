"""Toy tasks and networks for the training tests."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.task import Split, Task


def toy_task(shape: tuple[int, ...] = (1, 6, 6), classes: int = 5, seed: int = 0) -> Task:
    """300 training, 90 validation and 90 test examples; the class is where the first features are highest."""
    generator = torch.Generator().manual_seed(seed)

    def split(count: int) -> Split:
        inputs = torch.randn(count, *shape, generator=generator)
        return Split(inputs, inputs.flatten(1)[:, :classes].argmax(1))

    return Task("toy", split(300), split(90), split(90), classes, "0")


def perceptron(seed: int = 1, sizes: tuple[int, ...] = (36, 30, 20, 5)) -> nn.Sequential:
    """A float64 ReLU perceptron with biases of both signs."""
    layers: list[nn.Module] = [nn.Flatten()]
    for entering, out in itertools.pairwise(sizes):
        layers += [nn.Linear(entering, out), nn.ReLU()]
    return randomised(nn.Sequential(*layers[:-1]), seed)


def convolutional(seed: int = 1) -> nn.Sequential:
    """A float64 chain with padding, batch normalisation, pooling and two linear layers; for (1, 6, 6)."""
    return randomised(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Sequential(nn.Conv2d(6, 8, 2), nn.ReLU(), nn.Identity()),
            nn.Flatten(),
            nn.Linear(32, 12),
            nn.ReLU(),
            nn.Linear(12, 5),
        ),
        seed,
    )


def randomised(network: nn.Sequential, seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    network.double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.3, generator=generator)
    return network


def random_mask(network: nn.Module, *densities: float, seed: int = 3) -> Mask:
    """A random mask; one density for each layer, or one for all."""
    generator = torch.Generator().manual_seed(seed)
    weights = prunable(network)
    shares = densities * len(weights) if len(densities) == 1 else densities
    return Mask(
        {
            name: torch.rand(weight.shape, generator=generator) < density
            for (name, weight), density in zip(weights.items(), shares, strict=True)
        }
    )
