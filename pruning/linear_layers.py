"""What layers do to signals: linear, convolution, bilinear, tables; see `linear_operations`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.signal_arithmetic import Cut, plus, product
from scratchcard.pruning.signals import Run, Signal, UnknownOperation, is_signal


def applied(apply: Callable[..., Tensor], inputs: Any, weight: Any) -> Signal:
    """A layer's product of its inputs with its weight; paths begin at a weight that is fed with a constant.

    Examples:
        >>> x, weight = Signal(torch.tensor([[1.0, 10.0]])), Signal(torch.tensor([[2.0, 3.0]]), weight=True)
        >>> applied(F.linear, x, weight).value, applied(F.linear, torch.ones(1, 2), weight).value
        (tensor([[32.]]), tensor([[5.]]))
    """
    if is_signal(inputs):
        return product(apply, inputs.begun(), weight).begun()
    if not bool((inputs != 0).any()):
        # Nothing comes of nothing, such as the first state of a recurrent layer: no path, so none that avoids a layer.
        return Signal(apply(torch.zeros_like(inputs, dtype=weight.now.dtype), weight.now), weight.run)
    return product(apply, inputs, weight).begun()


def linear_layer(function: Any, inputs: Any, weight: Any, bias: Any = None) -> Signal:
    """`F.linear`.

    Examples:
        >>> x, weight = Signal(torch.tensor([[1.0, 10.0]])), Signal(torch.tensor([[2.0, 3.0]]), weight=True)
        >>> linear_layer(F.linear, x, weight, torch.ones(1)).value
        tensor([[32.]])
    """
    rows = weight.rows if is_signal(weight) and is_signal(inputs) else None
    if rows is None or rows.made:
        found = applied(F.linear, inputs, weight)
    else:
        bare = Signal(weight.value, weight.run, weight=True, some=weight.some, once=weight.once)
        found = applied(rows.linear, inputs, bare)
    return plus(found, bias) if is_signal(bias) else found


def convolution(function: Any, inputs: Any, weight: Any, bias: Any = None, *rest: Any, **keywords: Any) -> Signal:
    """Convolutions, also transposed ones.

    Examples:
        >>> x, weight = Signal(torch.tensor([[1.0, 10.0]])), Signal(torch.tensor([[[2.0]]]), weight=True)
        >>> convolution(F.conv1d, x, weight).value
        tensor([[ 2., 20.]])
    """
    found = applied(lambda x, w: function(x, w, None, *rest, **keywords), inputs, weight)
    return plus(found, bias.reshape(-1, *[1] * (found.value.ndim - 2))) if is_signal(bias) else found


def bilinear(function: Any, left: Any, right: Any, weight: Any, bias: Any = None) -> Signal:
    """`F.bilinear`: paths through the weight from either input.

    Examples:
        >>> left, right = Signal(torch.tensor([[1.0]])), Signal(torch.tensor([[10.0]]))
        >>> bilinear(F.bilinear, left, right, Signal(torch.tensor([[[2.0]]]), weight=True)).value
        tensor([[22.]])
    """
    return product(lambda a, b, w: F.bilinear(a, b, w), left, right, weight).begun()


def embedding(function: Any, tokens: Any, weight: Any, *_: Any, **__: Any) -> Signal:
    """A table is a linear layer on one-hot vectors.

    What the network's own inputs look up is fed by `Run.looked_up`: `(positions, entries)`, or `(1,)` for the same
    value everywhere. Paths begin at what it looks up otherwise, such as positions; where paths are only sought
    (`Run.cut`), at all of the table.

    Examples:
        >>> table = Signal(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), weight=True)
        >>> embedding(F.embedding, torch.tensor([1]), table).value
        tensor([[3., 4.]])
    """
    if is_signal(tokens) or not is_signal(weight):
        raise UnknownOperation("an embedding of activations")
    run, table = weight.run, weight.now
    shape = (*tokens.shape, table.shape[1])
    features = _fed(tokens, run)
    if features is not None:
        if features.numel() == 1:
            value = (features * table.sum(0)).expand(shape)
        else:
            value = (features[:, : len(table)] @ table).reshape(shape)
    elif run.cut:
        value = (table.sum(0) * run.begin).expand(shape)
    else:
        value = F.embedding(tokens, table) * run.begin
    value = Cut.apply(value) if run.cut else value
    return Signal(value, run, some=weight.some, once=weight.once)


def _fed(tokens: Tensor, run: Run) -> Tensor | None:
    """What is fed in place of these tokens: the very input, or one that is equal to it."""
    for own, features in sorted(run.looked_up, key=lambda pair: pair[0] is not tokens):
        if tokens is own or (tokens.shape == own.shape and bool((tokens == own).all())):
            return features
    return None


def embedding_bag(
    function: Any,
    tokens: Any,
    weight: Any,
    offsets: Tensor | None = None,
    max_norm: Any = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """A table whose vectors are summed (or averaged, or pooled) by bags.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> table = Signal(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), Run(OPERATIONS), weight=True)
        >>> embedding_bag(F.embedding_bag, torch.tensor([[0, 1]]), table, mode="sum").value
        tensor([[4., 6.]])
    """
    if is_signal(tokens) and not is_signal(weight):
        raise UnknownOperation("an embedding of activations")
    found: Any = embedding(function, tokens, weight)
    if is_signal(per_sample_weights):
        found = found * per_sample_weights[..., None]
    if tokens.ndim == 2:
        return found.max(1)[0] if mode == "max" else found.mean(1) if mode == "mean" else found.sum(1)
    if offsets is None or mode == "max":
        raise UnknownOperation("'embedding_bag' of bags that are given by offsets and pooled")
    ends = [*offsets.tolist(), *([] if include_last_offset else [len(tokens)])]
    bags = [found[start:end] for start, end in pairwise(ends)]
    return torch.stack([bag.mean(0) if mode == "mean" and len(bag) else bag.sum(0) for bag in bags])
