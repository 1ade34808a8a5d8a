"""Pieces: a batch that does not fit into memory goes through the network a part at a time, with the same scores."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import Inputs, examples, forward, loss_of, rows
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.detached_state import DetachedState, copied, own_generators
from scratchcard.scorers.few_examples import Look, look_at_a_few
from scratchcard.scorers.kept_memory import DoesNotFit
from scratchcard.scorers.scorer import Batch, Loss
from scratchcard.words import counted

MEMORY = 512 * 2**20
"""Bytes that scoring takes on a CPU for what a backward pass needs of a batch, where nobody says otherwise."""

T = TypeVar("T")

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
    """Let scorers take so many bytes for what a backward pass needs of a batch; None is `default_memory`.

    A batch that needs more goes through the network in pieces. The scores are those of the whole batch, up to rounding,
    or a warning says why not: a network whose outputs for an example depend on the others (batch normalisation or
    dropout in training mode) treats pieces as batches of their own; and second derivatives need a loss that is a sum
    over the examples. Without a number such a batch is scored in one piece, whatever it takes. So is one of a network
    that does not return one output an example.

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
    """The number that somebody gave, None for the default: it can decide scores (see `OwnBatchesWarning`).

    Examples:
        >>> with scoring_memory(2**30):
        ...     given_memory()
        1073741824
    """
    return _memory.get()


class Passes(NamedTuple):
    """What a scorer's passes take.

    Attributes:
        whole: memory at the peak of the whole batch's, in what the backward pass of first order keeps.
        piece: of a piece's.
        is_sum: whether the loss must be a sum over the examples where the batch goes in pieces.

    Examples:
        >>> FIRST_ORDER.whole
        1.5
    """

    whole: float
    piece: float
    is_sum: bool


FIRST_ORDER, SECOND_ORDER = Passes(1.5, 1.5, is_sum=False), Passes(5.0, 5.0, is_sum=True)
"""Measured on ResNet-18."""


class Piece(NamedTuple):
    """A part of a batch.

    Attributes:
        inputs: of its examples.
        loss: what this part's outputs add to the batch's loss. Of torch's own means that is the part's mean, by its
            share of the examples. Of any other loss it is the loss of the *whole* batch, in which the outputs of the
            other parts are constants. So the gradients of all pieces sum to the batch's, whatever the loss weighs, and
            so do second derivatives of a loss that is a sum over the examples.
        room: bytes that its pass may keep; no bound where the whole was found not to fit.

    Examples:
        >>> piece = whole((torch.ones(4, 2), torch.zeros(4, 1)), nn.functional.mse_loss)
        >>> piece.loss(torch.ones(4, 1))
        tensor(1.)
    """

    inputs: Inputs
    loss: Callable[[Tensor], Tensor]
    room: float = math.inf


def whole(batch: Batch, loss: Loss, room: float = math.inf) -> Piece:
    """The batch as its only piece.

    Examples:
        >>> whole((torch.ones(4, 2), torch.zeros(4, 1)), nn.functional.mse_loss).inputs.shape
        torch.Size([4, 2])
    """
    return Piece(batch[0], partial(_whole, loss, targets=batch[1]), room)


def default_memory(device: torch.device) -> int:
    """Bytes for scoring where nobody gives a number: 512 MiB on a CPU, half of what is free where that is less.

    So small pieces cost a CPU no time, and scores do not depend on how much memory a machine has. On a GPU, where they
    would, it is half of what is free.

    Examples:
        >>> default_memory(torch.device("cpu")) <= MEMORY
        True
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    free = _available() if device.type == "cpu" else None
    return MEMORY if free is None else max(1, min(MEMORY, free // 2))


def in_pieces(
    work: Callable[[list[Piece]], T],
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    state: DetachedState,
    passes: Passes = FIRST_ORDER,
) -> T:
    """What `work` makes of the batch in as few pieces as the memory allows.

    The whole batch is tried first, and nothing else is computed where it fits. As soon as its forward pass has kept
    more than there is room for it is left, a few examples show what one keeps and whether the scores of pieces are
    those of the whole, and `work` begins anew. Where a loss is none of torch's own means, all outputs are computed once
    without a graph before the pieces' own passes: a third more time.

    Args:
        work: called with the pieces; it hands their `room` on to `outputs_at`.
        network: called with the state.
        batch: the whole, placed.
        loss: the mean over the batch's examples, or weighed in another way.
        state: what the network is called with.
        passes: what they take.

    Examples:
        >>> from scratchcard.scorers.detached_state import detached_state
        >>> from scratchcard.scorers.gradients import piece_gradients
        >>> network, batch = nn.Linear(8, 2), (torch.ones(100, 8), torch.arange(100) % 2)
        >>> state = detached_state(network)
        >>> def passes(parts):
        ...     return len([piece_gradients(network, piece, state) for piece in parts])
        >>> with scoring_memory(2000):
        ...     in_pieces(passes, network, batch, nn.functional.cross_entropy, state)
        3
    """
    given = given_memory()
    limit = default_memory(batch[1].device) if given is None else given
    with suppress(DoesNotFit):
        return work([whole(batch, loss, limit / passes.whole)])
    return work(_pieces(network, batch, loss, state, passes, limit))


def _pieces(
    network: nn.Module, batch: Batch, loss: Loss, state: DetachedState, passes: Passes, limit: int
) -> list[Piece]:
    inputs, targets = batch
    number = examples(inputs)
    look = look_at_a_few(network, batch, loss, state)
    count = 1 if look is None else _count(look, number, passes, limit)
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
    note_reads(number)
    with torch.no_grad(), own_generators(network):
        outputs = torch.cat([forward(inside(network), part, tuple(copied(state))) for part in parts])
    return [
        Piece(part, partial(_beside, loss, targets=targets, before=outputs[:low], after=outputs[high:]))
        for part, (low, high) in zip(parts, itertools.pairwise(bounds), strict=True)
    ]


def _whole(loss: Loss, outputs: Tensor, *, targets: Tensor) -> Tensor:
    return loss_of(loss, outputs, targets)


def _share(loss: Loss, outputs: Tensor, *, targets: Tensor, share: float) -> Tensor:
    return loss_of(loss, outputs, targets) * share


def _beside(loss: Loss, outputs: Tensor, *, targets: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return loss_of(loss, torch.cat([before, outputs, after]), targets)


def _count(look: Look, number: int, passes: Passes, limit: int) -> int:
    """How many pieces; warns where they are not as good as the whole."""
    count = min(math.ceil(passes.piece * look.kept * number / limit), number)
    why = look.together or ("" if look.is_sum or not passes.is_sum else "the loss is no sum over the examples")
    if count < 2 or not why:
        return max(1, count)
    if given_memory() is None or not look.one_each:
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


def _available() -> int | None:
    """Bytes of memory that programs can still have; None where the operating system does not say (not Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
