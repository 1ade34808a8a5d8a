"""Inputs: what a network is called with, one tensor or several by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scratchcard.pruning.parameters import all_finite

Inputs = Tensor | Mapping[str, Tensor]
"""One tensor `(n, *shape)`, passed by place, or several by name, passed as keyword arguments; floats or tokens."""


def forward(network: nn.Module, inputs: Inputs, state: Any = None) -> Tensor:
    """The network's outputs: the one place where a scorer or an engine calls a network.

    Args:
        network: any module that returns one tensor.
        inputs: a tensor, or a mapping that becomes keyword arguments.
        state: tensors in place of the network's own, as `torch.func.functional_call` takes them.

    Raises:
        ValueError: the network returns a dict, a tuple or another thing that is no tensor.

    >>> forward(nn.Bilinear(2, 3, 4), {"input1": torch.ones(5, 2), "input2": torch.ones(5, 3)}).shape
    torch.Size([5, 4])
    """
    places, names = ((), dict(inputs)) if isinstance(inputs, Mapping) else ((inputs,), {})
    outputs = network(*places, **names) if state is None else functional_call(network, state, places, names)
    return check_tensor(outputs, type(network).__name__)


def check_tensor(outputs: object, what: str) -> Tensor:
    """The outputs, if they are one tensor.

    Raises:
        ValueError: they are not; one sentence that begins with `what`.

    Examples:
        >>> check_tensor({"logits": torch.zeros(2, 3)}, "the network")
        Traceback (most recent call last):
            ...
        ValueError: the network returns dict, expected one tensor of outputs; wrap it in a module whose ...
    """
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"{what} returns {type(outputs).__name__}, expected one tensor of outputs; wrap it in a module whose "
            "`forward` picks the logits"
        )
    return outputs


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """`change` of the tensor, or of every tensor under its name.

    Examples:
        >>> each({"ids": torch.tensor([[1, 2]]), "length": torch.tensor([2])}, torch.numel)
        {'ids': 2, 'length': 1}
    """
    if isinstance(inputs, Mapping):
        return {name: change(tensor) for name, tensor in inputs.items()}
    return change(inputs)


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The tensors by name; the name of a single one is empty.

    Examples:
        >>> list(tensors(torch.zeros(3))), list(tensors({"ids": torch.zeros(3)}))
        ([''], ['ids'])
    """
    return dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}


def examples(inputs: Inputs) -> int:
    """The number of examples.

    Examples:
        >>> examples({"ids": torch.zeros(5, 7), "length": torch.zeros(5)})
        5
    """
    return len(next(iter(tensors(inputs).values())))


def rows(inputs: Inputs, chosen: Tensor | slice) -> Inputs:
    """Some of the examples; indices may lie on another device.

    Examples:
        >>> rows({"x": torch.tensor([[1.0], [2.0], [3.0]])}, torch.tensor([2, 0]))
        {'x': tensor([[3.],
                [1.]])}
    """
    return each(inputs, lambda t: t[chosen if isinstance(chosen, slice) else chosen.to(t.device)])


def placed(inputs: Inputs, device: torch.device | str, dtype: torch.dtype) -> Inputs:
    """The inputs on a device, floating tensors in `dtype`; integers, such as tokens, stay integers.

    Examples:
        >>> inputs = placed({"pixels": torch.zeros(1, 4), "ids": torch.tensor([[3]])}, "cpu", torch.float64)
        >>> {name: tensor.dtype for name, tensor in inputs.items()}
        {'pixels': torch.float64, 'ids': torch.int64}
    """
    return each(inputs, lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))


def device_of(inputs: Inputs) -> torch.device:
    """Where the inputs lie.

    Examples:
        >>> device_of({"ids": torch.zeros(1)})
        device(type='cpu')
    """
    return next(iter(tensors(inputs).values())).device


def one_tensor(inputs: Inputs, who: str) -> Tensor:
    """The inputs, if they are a single tensor.

    Raises:
        ValueError: there are several; `who` says what cannot take them.

    Examples:
        >>> one_tensor({"ids": torch.zeros(1), "length": torch.zeros(1)}, "SynFlow")
        Traceback (most recent call last):
            ...
        ValueError: SynFlow takes networks of one input, and these are called ids, length; use a criterion ...
    """
    if isinstance(inputs, Mapping):
        raise ValueError(
            f"{who} takes networks of one input, and these are called {', '.join(inputs)}; use a criterion that "
            "needs the loss only, such as snip, grasp or magnitude"
        )
    return inputs


def check_finite(inputs: Inputs, what: str) -> None:
    """Refuse floating tensors that hold NaN or infinity.

    Raises:
        ValueError: one sentence that begins with `what`.

    Examples:
        >>> check_finite({"x": torch.tensor([1.0, torch.nan])}, "the training inputs")
        Traceback (most recent call last):
            ...
        ValueError: the training inputs 'x' hold NaN or infinity; fill or drop these examples
    """
    for name, tensor in tensors(inputs).items():
        if tensor.is_floating_point() and not all_finite(tensor):
            where = f" {name!r}" if name else ""
            raise ValueError(f"{what}{where} hold NaN or infinity; fill or drop these examples")
