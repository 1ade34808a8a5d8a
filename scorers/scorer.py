"""Scorer: what every criterion is, from outside; and the form in which all of them hand their scores over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.pruning.scores import Scores

Batch = tuple[Inputs, Tensor]
"""Inputs `(n, *shape)`, or several by name, and targets `(n, ...)`."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""`(outputs, targets) -> ()`, the *mean* over the examples."""

# As a rule the first few kept weights differ, so that there is no need to look at all of them.
_CHUNK = 4096


class NoEffectWarning(UserWarning):
    """A scorer could not tell the kept weights apart: a mask made from its scores would be a random one.

    Examples:
        >>> import warnings
        >>> network = nn.Linear(2, 1)
        >>> _ = network.weight.data.fill_(1.0)
        >>> batch = torch.ones(1, 2), torch.ones(1, 1)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = sc.make_scorer("magnitude")(network, batch, nn.functional.mse_loss)
        >>> caught[0].category.__name__
        'NoEffectWarning'
    """


@runtime_checkable
class Scorer(Protocol):
    """One number for each prunable weight; higher = keep.

    A scorer is a frozen dataclass of its settings (`class SNIP(Settings, Scorer)`), so that its `repr` is its
    provenance. Called, it leaves the network as it was: parameters,
    buffers (also the running statistics of batch normalisation), `.grad`, `requires_grad`,
    train or eval mode, dtype and the state of the random number generators; what an earlier backward pass
    left in `.grad` has no influence. The network is evaluated in the mode that it is in. Called again, it
    returns the same scores, bit for bit on a CPU, whatever was drawn in between: random layers (dropout) draw
    from generators of the scorer's own, which start at 0. A network in half precision (float16, bfloat16) is scored as
    the same network in float32: products of small numbers would vanish there. Scores are float32 at least.

    While it is called the network holds other tensors (`torch.func.functional_call`), so that several threads need
    a copy of it each.

    What it computes of the network it notes (`scratchcard.clock.note_reads`): a ticket's bill in passes counts that.
    The means of this package (`loss_gradients`, path scorers) do so themselves.

    Attributes:
        regime: the name of the regime that it wants where none is asked for.

    Examples:
        >>> network = nn.Linear(3, 2, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -3.0]])
        >>> batch = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1])
        >>> scorer: Scorer = sc.make_scorer("snip")
        >>> scorer(network, batch, nn.functional.cross_entropy).total
        6
    """

    regime: ClassVar[str] = "USS"

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """Score `network` on one batch.

        Args:
            network: any module with prunable weights; the scores live on its device.
            batch: inputs and targets; moved to the network's device and, if floating, to its dtype, float32 at least.
            loss: mean over the examples.
            mask: evaluate the network at `w * mask`, so that only kept weights count; pruned weights score 0.

        Raises:
            ValueError: nothing to prune, a mask of another layout, or scores that are not finite.

        Warns:
            NoEffectWarning: all kept weights have the same score.
        """
        ...

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """The scorer of one multi-shot sequence on `network` from `mask` on: the same scores, perhaps less work.

        One that does part of its work once for a whole sequence (SynFlow, stacked scoring) returns another scorer.
        """
        return self

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """The scorer of one search that trains and begins at the weights that `network` has now; as a rule itself.

        Every regime that trains in between calls it once, before any training. A scorer that compares with the initial
        weights, or that remembers what earlier looks of the search saw, returns another one, for this search alone. A
        search that goes on after an interruption takes all its looks again (only trainings are read from the store), so
        that no state need be kept. At a look's cut the scorer may be called several times, once a shot.

        Args:
            network: with its initial weights; it is trained in place from then on.
            done: says when it is called which share of the search's training is done, in (0, 1]; each look has another.
        """
        return self


def check_scorer(scorer: object) -> Scorer:
    """What was given, if it is a scorer.

    Raises:
        ValueError: it is none.

    Examples:
        >>> check_scorer(sc.make_scorer("snip"))
        SNIP()
        >>> check_scorer(len)
        Traceback (most recent call last):
            ...
        ValueError: <built-in function len> is no scorer: expected a subclass of scratchcard.Scorer, which has `prepare`
    """
    if not isinstance(scorer, Scorer):
        raise ValueError(f"{scorer!r} is no scorer: expected a subclass of scratchcard.Scorer, which has `prepare`")
    return scorer


def check_mask(network: nn.Module, mask: Mask | None) -> dict[str, nn.Parameter]:
    """The prunable weights of `network`, after a check that `mask` is one of theirs.

    Raises:
        ValueError: nothing to prune, or a mask of another layout.

    Examples:
        >>> [*check_mask(nn.Linear(3, 2), None)]
        ['weight']
    """
    weights = prunable(network)
    if mask is not None:
        check_same_layout(weights, mask.tensors, "the mask")
    return weights


def at_least_single(tensor: Tensor) -> Tensor:
    """The tensor in float32 where it is in half precision, else as it is.

    Examples:
        >>> at_least_single(torch.ones(1, dtype=torch.bfloat16)).dtype, at_least_single(torch.ones(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_pruned(tensors: Mapping[str, Tensor], mask: Mask | None) -> dict[str, Tensor]:
    """The tensors, detached, with exact zeros where `mask` prunes.

    Examples:
        >>> mask = Mask({"weight": torch.tensor([True, False])})
        >>> without_pruned({"weight": torch.tensor([0.3, 0.4])}, mask)
        {'weight': tensor([0.3000, 0.0000])}
    """
    if mask is None:
        return {name: tensor.detach() for name, tensor in tensors.items()}
    return {
        name: tensor.detach().masked_fill(~mask.tensors[name].to(tensor.device), 0) for name, tensor in tensors.items()
    }


def hand_over(tensors: Mapping[str, Tensor], mask: Mask | None, scorer: object) -> Scores:
    """Scores from a scorer's raw numbers, which must be zero where `mask` prunes: detached, float32 at least, checked.

    Raises:
        ValueError: a number is not finite.

    Warns:
        NoEffectWarning: all kept weights have the same score.

    Examples:
        >>> hand_over({"weight": torch.tensor([0.3, 0.4])}, None, "my criterion")
        Scores(2 weights in 1 layer, by 'my criterion')
    """
    scores = Scores({name: at_least_single(tensor.detach()) for name, tensor in tensors.items()}, repr(scorer))
    if not _tells_apart(scores, mask):
        warnings.warn(
            f"{scorer} gives all kept weights the same score, so a mask made from it is a random one: look "
            "for a dead network (zero gradient, as behind a last layer of zeros), a layer without kept weights, or a "
            "batch without variation",
            NoEffectWarning,
            stacklevel=3,
        )
    return scores


def _tells_apart(scores: Scores, mask: Mask | None) -> bool:
    """Whether two kept weights have different scores (True also if there is but one kept weight)."""
    pivot: Tensor | None = None
    live = 0
    for name, tensor in scores.tensors.items():
        flat = tensor.reshape(-1)
        kept = None if mask is None else mask.tensors[name].reshape(-1).to(tensor.device)
        for start in range(0, flat.numel(), _CHUNK):
            values = flat[start : start + _CHUNK]
            if kept is not None:
                values = values[kept[start : start + _CHUNK]]
            if values.numel() == 0:
                continue
            live += values.numel()
            pivot = values[0] if pivot is None else pivot
            if bool(torch.any(values != pivot)):
                return True
    return live == 1
