"""DetachedState: what a network is called with while it is scored, so that it stays as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import Inputs, each, examples, forward
from scratchcard.pruning.inputs import placed as inputs_placed
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import inside
from scratchcard.scorers.kept_memory import counted_kept
from scratchcard.scorers.scorer import Batch, at_least_single, check_mask


class DetachedState(NamedTuple):
    """What a network is called with, so that none of its own tensors is changed.

    Attributes:
        leaves: `w * mask` by weight name, which gradients can be taken of; copies or views, never the parameters.
        others: the parameters that are not prunable (biases, normalisations), detached: they cost no gradient.
        buffers: the network's own; it is called with copies of them (`copied`).

    Examples:
        >>> network = nn.Linear(3, 2)
        >>> state = detached_state(network)
        >>> [*state.leaves], [*state.others], [*state.buffers]
        (['weight'], ['bias'], [])
    """

    leaves: dict[str, Tensor]
    others: dict[str, Tensor]
    buffers: dict[str, Tensor]


def detached_state(network: nn.Module, mask: Mask | None = None) -> DetachedState:
    """The network's state with its prunable weights as masked leaves; for `functional_call`.

    There, by `tie_weights`, shared weights stay shared. What is in half precision is there in float32.

    Raises:
        ValueError: nothing to prune, or a mask of another layout.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> mask = Mask({"weight": torch.tensor([[True, False]])})
        >>> detached_state(network, mask).leaves["weight"][0, 1].item()
        0.0
    """
    weights = check_mask(network, mask)
    leaves = {}
    for name, weight in weights.items():
        value = _usable(at_least_single(weight.detach()))
        if mask is not None:
            value = value.masked_fill(~mask.tensors[name].to(value.device), 0)
        leaves[name] = value.requires_grad_()
    prunable_ids = {id(weight) for weight in weights.values()}
    named, buffers = inside(network).named_parameters(), inside(network).named_buffers()
    others = {name: _usable(at_least_single(p.detach())) for name, p in named if id(p) not in prunable_ids}
    return DetachedState(leaves, others, {name: _usable(at_least_single(buffer)) for name, buffer in buffers})


def copied(state: DetachedState) -> DetachedState:
    """The state with copies of its buffers: each of several passes meets them as they were.

    Examples:
        >>> state = DetachedState({}, {}, {"mean": torch.zeros(2)})
        >>> _ = copied(state).buffers["mean"].fill_(1.0)
        >>> state.buffers["mean"]
        tensor([0., 0.])
    """
    return state._replace(buffers={name: buffer.clone() for name, buffer in state.buffers.items()})


def held(state: DetachedState) -> Iterator[Tensor]:
    """All tensors of a state.

    Examples:
        >>> len([*held(detached_state(nn.Linear(3, 2)))])
        2
    """
    for part in state:
        yield from part.values()


def outputs_at(network: nn.Module, inputs: Inputs, state: DetachedState, room: float = math.inf) -> Tensor:
    """The network's outputs at the leaves of a state, which gradients can be taken of.

    Args:
        network: called with the state.
        inputs: of the examples.
        state: leaves, other parameters, buffers.
        room: bytes that the graph may keep beside the state.

    Raises:
        DoesNotFit: it keeps more; the pass is left there.
        ValueError: the network raises, returns no tensor, or outputs without a gradient.

    Examples:
        >>> network = nn.Linear(3, 2)
        >>> state = detached_state(network)
        >>> outputs_at(network, torch.ones(1, 3), state).requires_grad
        True
    """
    with counted_kept(held(state), room) if room < math.inf else nullcontext():
        outputs = forward(inside(network), inputs, tuple(copied(state)))
    note_reads(examples(inputs))
    if not outputs.requires_grad:
        raise ValueError(
            f"{type(network).__name__} gives outputs without a gradient in its prunable weights, so that none can be "
            "taken: its `forward` detaches them, or uses other weights"
        )
    return outputs


def placed(batch: Batch, weight: Tensor) -> Batch:
    """The batch on the device of `weight`, floating tensors in its dtype, float32 at least (integers, tokens, stay).

    Raises:
        ValueError: it has no examples.

    Examples:
        >>> inputs, targets = placed((torch.ones(2, 3), torch.tensor([0, 1])), torch.ones(1, dtype=torch.float64))
        >>> inputs.dtype, targets.dtype
        (torch.float64, torch.int64)
    """
    if not examples(batch[0]):
        raise ValueError("the scoring batch has no examples, expected at least one")
    dtype = torch.promote_types(weight.dtype, torch.float32)
    inputs = inputs_placed(batch[0], weight.device, dtype)
    targets = batch[1].to(weight.device, dtype if batch[1].is_floating_point() else batch[1].dtype)
    return each(inputs, _usable), _usable(targets)


def _usable(tensor: Tensor) -> Tensor:
    """What is made under `torch.inference_mode()` cannot take part in a backward pass; its copy can."""
    with torch.inference_mode(False):
        return tensor.clone() if tensor.is_inference() else tensor


@contextmanager
def own_generators(network: nn.Module) -> Iterator[None]:
    """Let random layers (dropout) draw from generators that start at 0, and put the callers' back afterwards.

    So the scores do not depend on what was drawn before. Covers the CPU and the CUDA devices that `network`
    is on.

    Examples:
        >>> layer = nn.Dropout()
        >>> with own_generators(layer):
        ...     first = layer(torch.ones(5))
        >>> with own_generators(layer):
        ...     again = layer(torch.ones(5))
        >>> first.equal(again)
        True
    """
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(0)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(0)
        yield
