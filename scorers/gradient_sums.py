"""Sums of gradients over the pieces of a batch, with as little as possible in memory beside the sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchcard.pruning.row_blocks import row_blocks
from scratchcard.scorers.large_linear import NUMBERS, LargeLinears
from scratchcard.scorers.shelf import Shelf


@contextmanager
def summed_up(
    leaves: Sequence[Tensor], total: list[Tensor], shelf: Shelf, large: LargeLinears | None = None
) -> Iterator[None]:
    """Let gradients of leaves add to a sum as soon as each is known, and hand on zeros without memory in their place.

    So the gradients of a piece are never all in memory beside the sum.

    Args:
        leaves: whose gradients are taken inside, once.
        total: in their order; empty before the first piece.
        shelf: where the sum lies.
        large: the mode under which the forward pass was done, if it was.

    Examples:
        >>> leaf, total = torch.ones(2, requires_grad=True), []
        >>> for factor in (1.0, 3.0):
        ...     with summed_up([leaf], total, Shelf(2)):
        ...         _ = torch.autograd.grad((factor * leaf).sum(), leaf)
        >>> total
        [tensor([4., 4.])]
    """
    first = not total
    if first:
        total += [torch.zeros(()).expand(leaf.shape) for leaf in leaves]
    seen = [not first] * len(leaves)

    def add(place: int, gradient: Tensor) -> Tensor:
        if gradient.numel() and not any(gradient.stride()) and not bool(gradient[(0,) * gradient.ndim]):
            return gradient  # it stands for what `add_rows` has taken, or is nothing
        if seen[place]:
            shelf.add(total[place], gradient)
        else:  # a copy, as two leaves may be given one tensor
            total[place], seen[place] = shelf.kept(gradient), True
        shelf.tidy(heap=False)
        return gradient.new_zeros(()).expand(gradient.shape)

    def add_rows(leaf: Tensor, left: Tensor, right: Tensor) -> None:
        place = next(place for place, own in enumerate(leaves) if own is leaf)
        if not seen[place]:
            total[place], seen[place] = shelf.zeros(leaf), True
        for rows in row_blocks(leaf.shape, NUMBERS):
            total[place][rows].addmm_(left[:, rows].T, right)
            shelf.tidy(heap=False)

    handles = [
        leaf.register_hook(partial(add, place))  # type: ignore[no-untyped-call]
        for place, leaf in enumerate(leaves)
    ]
    if large is not None:
        large.add = add_rows
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for place, known in enumerate(seen):
        if not known:
            total[place] = torch.zeros_like(leaves[place], requires_grad=False)


class _Hollow(torch.autograd.Function):
    """A tensor without its numbers: zeros that take no memory, with the tensor's graph."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.new_zeros(()).expand(tensor.shape)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope


@contextmanager
def hollow_gradients(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Let gradients of leaves be zeros that take no memory; differentiated again they are the gradients.

    Examples:
        >>> leaf = torch.full((2,), 3.0, requires_grad=True)
        >>> with hollow_gradients([leaf]):
        ...     (slope,) = torch.autograd.grad(leaf.pow(2).sum(), leaf, create_graph=True)
        >>> slope.detach(), torch.autograd.grad(slope, leaf, torch.ones(2))[0]
        (tensor([0., 0.]), tensor([2., 2.]))
    """
    handles = [leaf.register_hook(_Hollow.apply) for leaf in leaves]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
