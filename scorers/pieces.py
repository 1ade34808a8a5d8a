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
from torch.nn import functional as F

from scratchcard.pruning.inputs import Inputs, each, examples, forward, loss_of, rows
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.detached_state import DetachedState, copied, own_generators
from scratchcard.scorers.scorer import Batch, Loss
from scratchcard.words import counted

MEMORY = 512 * 2**20
"""Bytes for what a backward pass needs of a batch, where nobody says otherwise."""
FIRST_ORDER, SECOND_ORDER = 1.5, 5.0
"""How much a pass takes at its peak, in what the backward pass of first order keeps (measured on ResNet-18)."""
_PROBE = 4
ROUNDING = 1e-3
"""Relative; outputs that differ by more do not differ by rounding."""
IGNORED = -100
"""A target that torch's cross-entropy leaves out of its mean."""

_memory: ContextVar[int | None] = ContextVar("memory", default=None)


class OwnBatchesWarning(UserWarning):
    """A batch was scored in pieces by a network whose outputs depend on the batch: each piece is a batch of its own.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        >>> batch = torch.rand(8, 3), torch.arange(8) % 2
        >>> with warnings.catch_warnings(record=True) as caught, scoring_memory(500):
        ...     warnings.simplefilter("always")
        ...     _ = sc.make_scorer("snip")(network, batch, nn.functional.cross_entropy)
        >>> str(caught[0].message)
        '8 examples were scored in 2 pieces, to Sequential batches of their own (batch normalisation or dropout ...'
    """


@contextmanager
def scoring_memory(size: int | None) -> Iterator[None]:
    """Let scorers take so many bytes for what a backward pass needs of a batch; None is the default, 512 MiB.

    By default a network whose outputs for an example depend on the others (batch normalisation or dropout in training
    mode) is scored in one piece, whatever it takes: its pieces would be batches of their own. With a number it is
    scored in pieces too, and warns.

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
    """The memory that somebody gave, None for the default: it can decide scores (see `OwnBatchesWarning`).

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
    """The batch in as few pieces as the memory allows; in one piece nothing is computed here but a probe.

    The bytes that a backward pass keeps for an example are counted on a few examples. Where a loss is none of torch's
    own means, all outputs are computed once without a graph before the pieces' own passes: a third more time.

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
    count = _count(network, inputs, state, order)
    if count == 1:
        return [whole(batch, loss)]
    bounds = [number * k // count for k in range(count + 1)]
    parts = [rows(inputs, slice(*ends)) for ends in itertools.pairwise(bounds)]
    if _is_mean(loss, targets) and len(targets) == number:
        wanted = [targets[low:high] for low, high in itertools.pairwise(bounds)]
        return [
            Piece(part, partial(_share, loss, targets=own, share=len(own) / number))
            for part, own in zip(parts, wanted, strict=True)
        ]
    with torch.no_grad(), own_generators(network):
        outputs = torch.cat([forward(inside(network), part, tuple(copied(state))) for part in parts])
    if len(outputs) != number:
        raise ValueError(
            f"{type(network).__name__} returns {len(outputs)} outputs for {number} examples, so that the batch cannot "
            "be scored in pieces: give more memory"
        )
    return [
        Piece(part, partial(_beside, loss, targets=targets, before=outputs[:low], after=outputs[high:]))
        for part, (low, high) in zip(parts, itertools.pairwise(bounds), strict=True)
    ]


class Tempered:
    """A loss of the outputs divided by a temperature.

    Examples:
        >>> Tempered(nn.functional.mse_loss, 2.0)(torch.full((3, 1), 4.0), torch.zeros(3, 1))
        tensor(4.)
    """

    def __init__(self, of: Loss, temperature: float) -> None:
        self.of, self.temperature = of, temperature
        self.__name__ = getattr(of, "__name__", type(of).__name__)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.of(outputs / self.temperature, targets)


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


def _is_mean(loss: Loss, targets: Tensor) -> bool:
    """Whether a loss is one of torch's own means over examples of equal weight."""
    loss = loss.of if isinstance(loss, Tempered) else loss
    if loss is F.cross_entropy and not targets.is_floating_point():
        return not bool((targets == IGNORED).any())
    return loss in (F.cross_entropy, F.mse_loss, F.l1_loss, F.binary_cross_entropy_with_logits)


def _share(loss: Loss, outputs: Tensor, *, targets: Tensor, share: float) -> Tensor:
    return loss_of(loss, outputs, targets) * share


def _beside(loss: Loss, outputs: Tensor, *, targets: Tensor, before: Tensor, after: Tensor) -> Tensor:
    return loss_of(loss, torch.cat([before, outputs, after]), targets)


def _count(network: nn.Module, inputs: Inputs, state: DetachedState, order: float) -> int:
    """How many pieces."""
    number, given = examples(inputs), given_memory()
    probe = each(rows(inputs, slice(0, _PROBE)), torch.clone)
    needed = order * kept_bytes(network, probe, state) / min(number, _PROBE) * number
    count = min(math.ceil(needed / (given or MEMORY)), number)
    if count < 2 or not _depend_on_the_batch(network, probe, state):
        return max(1, count)
    if given is None:
        return 1
    count = max(1, min(count, number // 2))  # one example has no variance
    if count > 1:
        kind = type(inside(network)).__name__
        warnings.warn(
            f"{counted(number, 'example')} were scored in {count} pieces, to {kind} batches of their own (batch "
            "normalisation or dropout in training mode?); give more memory, or put the network into evaluation mode",
            OwnBatchesWarning,
            stacklevel=2,
        )
    return count


def _depend_on_the_batch(network: nn.Module, inputs: Inputs, state: DetachedState) -> bool:
    """Whether the outputs of the last two of a few examples are others when these two are alone."""

    def outputs(some: Inputs) -> Tensor:
        with torch.no_grad(), own_generators(network):
            return forward(inside(network), some, tuple(copied(state)))

    among = outputs(inputs)
    if len(among) != examples(inputs):
        return False  # said where they are used
    among, alone = among[-2:], outputs(rows(inputs, slice(-2, None)))
    return not bool((among - alone).abs().max() <= ROUNDING * among.abs().max())  # NaN is no equal of itself


def kept_bytes(network: nn.Module, inputs: Inputs, state: DetachedState) -> int:
    """Bytes that a backward pass keeps of a forward pass, beside the network's own tensors.

    Examples:
        >>> from scratchcard.scorers.detached_state import detached_state
        >>> network = nn.Linear(8, 2)
        >>> kept_bytes(network, torch.ones(4, 8), detached_state(network))
        128
    """
    own = {tensor.untyped_storage().data_ptr() for part in state for tensor in part.values() if _strided(tensor)}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _strided(tensor) and (place := tensor.untyped_storage().data_ptr()) not in own:
            found[place] = tensor.untyped_storage().nbytes()
        return tensor

    with own_generators(network), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward(inside(network), inputs, tuple(copied(state)))
    return sum(found.values())


def _strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided
