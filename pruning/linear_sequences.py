"""What layers over sequences do to signals: attention, recurrence; see `linear_operations`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.signal_arithmetic import SHUT
from scratchcard.pruning.signals import Rule, UnknownOperation


def attention(
    function: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """`softmax(Q K^T) V`: two products, so that paths lead through queries, keys and values alike.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> x = Signal(torch.tensor([[1.0], [2.0]]), Run(OPERATIONS))
        >>> attention(F.scaled_dot_product_attention, x, x, x, is_causal=True).value
        tensor([[ 3.],
                [10.]])
    """
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    mixed = torch.matmul(query, key.transpose(-2, -1))
    if is_causal:
        held = torch.ones(mixed.shape[-2:], dtype=torch.bool, device=mixed.device).tril()
        mixed = mixed.masked_fill(~held, float("-inf"))
    if isinstance(attn_mask, Tensor):
        bools = attn_mask.dtype is torch.bool
        mixed = mixed.masked_fill(~attn_mask, float("-inf")) if bools else mixed + attn_mask
    return torch.matmul(torch.softmax(mixed, -1), value)


def multi_head_attention(
    function: Any,
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """`F.multi_head_attention_forward`: projections, attention by heads, projection. `(length, batch, width)`.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> layer = nn.MultiheadAttention(2, 1).requires_grad_(False)
        >>> x = Signal(torch.ones(3, 1, 2), Run(OPERATIONS))
        >>> out, shares = layer(x, x, x)
        >>> out.shape, shares.shape
        (torch.Size([3, 1, 2]), torch.Size([1, 3, 3]))
    """
    if static_k is not None or static_v is not None:
        raise UnknownOperation("attention with static keys or values")
    batched = query.dim() == 3
    query, key, value = (part if batched else part.unsqueeze(1) for part in (query, key, value))
    length, batch, _ = query.shape
    packed = (q_proj_weight, k_proj_weight, v_proj_weight)
    projections = packed if use_separate_proj_weight else in_proj_weight.chunk(3)
    parts = [F.linear(x, w) for x, w in zip((query, key, value), projections, strict=True)]
    # A learned key or value, and one of zeros, is a place more and no path.
    places = int(bias_k is not None) + int(add_zero_attn)
    parts[1:] = [F.pad(part, (0, 0, 0, 0, 0, places)) if places else part for part in parts[1:]]
    query, key, value = (part.reshape(len(part), batch * num_heads, -1).transpose(0, 1) for part in parts)
    mixed = torch.bmm(query, key.transpose(1, 2))
    shut = torch.zeros(1, 1, key.shape[1], dtype=torch.bool, device=mixed.device)
    if attn_mask is not None:
        mask = F.pad(_shut(attn_mask), (0, places))
        shut = shut | (mask if mask.ndim == 3 else mask[None])
    if key_padding_mask is not None:
        padding = F.pad(_shut(key_padding_mask if batched else key_padding_mask[None]), (0, places))
        shut = shut | padding[:, None].expand(-1, num_heads, -1).reshape(batch * num_heads, 1, -1)
    if bool(shut.any()):
        mixed = mixed.masked_fill(shut, float("-inf"))
    out = torch.bmm(torch.softmax(mixed, -1), value).transpose(0, 1).reshape(length, batch, -1)
    out = F.linear(out, out_proj_weight)
    weights = None
    if need_weights:
        weights = mixed.view(batch, num_heads, length, -1)
        weights = weights.mean(1) if average_attn_weights else weights
        weights = weights if batched else weights.squeeze(0)
    return (out if batched else out.squeeze(1)), weights


def _shut(mask: Tensor) -> Tensor:
    return mask if mask.dtype is torch.bool else mask <= SHUT


Step = Callable[[Any, tuple[Any, ...], Any], tuple[Any, ...]]


def lstm_step(gates: Any, state: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    """`(h, c)` from `W x`: gates and candidate by the rule of products.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> run = Run(OPERATIONS)
        >>> hidden, cell, gates = (Signal(torch.full((1, n), v), run) for n, v in ((1, 1.0), (1, 2.0), (4, 3.0)))
        >>> weights = [None, Signal(torch.zeros(4, 1), run, weight=True)]
        >>> [float(state.value) for state in lstm_step(gates, (hidden, cell), weights)]  # c' = 5 + 6, h' = 3 + c'
        [14.0, 11.0]
    """
    hidden, cell = state
    enters, forgets, candidate, leaves = (gates + F.linear(hidden, weights[1])).chunk(4, -1)
    cell = forgets * cell + enters * candidate
    hidden = leaves * cell
    return (hidden if len(weights) < 3 else F.linear(hidden, weights[2])), cell


def gru_step(gates: Any, state: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    """`(h,)` from `W x`: gates and candidate by the rule of products.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> run = Run(OPERATIONS)
        >>> hidden, gates = Signal(torch.ones(1, 1), run), Signal(torch.full((1, 3), 3.0), run)
        >>> (after,) = gru_step(gates, (hidden,), [None, Signal(torch.zeros(3, 1), run, weight=True)])
        >>> float(after.value)
        13.0
    """
    resets, updates, candidate = gates.chunk(3, -1)
    own = F.linear(state[0], weights[1]).chunk(3, -1)
    update = updates + own[1]
    candidate = candidate + (resets + own[0]) * own[2]
    return ((1 - update) * candidate + update * state[0],)


def rnn_step(gates: Any, state: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    """`(h,)` from `W x`.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> run = Run(OPERATIONS)
        >>> hidden, given = Signal(torch.ones(1, 1), run), Signal(torch.full((1, 1), 3.0), run)
        >>> (after,) = rnn_step(given, (hidden,), [None, Signal(torch.full((1, 1), 2.0), run, weight=True)])
        >>> float(after.value)
        5.0
    """
    return (gates + F.linear(state[0], weights[1]),)


def recurrent(step: Step, states: int) -> Rule:
    """A recurrent layer, unrolled over time; its first state is a constant, unless the network gives another.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> layer = nn.RNN(1, 1, bias=False).requires_grad_(False)
        >>> layer(Signal(torch.ones(3, 1), Run(OPERATIONS)))[0].shape
        torch.Size([3, 1])
    """

    def rule(
        function: Any,
        inputs: Any,
        state: Any,
        weights: Sequence[Any],
        bias: Any,
        layers: int,
        dropout: float,
        training: bool,
        bidirectional: bool,
        batch_first: bool | None = None,
    ) -> tuple[Any, ...]:
        if batch_first is None:
            raise UnknownOperation("a recurrent layer on packed sequences")
        directions = 2 if bidirectional else 1
        each = len(weights) // (layers * directions)
        outputs = inputs.transpose(0, 1) if batch_first else inputs
        first = state if states > 1 else (state,)
        last: list[tuple[Any, ...]] = []
        for layer in range(layers):
            ways = []
            for way in range(directions):
                number = layer * directions + way
                own = [w for w in weights[number * each : (number + 1) * each] if w is not None and w.ndim > 1]
                now = tuple(part[number] for part in first)
                gates = F.linear(outputs, own[0])
                found: list[Any] = [None] * len(gates)
                for time in reversed(range(len(gates))) if way else range(len(gates)):
                    now = step(gates[time], now, own)
                    found[time] = now[0]
                ways.append(torch.stack(found))
                last.append(now)
            outputs = ways[0] if directions == 1 else torch.cat(ways, -1)
        outputs = outputs.transpose(0, 1) if batch_first else outputs
        return outputs, *(torch.stack(parts) for parts in zip(*last, strict=True))

    return rule


def recurrent_cell(step: Step, states: int) -> Rule:
    """One step of a recurrent layer.

    Examples:
        >>> from scratchcard.pruning.linear_operations import OPERATIONS
        >>> from scratchcard.pruning.signals import Run, Signal
        >>> cell = nn.GRUCell(1, 2).requires_grad_(False)
        >>> cell(Signal(torch.ones(3, 1), Run(OPERATIONS))).shape
        torch.Size([3, 2])
    """

    def rule(function: Any, inputs: Any, state: Any, ih: Any, hh: Any, *biases: Any) -> Any:
        found = step(F.linear(inputs, ih), tuple(state) if states > 1 else (state,), (ih, hh))
        return found if states > 1 else found[0]

    return rule
