"""Derivatives of large linear layers, of which nothing of the weight's size is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from scratchcard.pruning.row_blocks import LARGE, row_blocks
from scratchcard.scorers.shelf import Shelf

NUMBERS = 2**20
"""Of a block of rows."""

Rows = Callable[[Tensor, Tensor, Tensor], None]
T = TypeVar("T")


class LargeLinears(TorchFunctionMode):
    """Lets linear layers with large leaves hand their gradients on a block of rows at a time.

    Of `y = x W^T` the gradient is `W' = d^T x`, and the Hessian's product with a direction V has two such parts. Torch
    makes all three, each as large as W. The forward pass is done within `forward`. In a backward pass after it
    `add(W, a, b)` is called for each part `a^T b`, and autograd sees zeros without memory in its place. A gradient that
    is taken with `create_graph` is such zeros too, without a call, and can be differentiated in the same way; V is read
    a block at a time. Gradients that a network takes in its own forward pass are torch's.

    Args:
        leaves: those of a matrix's shape with `LARGE` numbers and more are meant.
        shelf: of the network; what is read of it is let go.

    Attributes:
        begun: whether the forward pass is over.
        add: `(leaf, a, b)`: take `a^T b`, `(n, out)` and `(n, in)`, for a part of the leaf's gradient; to be set before
            the backward pass that shall call it.

    Examples:
        >>> weight = torch.tensor([[3.0, 1.0]], requires_grad=True)
        >>> large = LargeLinears([weight], Shelf(2))  # too small a weight to be meant
        >>> with large.forward():
        ...     F.linear(torch.ones(1, 2), weight).detach(), len(large.meant)
        (tensor([[4.]]), 0)
    """

    def __init__(self, leaves: Iterable[Tensor], shelf: Shelf) -> None:
        super().__init__()
        large = [leaf for leaf in leaves if leaf.ndim == 2 and leaf.numel() >= LARGE]
        self.meant = {id(leaf): leaf for leaf in large}
        self.shelf = shelf
        self.begun = False
        self.add: Rows = _nobody

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Around a forward pass, of which gradients are taken afterwards."""
        self.begun = False
        with self:
            yield
        self.begun = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = func is not F.linear or len(args) < 2 or id(args[1]) not in self.meant
        if plain or torch.compiler.is_compiling() or torch.is_autocast_enabled(args[1].device.type):
            return func(*args, **(kwargs or {}))
        bias = args[2] if len(args) > 2 else (kwargs or {}).get("bias")
        found: Any = _Linear.apply(args[0], args[1], self)
        return found if bias is None else found + bias


def in_rows(leaves: Iterable[Tensor], shelf: Shelf, work: Callable[[LargeLinears | None], T]) -> T:
    """What is made of passes under `LargeLinears`, or without where there is no such leaf or it cannot be.

    It cannot where layers are computed anew in the backward pass, or under `vmap`. An error that has another reason
    comes up again.

    Examples:
        >>> in_rows([torch.ones(2, 2)], Shelf(4), lambda large: large is None)
        True
    """
    large = LargeLinears(leaves, shelf)
    if large.meant:
        try:
            return work(large)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
    return work(None)


class _Linear(torch.autograd.Function):
    """`x W^T`."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, mode: LargeLinears) -> Tensor:
        ctx.mode, ctx.weight = mode, weight
        ctx.save_for_backward(inputs)
        return F.linear(inputs, weight)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        (inputs,) = ctx.saved_tensors
        if not ctx.mode.begun:  # the network's own gradient
            flat = inputs.reshape(-1, inputs.shape[-1]), slope.reshape(-1, slope.shape[-1])
            return slope @ ctx.weight, flat[1].T @ flat[0], None
        if torch.is_grad_enabled():
            return *_Slopes.apply(slope, inputs, ctx.weight, ctx.mode), None
        ctx.mode.add(ctx.weight, _flat(slope), _flat(inputs))
        return slope @ ctx.weight, _nothing(ctx.weight), None


class _Slopes(torch.autograd.Function):
    """The backward pass `d W, d^T x`, of which the second is not made."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, inputs: Tensor, weight: Tensor, mode: LargeLinears) -> tuple[Tensor, Tensor]:
        ctx.mode, ctx.weight = mode, weight
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(slope, inputs)
        return slope @ weight, _nothing(weight)

    @staticmethod
    def backward(ctx: Any, back: Tensor | None, direction: Tensor | None) -> Any:
        slope, inputs = ctx.saved_tensors
        ends = torch.zeros_like(slope) if back is None else back @ ctx.weight.T
        if back is not None:
            ctx.mode.add(ctx.weight, _flat(slope), _flat(back))
        if direction is None:
            return ends, None, _nothing(ctx.weight), None
        flat, given, found = _flat(slope), _flat(inputs), torch.zeros_like(_flat(inputs))
        flat_ends = _flat(ends)
        for place in row_blocks(direction.shape, NUMBERS):
            rows = direction[place]
            flat_ends[:, place] += given @ rows.T
            found += flat[:, place] @ rows
            ctx.mode.shelf.tidy(heap=False)
        return flat_ends.reshape(slope.shape), found.reshape(inputs.shape), _nothing(ctx.weight), None


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1, tensor.shape[-1])


def _nothing(like: Tensor) -> Tensor:
    return like.new_zeros(()).expand(like.shape)


def _nobody(leaf: Tensor, left: Tensor, right: Tensor) -> None:
    raise RuntimeError("a part of a large layer's gradient came before it was asked for")
