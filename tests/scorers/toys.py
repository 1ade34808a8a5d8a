"""Networks small enough that their scores can be worked out by hand or by brute force; all float64."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import SCORERS, make_scorer
from scratchcard.scorers.scorer import Batch, Scorer
from scratchcard.scorers.since_start import SinceStart

UPFRONT = tuple(name for name in SCORERS if not isinstance(make_scorer(name), SinceStart))
"""Scorers that score a network as it is."""


def begun(name: str, network: nn.Module, seed: int = 0) -> Scorer:
    """The scorer in a search that began where each prunable weight was -w/2; most are the same as out of it."""
    start = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.mul_(-0.5)
    return make_scorer(name, seed).from_start(start, lambda: 1.0)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the examples of half the squared error."""
    return 0.5 * (outputs - targets).square().sum(dim=1).mean()


def single(*weights: float) -> nn.Sequential:
    """One linear unit without bias."""
    network = nn.Sequential(nn.Linear(len(weights), 1, bias=False)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([weights]))
    return network


def two_layers() -> nn.Sequential:
    """`[[1, -2], [3, 4]]`, then `[[5, -6]]`; no biases."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        network[2].weight.copy_(torch.tensor([[5.0, -6.0]]))
    return network


def filled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with normal numbers in all its parameters, from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.7, generator=generator)
    return network


def mlp(seed: int = 0, *, sizes: tuple[int, ...] = (5, 7, 6, 3)) -> nn.Sequential:
    """Linear layers with biases and ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    network = nn.Sequential(*layers[:-1]).double()
    filled(network, seed)
    return network


class Everything(nn.Module):
    """Convolutions, batch norm, 1x1 shortcut, max pooling, dropout, a weight shared by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.shortcut = nn.Conv2d(4, 6, 1, bias=False)
        self.body = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.3)
        self.first = nn.Linear(54, 54)
        self.second = nn.Linear(54, 54)
        self.second.weight = self.first.weight
        self.head = nn.Linear(54, 3)

    def forward(self, images: Tensor) -> Tensor:
        """`(n, 1, 6, 6)` to `(n, 3)`."""
        hidden = torch.relu(self.norm(self.stem(images)))
        hidden = torch.relu(self.body(hidden) + self.shortcut(hidden))
        hidden = self.dropout(self.pool(hidden).flatten(1))
        hidden = torch.relu(self.first(hidden))
        return self.head(torch.relu(self.second(hidden)))


class Text(nn.Module):
    """Tokens `(n, length)` to logits: an embedding, its mean over positions, a linear layer."""

    def __init__(self, entries: int = 5, width: int = 3, classes: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(n, length)` to `(n, classes)`."""
        return self.head(self.embedding(tokens).mean(dim=1))


def case(name: str, seed: int = 0) -> tuple[nn.Module, Batch]:
    """A network in train mode with a fitting batch of 8 examples: `mlp`, `everything` or `text`."""
    generator = torch.Generator().manual_seed(seed + 100)
    targets = torch.arange(8) % 2
    if name == "mlp":
        return mlp(seed), (torch.randn(8, 5, generator=generator, dtype=torch.float64), targets)
    if name == "everything":
        network = filled(Everything().double(), seed)
        return network, (torch.randn(8, 1, 6, 6, generator=generator, dtype=torch.float64), targets)
    if name == "text":
        tokens = torch.randint(0, 5, (8, 4), generator=generator)
        return filled(Text().double(), seed), (tokens, targets)
    raise ValueError(name)


CASES = ("mlp", "everything", "text")
cross_entropy = F.cross_entropy


def random_mask(network: nn.Module, seed: int = 0, density: float = 0.6) -> Mask:
    """Each prunable weight kept with this probability."""
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(w.shape, generator=generator) < density for name, w in prunable(network).items()})
