"""Chains: networks whose layers follow each other one by one, as alignment and the perceptron engine take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from scratchcard.pruning.elementwise import ELEMENTWISE

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
POOLINGS: tuple[type[nn.Module], ...] = tuple(
    getattr(nn, f"{kind}Pool{places}d") for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg") for places in (1, 2, 3)
)


class NotAChainError(ValueError):
    """The network is not a chain of layers.

    Examples:
        >>> chain(nn.Sequential(nn.LSTM(2, 2)))
        Traceback (most recent call last):
            ...
        scratchcard.pruning.chain.NotAChainError: the layer '0' (LSTM) is none of the layers that a chain may have
    """


@dataclass(frozen=True)
class Link:
    """One layer of a chain and where it stands.

    Attributes:
        name: qualified name of the layer, "" for a network that is one layer.
        layer: the layer itself.
        space: number of prunable layers before it: 0 for what sees the inputs.
        units: units (features or channels) of the tensor that enters, None before the first prunable layer.
        block: features of the entering tensor for each unit: 1, or places of a map that was flattened.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> first, activation, second = chain(network)
        >>> second.name, second.space, second.units, second.prunable
        ('2', 1, 3, True)
        >>> second.parameter("weight")
        '2.weight'
    """

    name: str
    layer: nn.Module
    space: int
    units: int | None
    block: int

    @property
    def prunable(self) -> bool:
        """Whether it is a linear or convolution layer."""
        return isinstance(self.layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)

    def parameter(self, name: str) -> str:
        """The qualified name of the layer's parameter or buffer `name`."""
        return f"{self.name}.{name}" if self.name else name


def chain(network: nn.Module) -> tuple[Link, ...]:
    """The layers of a chain in their order: nested `nn.Sequential`s taken apart.

    Known are Flatten, Identity, Linear, ungrouped convolutions, batch normalisation, element-wise activations
    without parameters, pooling and dropout.

    Raises:
        NotAChainError: any other network, in one sentence.

    Examples:
        >>> network = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 2))
        >>> [link.name for link in chain(network)]
        ['0', '1.0', '1.1', '2']
    """
    layers = _leaves(network, "")
    seen: set[int] = set()
    links: list[Link] = []
    space, units, block, shape = 0, None, 1, "input"
    for position, (name, layer) in enumerate(layers):
        what = f"the layer {name!r} ({type(layer).__name__})"
        if _has_hooks(layer):
            raise NotAChainError(f"{what} has hooks, which an engine of layers would not call")
        if any(id(parameter) in seen for parameter in layer.parameters()):
            raise NotAChainError(f"{what} shares its weights with an earlier layer")
        seen.update(id(parameter) for parameter in layer.parameters())
        if isinstance(layer, nn.Linear) and shape == "map":
            raise NotAChainError(f"{what} follows a convolution without an nn.Flatten between them")
        if isinstance(layer, CONVOLUTIONS) and (shape == "flat" or layer.groups != 1):
            raise NotAChainError(f"{what} is grouped or follows a flattened tensor")
        if isinstance(layer, nn.Flatten):
            if (layer.start_dim, layer.end_dim) != (1, -1):
                raise NotAChainError(f"{what} flattens other dimensions than all but the first")
            links.append(Link(name, layer, space, units, block))
            if shape == "map" and units is not None:
                block = _features_after(layers[position + 1 :], units) // units
            shape = "flat"
            continue
        links.append(Link(name, layer, space, units, block))
        if isinstance(layer, nn.Linear):
            space, units, block, shape = space + 1, layer.out_features, 1, "flat"
        elif isinstance(layer, CONVOLUTIONS):
            space, units, block, shape = space + 1, layer.out_channels, 1, "map"
        elif not isinstance(layer, (nn.Identity, *NORMALISATIONS, *DROPOUTS, *POOLINGS, *ELEMENTWISE)):
            raise NotAChainError(f"{what} is none of the layers that a chain may have")
    if not any(link.prunable for link in links):
        raise NotAChainError("the network has no linear or convolution layer in a chain")
    return tuple(links)


def _leaves(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    if "forward" in vars(module):
        raise NotAChainError(f"{name or 'the network'} ({type(module).__name__}) has a `forward` of its own")
    if type(module).__call__ is not nn.Module.__call__ or _overrides(type(module)):
        raise NotAChainError(f"{name or 'the network'} ({type(module).__name__}) computes more than its base class")
    if type(module).forward is nn.Sequential.forward and not _has_hooks(module):
        prefix = f"{name}." if name else ""
        parts = [(child, part) for child, part in module._modules.items() if part is not None]
        return [leaf for child, part in parts for leaf in _leaves(part, prefix + child)]
    if any(True for _ in module.children()):
        raise NotAChainError(
            f"{name or 'the network'} ({type(module).__name__}) is not an nn.Sequential of plain layers"
        )
    return [(name, module)]


def _has_hooks(module: nn.Module) -> bool:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in hooks)


def _overrides(kind: type[nn.Module]) -> bool:
    """Whether a subclass of one of torch's layers has a `forward` of its own."""
    torchs: Any = next(base for base in kind.__mro__ if base.__module__.startswith("torch."))
    return torchs is not nn.Module and kind.forward is not torchs.forward


def _features_after(layers: list[tuple[str, nn.Module]], otherwise: int) -> int:
    for _, layer in layers:
        if isinstance(layer, nn.Linear):
            return layer.in_features
        if isinstance(layer, NORMALISATIONS):
            return layer.num_features
    return otherwise
