"""The plain reference loop: how published pruning code trains a ticket.

torch's DataLoader with `ToTensor` and `Normalize` on every item (raw bytes through PIL, as torchvision's MNIST
does it), dense weights multiplied with their mask in every forward pass, autograd, `torch.optim.SGD`, batch 64,
no workers.
"""

from __future__ import annotations

import time

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from scratchcard.pruning.mask import Mask


class RawImages(Dataset[tuple[Tensor, int]]):
    """Images `(n, 28, 28)` as bytes, made into a normalised tensor one by one."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


class MaskedLinear(nn.Linear):
    """A linear layer that multiplies its weight with its mask in every forward pass."""

    def __init__(self, layer: nn.Linear, kept: Tensor) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.load_state_dict(layer.state_dict())
        self.register_buffer("kept", kept.to(layer.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.kept, self.bias)


def masked(network: nn.Sequential, mask: Mask) -> nn.Sequential:
    """The network with masked layers."""
    layers = []
    for name, layer in network.named_children():
        linear = isinstance(layer, nn.Linear)
        layers.append(MaskedLinear(layer, mask.tensors[f"{name}.weight"]) if linear else layer)
    return nn.Sequential(*layers)


def reference_epoch(network: nn.Sequential, mask: Mask, images: Tensor, labels: Tensor, seed: int = 0) -> float:
    """Seconds for one epoch of batches of 64 (the incomplete last one dropped), loading included."""
    trained = masked(network, mask)
    loader = DataLoader(
        RawImages(images, labels),
        batch_size=64,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(seed),
    )
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    started = time.perf_counter()
    trained.train()
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(trained(inputs), targets)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started
