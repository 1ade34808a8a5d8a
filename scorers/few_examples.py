"""A few examples of a batch show what a backward pass keeps, and whether pieces have the scores of the whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import Inputs, each, examples, forward, loss_of, rows, tensors
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.detached_state import DetachedState, copied, held, own_generators
from scratchcard.scorers.kept_memory import counted_kept
from scratchcard.scorers.scorer import Batch, Loss

_PROBE = 4
_ROUNDING = 1e-3
"""Relative; outputs that differ by more do not differ by rounding."""
_IGNORED = -100
"""A target that torch's cross-entropy leaves out of its mean."""


class Look(NamedTuple):
    """What a few examples show.

    Attributes:
        kept: bytes that a backward pass keeps of an example.
        one_each: the network returns one output an example.
        together: why the examples cannot be told apart; empty if they can.
        is_mean: the loss is one of torch's own means over examples of equal weight.
        is_sum: the loss is a sum over the examples, as far as second derivatives go.

    Examples:
        >>> Look(kept=64.0, one_each=True, together="", is_mean=True, is_sum=True).kept
        64.0
    """

    kept: float
    one_each: bool
    together: str
    is_mean: bool
    is_sum: bool


def look_at_a_few(network: nn.Module, batch: Batch, loss: Loss, state: DetachedState) -> Look | None:
    """A look at a few examples, spread over the batch; None where no few can be taken.

    That is of a small batch, of inputs or targets that are not one an example, of a network or a loss that takes no
    few.

    Examples:
        >>> from scratchcard.scorers.detached_state import detached_state
        >>> network, batch = nn.Sequential(nn.Linear(8, 2), nn.Dropout()), (torch.ones(100, 8), torch.arange(100) % 2)
        >>> look_at_a_few(network, batch, nn.functional.cross_entropy, detached_state(network)).together
        'random numbers (dropout?) are drawn for each piece; evaluation mode draws none'
    """
    number = examples(batch[0])
    if number < _PROBE or any(len(tensor) != number for tensor in (*tensors(batch[0]).values(), batch[1])):
        return None
    chosen = torch.arange(_PROBE, device=batch[1].device) * number // _PROBE
    few, targets = each(rows(batch[0], chosen), torch.clone), batch[1][chosen]
    own = inside(network)
    try:
        watch = _ByBatch()
        with own_generators(network):
            begun = _random_state(network)
            with watch:
                kept, among = kept_bytes(network, few, state)
            draws = any(not one.equal(other) for one, other in zip(begun, _random_state(network), strict=True))
        with torch.no_grad(), own_generators(network):
            alone = forward(own, rows(few, slice(-2, None)), tuple(copied(state)))
        note_reads(_PROBE + 2)
        is_mean, is_sum = _is_mean(loss, among, targets, batch[1]), _is_sum(loss, among, targets)
    except ValueError:  # said, if it is no matter of a few, where the whole batch is computed
        return None
    together = ""
    one_each = len(among) == _PROBE and len(alone) == 2
    if not one_each:
        together = f"{type(own).__name__} does not return one output an example"
    elif watch.found:
        together = "batch normalisation by the statistics of each piece (statistics=running has one for all)"
    elif draws:
        together = "random numbers (dropout?) are drawn for each piece; evaluation mode draws none"
    elif not bool((among[-2:] - alone).abs().max() <= _ROUNDING * among.abs().max()):  # NaN equals nothing
        together = "the outputs for an example depend on the others, or on what was computed before"
    return Look(kept / _PROBE, one_each, together, is_mean, is_sum)


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


class _ByBatch(TorchFunctionMode):
    """Finds batch normalisation by the batch's own statistics, by whatever module or function."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "batch_norm":
            training = kwargs.get("training", args[5] if len(args) > 5 else False)
            self.found |= bool(training)
        return func(*args, **kwargs)


def _random_state(network: nn.Module) -> list[Tensor]:
    """The states of the generators that a network's layers draw from."""
    devices = {p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in sorted(devices))]


def _is_mean(loss: Loss, outputs: Tensor, targets: Tensor, every: Tensor) -> bool:
    """Whether a loss is one of torch's own means over examples of equal weight; `every` are all targets."""
    loss = loss.of if isinstance(loss, Tempered) else loss
    if loss is F.cross_entropy:
        return every.is_floating_point() or not bool((every == _IGNORED).any())
    return loss in (F.mse_loss, F.l1_loss, F.binary_cross_entropy_with_logits) and outputs.shape == targets.shape


def _is_sum(loss: Loss, outputs: Tensor, targets: Tensor) -> bool:
    """Whether the loss's slope at the first two examples is the same wherever the outputs of the last two lie."""
    loss = loss.of if isinstance(loss, Tempered) else loss
    if len(outputs) != len(targets):
        return False

    def slope(moved: float) -> Tensor:
        there = outputs.clone()
        there[2:] += moved * (1.0 + there[2:].abs())
        there.requires_grad_()
        (found,) = torch.autograd.grad(loss_of(loss, there, targets), there, materialize_grads=True)
        return found[:2]

    with torch.enable_grad():
        one, other = slope(0.0), slope(0.5)
    return bool((one - other).abs().max() <= _ROUNDING * one.abs().max() or torch.equal(one, other))


def kept_bytes(network: nn.Module, inputs: Inputs, state: DetachedState) -> tuple[int, Tensor]:
    """Bytes that a backward pass keeps of a forward pass, beside the network's own tensors; and the outputs.

    Examples:
        >>> from scratchcard.scorers.detached_state import detached_state
        >>> network = nn.Linear(8, 2)
        >>> kept_bytes(network, torch.ones(4, 8), detached_state(network))[0]
        128
    """
    with counted_kept(held(state)) as kept:
        outputs = forward(inside(network), inputs, tuple(copied(state)))
    return kept.bytes, outputs.detach()
