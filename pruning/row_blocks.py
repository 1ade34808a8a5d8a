"""Row blocks: the image of a large linear layer's weight, of which a few rows at a time are made and none kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LARGE = 2**24
"""Numbers of a matrix from which on it is worth it."""
_NUMBERS = 2**18
"""Of a block: what is made of a weight stays in the processor's cache until it has been used."""


@dataclass(eq=False)
class RowBlocks:
    """`m = |w|^power * mask` of a weight `(out, in)`, and what its backward pass finds, a block of rows at a time.

    A product with `m` reads the weight itself. So neither `m` nor the slope `dR/dm` is ever in memory, in float64 two
    or four times what the weight takes. Of both only the product is made, which is what path scores are, and only after
    the backward pass, which keeps of each use what goes in and the slope of what comes out.

    Attributes:
        weight: `(out, in)`; read, never written.
        mask: kept weights; None: all.
        power: see `fill`.
        dtype: of the image.
        uses: by `linear`, that a backward pass has come by: slopes `(n, out)` and inputs `(n, in)`.
        made: whether all of `m` was made once, for another use.

    Examples:
        >>> blocks = RowBlocks(torch.tensor([[1.0, -2.0]]), None, 2, torch.float64)
        >>> x = torch.tensor([[1.0, 10.0]], dtype=torch.float64, requires_grad=True)
        >>> y = blocks.linear(x, torch.empty(1, 2, dtype=torch.float64, requires_grad=True))
        >>> y.detach(), torch.autograd.grad(y.sum(), x)[0], blocks.product()[0]
        (tensor([[41.]], dtype=...), tensor([[1., 4.]], dtype=...), tensor([[ 1., 40.]], dtype=...))
    """

    weight: Tensor
    mask: Tensor | None
    power: float | None
    dtype: torch.dtype
    uses: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    made: bool = False

    def make(self, leaf: Tensor) -> None:
        """Fill a tensor, in place, with `m`; the first time."""
        if self.made:
            return
        self.made = True
        with torch.no_grad():
            if not leaf.untyped_storage().nbytes():
                leaf.untyped_storage().resize_(leaf.nbytes)  # it was let go
            fill(leaf, self.weight, self.mask, self.power)

    def linear(self, inputs: Tensor, leaf: Tensor) -> Tensor:
        """`x m^T` for `x` `(*, in)`; of `leaf`, which stands for `m`, the gradient is zeros without memory."""
        found: Tensor = _Linear.apply(inputs, leaf, self)
        return found

    def product(self) -> tuple[Tensor, Tensor]:
        """`m * dR/dm`, summed over all uses, and the sum of its numbers."""
        total = torch.zeros((), dtype=self.dtype, device=self.weight.device)
        found = torch.empty(self.weight.shape, dtype=self.dtype, device=self.weight.device)
        alone = len(self.uses) == 1 and len(self.uses[0][0]) == 1
        for place, block in self.blocks():
            own = found[place]
            if alone:  # a product of two vectors, which the general way takes twice as long for
                slopes, inputs = self.uses[0]
                torch.mul(block, inputs, out=own).mul_(slopes[:, place].T)
                total += own.sum()
                continue
            for number, (slopes, inputs) in enumerate(self.uses):
                torch.addmm(own, slopes[:, place].T, inputs, beta=float(number > 0), out=own)
            own *= block
            total += own.sum()
        return found, total

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """The rows of `m`, each block with its place; good until the next one."""
        places = row_blocks(self.weight.shape, _NUMBERS)
        room = torch.empty_like(self.weight[places[0]] if places else self.weight, dtype=self.dtype)
        for place in places:
            block = room[: place.stop - place.start]
            fill(block, self.weight[place], None if self.mask is None else self.mask[place], self.power)
            yield place, block

    def any(self) -> bool:
        """Whether a number of `m` is not zero."""
        return any(bool(block.any()) for _, block in self.blocks())


class _Linear(torch.autograd.Function):
    """`RowBlocks.linear`, once differentiable."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, leaf: Tensor, rows: RowBlocks) -> Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])
        found = flat.new_empty((len(flat), len(rows.weight)))
        for place, block in rows.blocks():
            found[:, place] = flat @ block.T
        ctx.rows, ctx.shape = rows, leaf.shape
        ctx.save_for_backward(inputs)
        return found.reshape(*inputs.shape[:-1], len(rows.weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        (inputs,) = ctx.saved_tensors
        rows: RowBlocks = ctx.rows
        flat, ends = inputs.reshape(-1, inputs.shape[-1]), slope.reshape(-1, slope.shape[-1])
        rows.uses.append((ends.detach(), flat.detach()))
        back = torch.zeros_like(flat)
        for place, block in rows.blocks():
            back += ends[:, place] @ block
        return back.reshape(inputs.shape), slope.new_zeros(()).expand(ctx.shape), None


def row_blocks(shape: Sequence[int], numbers: int) -> list[slice]:
    """Blocks of rows of a matrix, of about so many numbers.

    Examples:
        >>> row_blocks((3, 400), 1000)
        [slice(0, 2, None), slice(2, 3, None)]
    """
    rows, columns = shape
    step = max(1, numbers // max(1, columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def fill(image: Tensor, weight: Tensor, mask: Tensor | None, power: float | None) -> None:
    """Set an image of a weight, or a part of one, to `|w|^power * mask`; with `power` None to `w * mask`.

    Examples:
        >>> image = torch.empty(2, dtype=torch.float64)
        >>> fill(image, torch.tensor([-3.0, 2.0]), torch.tensor([True, False]), power=2)
        >>> image
        tensor([9., 0.], dtype=torch.float64)
    """
    if mask is None:
        image.copy_(weight)
    else:  # before the power, with the same numbers: one pass over the weights in place of two
        torch.mul(weight, mask, out=image)
    if power == 2:
        image.mul_(image)
    elif power is not None:
        image.abs_()
        if power != 1:
            image.pow_(power)
