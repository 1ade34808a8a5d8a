"""Small networks of every kind that compaction follows, float64, and masks that leave dead units in them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.networks.residual import Block, WideBlock


def conv(entering: int, leaving: int, size: int = 3, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(entering, leaving, size, padding=size // 2, bias=False, **settings)


class Residual(nn.Module):
    """A bottleneck with a projected shortcut, sums and ReLU in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = conv(1, 6), nn.BatchNorm2d(6)
        self.first, self.first_norm = conv(6, 8), nn.BatchNorm2d(8)
        self.second, self.second_norm = conv(8, 10), nn.BatchNorm2d(10)
        self.short, self.short_norm = conv(6, 10, 1), nn.BatchNorm2d(10)
        self.third, self.third_norm = conv(10, 10), nn.BatchNorm2d(10)
        self.relu, self.last = nn.ReLU(inplace=True), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem_norm(self.stem(x)))
        out = self.second_norm(self.second(self.relu(self.first_norm(self.first(x)))))
        out += self.short_norm(self.short(x))
        x = self.relu(out)
        x = F.relu(x + self.third_norm(self.third(x)))
        return self.last(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Dense(nn.Module):
    """Concatenations, each behind a normalisation before its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 6)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), conv(n, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 4))
            for n in (6, 10)
        )
        self.norm, self.last = nn.BatchNorm2d(14), nn.Linear(14 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        x = F.max_pool2d(F.relu(self.norm(torch.cat(found, dim=1))), 3)
        return self.last(x.view(x.size(0), -1))


class Separable(nn.Module):
    """An inverted residual with a depthwise convolution, of two channels each, and a gate of squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = conv(1, 6), nn.BatchNorm2d(6)
        self.wide, self.wide_norm = conv(6, 12, 1), nn.BatchNorm2d(12)
        self.deep, self.deep_norm = conv(12, 24, groups=12), nn.BatchNorm2d(24)
        self.squeeze, self.excite = nn.Conv2d(24, 4, 1), nn.Conv2d(4, 24, 1)
        self.narrow, self.narrow_norm = conv(24, 6, 1), nn.BatchNorm2d(6)
        self.last = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem_norm(self.stem(x)))
        out = F.relu6(self.deep_norm(self.deep(F.relu6(self.wide_norm(self.wide(x))))))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(out.mean((2, 3), keepdim=True)))))
        x = x + self.narrow_norm(self.narrow(gate * out))
        return self.last(x.mean([2, 3]))


class Grouped(nn.Module):
    """Convolutions in groups of several channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = conv(1, 12), nn.BatchNorm2d(12)
        self.grouped, self.grouped_norm = conv(12, 16, groups=4), nn.BatchNorm2d(16)
        self.after, self.after_norm = conv(16, 8, groups=2), nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.relu(self.grouped_norm(self.grouped(x)))
        return self.last(F.relu(self.after_norm(self.after(x))).amax((2, 3)))


class Shared(nn.Module):
    """A layer that is used twice, and a normalisation too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.norm = nn.Linear(36, 12), nn.Linear(12, 12), nn.BatchNorm1d(12)
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.flatten(1)))
        x = F.relu(self.norm(self.again(x)))
        return self.last(F.relu(self.norm(self.again(x))))


class Functional(nn.Module):
    """Functions with parameters of its own: a convolution's weight, a gain for each channel, a slope."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3)
        self.kernel, self.gain = nn.Parameter(torch.randn(8, 1, 1, 1)), nn.Parameter(torch.rand(8, 1, 1))
        self.mean = nn.Buffer(torch.rand(1, 8, 1, 1))
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem((x - 0.1) / 2)) - self.mean
        x = x + self.gain * torch.conv2d(x, self.kernel, groups=x.shape[1])
        return self.last((2 * F.leaky_relu(x, 0.2)).sum(dim=(-1, -2)))


class Text(nn.Module):
    """A table, a convolution over places, a transformer's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.over = nn.Linear(6, 12), nn.Conv1d(12, 8, 3, padding=1)
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.over(F.relu(self.table(x.squeeze(1))).transpose(1, 2)))
        return self.last(self.attend(x.permute(0, 2, 1)).mean(1))


class Hourglass(nn.Module):
    """Down and up again, by a transposed convolution and by resizing, with what was there before beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm, self.low = conv(1, 6), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(8, 7, 2, stride=2, bias=False), conv(21, 6)
        self.each, self.slope = nn.InstanceNorm2d(7), nn.PReLU(7)
        self.last = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.down(x)))
        low = F.elu(self.low(F.avg_pool2d(x, 2)))
        x = torch.cat((x, self.slope(self.each(self.up(low))), F.interpolate(low, scale_factor=2)), 1)
        return self.last(F.dropout2d(self.join(x), 0.0, self.training).flatten(2).mean(-1))


class Gated(nn.Module):
    """One half of the channels is a gate for the other; channels are repeated, turned round and taken singly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv1d(6, 16, 3), nn.BatchNorm1d(16), nn.Conv1d(16, 6, 1)
        self.last = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.norm(self.first(x.squeeze(1))).chunk(2, dim=1)
        x = torch.relu(left) * torch.sigmoid(right)
        x = self.second(torch.cat([x, x.flip(1)], 1)).relu_()
        return self.last(x.sum(2) / 4 - x[..., 0])


def option_a() -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    return nn.Sequential(conv(1, 8), nn.BatchNorm2d(8), nn.ReLU(), Block(8, 8, 1), Block(8, 16, 2), *head)


def wide() -> nn.Module:
    head = (nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    return nn.Sequential(conv(1, 8), WideBlock(8, 8, 1), WideBlock(8, 12, 2), *head)


UNIT_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "dense": Dense,
    "separable": Separable,
    "grouped": Grouped,
    "shared": Shared,
    "functional": Functional,
    "text": Text,
    "hourglass": Hourglass,
    "gated": Gated,
    "option a": option_a,
    "wide": wide,
}
"""All take `(n, 1, 6, 6)` and have 5 outputs."""


def unit_network(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return UNIT_NETWORKS[name]().double()


def lived_in(network: nn.Module) -> nn.Module:
    """With gains, biases and statistics as training leaves them: of both signs, some zero."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.normal_().mul_(torch.rand_like(tensor) < 0.6)
                module.running_var.uniform_(0.2, 2)
    return network


def thinned(network: nn.Module, density: float, seed: int = 0) -> Mask:
    """A random mask that leaves a third of the units without weights from below, and a fifth without any above."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, weight in prunable(network).items():
        kept = torch.rand(weight.shape, generator=generator) < density
        if "last" not in name and weight is not list(prunable(network).values())[-1]:
            kept &= (torch.rand(len(weight), generator=generator) > 0.33).reshape(-1, *[1] * (weight.ndim - 1))
        if weight.shape[1] > 2:
            kept &= (torch.rand(weight.shape[1], generator=generator) > 0.2).reshape(1, -1, *[1] * (weight.ndim - 2))
        found[name] = kept
    return Mask(found)
