"""Two examples that a network takes: the first ones given, or made up in a shape that suits its first layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs, each, placed, rows
from scratchcard.pruning.known_layers import CONVOLUTIONS
from scratchcard.pruning.parameters import prunable_layers
from scratchcard.pruning.unit_trace import traced

SIDES = (32, 28, 8, 64, 224, *range(1, 64))
"""Sides of images that are tried."""


def two_examples(network: nn.Module, own: Mapping[str, nn.Parameter], inputs: Inputs | None) -> Inputs:
    """Two examples that the network takes, of its dtype and on its device.

    Args:
        network: any module.
        own: its prunable weights.
        inputs: examples of which the first two are taken; None: features or images in a shape that suits the first
            layer are tried, or tokens.

    Raises:
        ValueError: none is given, and the network takes none of those that were tried.

    Examples:
        >>> network = nn.Sequential(nn.Conv1d(3, 4, 5), nn.Flatten(), nn.Linear(16, 2))
        >>> two_examples(network, sc.prunable(network), None).shape
        torch.Size([2, 3, 8])
    """
    weight = next(iter(own.values()))
    if inputs is not None:
        few = placed(rows(inputs, slice(2)), weight.device, weight.dtype)
        return each(few, lambda t: t.repeat(2, *[1] * (t.ndim - 1)) if len(t) == 1 else t)
    for example in _guesses(network, weight):
        try:
            traced(network, example, modes=(False,))
        except (Exception, SystemExit):  # noqa: S112 - foreign code can raise anything
            continue
        return example
    raise ValueError(
        f"no inputs were found that {type(network).__name__} takes; give a few examples: compact(network, mask, inputs)"
    )


def _guesses(network: nn.Module, weight: Tensor) -> Iterator[Tensor]:
    layer = next(iter(prunable_layers(network).values()))
    generator = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = []
    if isinstance(layer, nn.Linear):
        shapes = [(2, layer.in_features)]
    elif isinstance(layer, CONVOLUTIONS):
        shapes = [(2, layer.in_channels, *[side] * len(layer.kernel_size)) for side in SIDES]
    elif isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        yield torch.zeros(2, 8, dtype=torch.int64, device=weight.device)
    for shape in shapes:
        yield torch.randn(shape, generator=generator).to(weight)
