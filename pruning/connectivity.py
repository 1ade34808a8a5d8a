"""Connectivity: which kept weights lie on a path from an input to an output, which units are dead.

Source: Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity
(Vysogorets & Kempe, arXiv 2107.02306).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs, each, forward, tensors
from scratchcard.pruning.linear_image import HIDDEN, linearised
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable, prunable_layers

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Counts are whole numbers, at least 1 / (pooled places) behind pooling; a convolution by transformation can
# leave rounding where there is nothing.
_NOTHING = 1e-9

Example = tuple[int, ...] | Inputs


def effective_mask(network: nn.Module, mask: Mask, input_shape: Example) -> Mask:
    """The kept weights that lie on a path of kept weights from an input to an output.

    The linearised network with 0/1 weights counts paths: a weight is on one exactly when the gradient of the
    summed output with respect to it is positive. Behind every prunable layer the counts are cut back to 0 or
    1, in the forward and in the backward pass, so that they stay exact at any depth. Max pooling lets all of
    its inputs pass. A unit that only its bias feeds is on no path.

    Limits: pooling that a network applies by a function passes its maximum only, and activations applied by a
    function must map 0 to 0.

    Args:
        network: any module; left untouched.
        mask: the kept weights.
        input_shape: of one input, without the batch, such as `(1, 28, 28)`; or inputs of the network, whose values play
            no part: needed where it takes several, or tokens elsewhere than in its first layer.

    Raises:
        ValueError: a mask of another layout, an input shape that the network does not take, or no path even if all
            weights are kept (softmax or a normalisation applied by a function).

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, True]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> effective_mask(network, mask, (2,)).tensors["0.weight"]  # the second unit leads nowhere
        tensor([[ True, False],
                [False, False]])
    """
    check_same_layout(prunable(network), mask.tensors, "the mask")
    found = _effective(network, mask, input_shape)
    if not found.kept and not _effective(network, Mask.dense(network), input_shape).kept:
        raise ValueError(
            f"no path leads from the inputs of {type(network).__name__} to its outputs even if all weights are kept: "
            f"{HIDDEN}"
        )
    return found


def _effective(network: nn.Module, mask: Mask, input_shape: Example) -> Mask:
    own = prunable(network)
    tables = {name for name, layer in prunable_layers(network).items() if isinstance(layer, nn.Embedding)}
    ones: dict[str, Tensor] = {}
    for name, weight in own.items():
        kept = mask.tensors[name].to(weight.device)
        # Every entry of a table is an input: one look-up stands for all of them.
        ones[name] = (kept.any(0, keepdim=True).expand_as(kept) if name in tables else kept).double()
    copy = linearised(network, weights=ones, pooling="average")
    layers = prunable_layers(copy)
    for layer in layers.values():
        layer.register_forward_hook(_cut)
        if isinstance(layer, nn.Embedding):
            layer.padding_idx = None
    device = next(iter(own.values())).device
    first = next(iter(own))
    inputs = _ones(input_shape, first in tables, device)
    weights = prunable(copy)
    with torch.enable_grad():
        try:
            output = forward(copy, inputs)
        except (RuntimeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors(inputs).items()}
            shape = shapes.get("", shapes)
            raise ValueError(f"the network does not take an input of shape {shape}: {reason}") from error
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            output.sum(), list(weights.values()), allow_unused=True
        )
    effective = {}
    for (name, weight), gradient in zip(own.items(), gradients, strict=True):
        kept = mask.tensors[name].to(weight.device)
        if gradient is None:
            effective[name] = torch.zeros_like(kept)
        else:
            reached = gradient.sum(0, keepdim=True) if name in tables else gradient
            effective[name] = kept & (reached > _NOTHING)
    return Mask(effective)


def _ones(example: Example, tokens: bool, device: torch.device) -> Inputs:
    """One example of ones; of zeros where it is of tokens, as one entry of a table stands for all."""
    if isinstance(example, tuple):
        example = torch.zeros((1, *example), dtype=torch.int64 if tokens else torch.float64)

    def one(tensor: Tensor) -> Tensor:
        whole = not tensor.is_floating_point()
        kind = torch.int64 if whole else torch.float64
        return torch.full((1, *tensor.shape[1:]), 0 if whole else 1, dtype=kind, device=device)

    return each(example, one)


def effective_density(network: nn.Module, mask: Mask, input_shape: Example) -> float:
    """Kept weights on a path from an input to an output / prunable weights.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, True]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> mask.density, round(effective_density(network, mask, (2,)), 3)
        (0.5, 0.333)
    """
    return effective_mask(network, mask, input_shape).density


def dead_units(mask: Mask) -> dict[str, Tensor]:
    """For each layer a boolean vector `(out,)`: True where the unit keeps no incoming weight.

    A unit is a row of the weight, its first dimension: a linear layer's output, a convolution's channel.

    Examples:
        >>> dead_units(Mask({"weight": torch.tensor([[True, False], [False, False]])}))
        {'weight': tensor([False,  True])}
    """
    return {name: ~kept.reshape(kept.shape[0], -1).any(1) for name, kept in mask.tensors.items()}


def collapsed_layers(mask: Mask) -> tuple[str, ...]:
    """The names of the weights of which nothing is kept (layer collapse).

    Examples:
        >>> collapsed_layers(Mask({"a": torch.tensor([[True]]), "b": torch.tensor([[False]])}))
        ('b',)
    """
    return tuple(name for name, kept in mask.tensors.items() if not bool(kept.any()))


@dataclass(frozen=True)
class Connectivity:
    """How a mask connects a network.

    Attributes:
        density: kept / all weights, by weight name.
        units: the number of units (outputs, output channels, table widths) by weight name.
        live_units: how many of them lie on a path from an input to an output.
        effective_density: kept weights on such a path / prunable weights.
        collapsed: the names of the weights of which nothing is kept.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, False]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> found = Connectivity.of(network, mask, (2,))
        >>> found.live_units, round(found.effective_density, 3), found.collapsed
        ({'0.weight': 1, '2.weight': 1}, 0.333, ())
    """

    density: Mapping[str, float]
    units: Mapping[str, int]
    live_units: Mapping[str, int]
    effective_density: float
    collapsed: tuple[str, ...]

    @classmethod
    def of(cls, network: nn.Module, mask: Mask, input_shape: Example) -> Connectivity:
        """Summarise `mask` on `network`; arguments and errors as of `effective_mask`."""
        effective = effective_mask(network, mask, input_shape)
        units, live = {}, {}
        for name, layer in prunable_layers(network).items():
            on_path = effective.tensors[name]
            if isinstance(layer, _TRANSPOSED):
                # (in, out / groups, ...): one column for each group.
                groups = on_path.reshape(layer.groups, -1, *on_path.shape[1:])
                reached = groups.transpose(1, 2).flatten(0, 1).flatten(1).any(1)
            else:
                rows = on_path.transpose(0, 1) if isinstance(layer, nn.Embedding) else on_path
                reached = rows.flatten(1).any(1)
            units[name], live[name] = reached.numel(), int(reached.sum())
        density = {name: int(kept.sum()) / kept.numel() for name, kept in mask.tensors.items()}
        return cls(density, units, live, effective.density, collapsed_layers(mask))


class _Cut(torch.autograd.Function):
    """1 where positive, else 0, in both directions: how many paths there are does not matter."""

    @staticmethod
    def forward(ctx: Any, counts: Tensor) -> Tensor:
        return (counts > _NOTHING).to(counts.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return (gradients[0] > _NOTHING).to(gradients[0].dtype)


def _cut(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return _Cut.apply(output)  # type: ignore[no-any-return]
