"""Inputs: what a network is called with, one tensor or several by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Inputs = Tensor | Mapping[str, Tensor]
"""One tensor `(n, *shape)`, passed by place, or several by name, passed as keyword arguments; floats or tokens."""


def forward(network: nn.Module, inputs: Inputs, state: Any = None) -> Tensor:
    """The network's outputs; `state`: tensors in place of its own, as `torch.func.functional_call` takes them."""
    places, names = ((), dict(inputs)) if isinstance(inputs, Mapping) else ((inputs,), {})
    outputs: Tensor = network(*places, **names) if state is None else functional_call(network, state, places, names)
    return outputs


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """`change` of the tensor, or of every tensor under its name."""
    if isinstance(inputs, Mapping):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return change(inputs)


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The tensors by name; the name of a single one is empty."""
    return dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}


def rows(inputs: Inputs, chosen: Tensor | slice) -> Inputs:
    """Some of the examples; indices may lie on another device."""
    return each(inputs, lambda t: t[chosen if isinstance(chosen, slice) else chosen.to(t.device)])


def placed(inputs: Inputs, device: torch.device | str, dtype: torch.dtype) -> Inputs:
    """The inputs on a device, floating tensors in `dtype`; integers, such as tokens, stay integers."""
    return each(inputs, lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))
