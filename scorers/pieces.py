"""Pieces: a batch that does not fit into memory goes through the network a part at a time, with the same scores."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs, examples, forward, loss_of, rows
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.detached_state import DetachedState, copied, own_generators
from scratchcard.scorers.few_examples import Look, look_at_a_few
from scratchcard.scorers.scorer import Batch, Loss
from scratchcard.words import counted

FIRST_ORDER, SECOND_ORDER = 1.5, 5.0
"""How much a pass takes at its peak, in what the backward pass of first order keeps (measured on ResNet-18)."""

_memory: ContextVar[int | None] = ContextVar("memory", default=None)


class OwnBatchesWarning(UserWarning):
    """A batch was scored in pieces though its pieces' scores are not those of the whole; it says why.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        >>> batch = torch.rand(8, 3), torch.arange(8) % 2
        >>> with warnings.catch_warnings(record=True) as caught, scoring_memory(500):
        ...     warnings.simplefilter("always")
        ...     _ = sc.make_scorer("snip")(network, batch, nn.functional.cross_entropy)
        >>> str(caught[0].message)
        '8 examples were scored in 2 pieces, whose scores are not those of the whole batch: batch normalisation ...'
    """


@contextmanager
def scoring_memory(size: int | None) -> Iterator[None]:
    """Let scorers take so many bytes for what a backward pass needs of a batch; None sets no limit.

    A batch that needs more goes through the network in pieces. The scores are those of the whole batch, or a warning
    says why not: a network whose outputs for an example depend on the others (batch normalisation or dropout in
    training mode) treats pieces as batches of their own; and second derivatives need a loss that is a sum over the
    examples. A network that does not return one output an example is scored in one piece.

    Raises:
        ValueError: not a positive number of bytes.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        >>> batch = torch.rand(100, 3), torch.arange(100) % 2
        >>> snip = sc.make_scorer("snip")
        >>> whole = snip(network, batch, nn.functional.cross_entropy).tensors["0.weight"]
        >>> with scoring_memory(2000):
        ...     torch.testing.assert_close(snip(network, batch, nn.functional.cross_entropy).tensors["0.weight"], whole)
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"the memory for scoring is {size!r}, expected a number of bytes, such as 2 * 2**30")
    token = _memory.set(size)
    try:
        yield
    finally:
        _memory.reset(token)


def given_memory() -> int | None:
    """The limit, None without one: it can decide scores (see `OwnBatchesWarning`).

    Examples:
        >>> with scoring_memory(2**30):
        ...     given_memory()
        1073741824
    """
    return _memory.get()


class Piece(NamedTuple):
    """A part of a batch.

    Attributes:
        inputs: of its examples.
        loss: what this part's outputs add to the batch's loss. Of torch's own means that is the part's mean, by its
            share of the examples. Of any other loss it is the loss of the *whole* batch, in which the outputs of the
            other parts are constants. So the gradients of all pieces sum to the batch's, whatever the loss weighs, and
            so do second derivatives of a loss that is a sum over the examples.

    Examples:
        >>> piece = whole((torch.ones(4, 2), torch.zeros(4, 1)), nn.functional.mse_loss)
        >>> piece.loss(torch.ones(4, 1))
        tensor(1.)
    """

    inputs: Inputs
    loss: Callable[[Tensor], Tensor]


def whole(batch: Batch, loss: Loss) -> Piece:
    """The batch as its only piece.

    Examples:
        >>> whole((torch.ones(4, 2), torch.zeros(4, 1)), nn.functional.mse_loss).inputs.shape
        torch.Size([4, 2])
    """
    return Piece(batch[0], partial(_whole, loss, targets=batch[1]))


def pieces_of(
    network: nn.Module, batch: Batch, loss: Loss, state: DetachedState, order: float = FIRST_ORDER
) -> list[Piece]:
    """The batch in as few pieces as the memory allows; without a limit nothing is computed here.

    The bytes that a backward pass keeps of an example are counted on a few, which also show whether the scores of
    pieces are those of the whole. Where a loss is none of torch's own means, all outputs are computed once without a
    graph before the pieces' own passes: a third more time.

    Args:
        network: called with the state.
        batch: the whole, placed.
        loss: the mean over the batch's examples, or weighed in another way.
        state: what the network is called with.
        order: what a pass takes at its peak, in multiples of what the first backward pass keeps.

    Examples:
        >>> from scratchcard.scorers.detached_state import detached_state
        >>> network, batch = nn.Linear(8, 2), (torch.ones(100, 8), torch.arange(100) % 2)
        >>> state = detached_state(network)
        >>> with scoring_memory(2000):
        ...     len(pieces_of(network, batch, nn.functional.cross_entropy, state))
        3
    """
    inputs, targets = batch
    number = examples(inputs)
    limit = given_memory()
    look = None if limit is None else look_at_a_few(network, batch, loss, state, room=limit / order)
    count = 1 if look is None or limit is None else _count(look, number, order, limit)
    if look is None or count == 1:
        return [whole(batch, loss)]
    bounds = [number * k // count for k in range(count + 1)]
    parts = [rows(inputs, slice(*ends)) for ends in itertools.pairwise(bounds)]
    if look.is_mean:
        wanted = [targets[low:high] for low, high in itertools.pairwise(bounds)]
        return [
            Piece(part, partial(_share, loss, targets=own, share=len(own) / number))
            for part, own in zip(parts, wanted, strict=True)
        ]
    with torch.no_grad(), own_generators(network):
        outputs = torch.cat([forward(inside(network), part, tuple(copied(state))) for part in parts])
    return [
        Piece(part, partial(_beside, loss, targets=targets, before=outputs[:low], after=outputs[high:]))
        for part, (low, high) in zip(parts, itertools.pairwise(bounds), strict=True)
    ]


def added(total: Sequence[Tensor], found: Sequence[Tensor]) -> list[Tensor]:
    """A sum over pieces and what one more gives; of the first, that itself.

    Examples:
        >>> added(added([], [torch.ones(2)]), [torch.ones(2)])
        [tensor([2., 2.])]
    """
    result = list(total or found)
    for place, sum_ in enumerate(total):  # one by one: no third copy of all
        result[place] = sum_ + found[place]
    return result


def _whole(loss: Loss, outputs: Tensor, *, targets: Tensor) -> Tensor:
    return loss_of(loss, outputs, targets)


def _share(loss: Loss, outputs: Tensor, *, targets: Tensor, share: float) -> Tensor:
    return loss_of(loss, outputs, targets) * share


def _beside(loss: Loss, outputs: Tensor, *, targets: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return loss_of(loss, torch.cat([before, outputs, after]), targets)


def _count(look: Look, number: int, order: float, limit: int) -> int:
    """How many pieces; warns where they are not as good as the whole."""
    count = min(math.ceil(order * look.kept * number / limit), number)
    why = look.together or ("" if look.is_sum or order <= FIRST_ORDER else "the loss is no sum over the examples")
    if count < 2 or not why:
        return max(1, count)
    if not look.one_each:
        return 1
    count = min(count, number // 2)  # one example has no variance
    if count > 1:
        warnings.warn(
            f"{counted(number, 'example')} were scored in {count} pieces, whose scores are not those of the whole "
            f"batch: {why}",
            OwnBatchesWarning,
            stacklevel=2,
        )
    return max(1, count)
