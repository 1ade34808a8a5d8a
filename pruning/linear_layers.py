"""What layers do to signals: linear, convolution, bilinear, tables, attention, recurrence; see `linear_operations`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.signal_arithmetic import SHUT, Cut, plus, product
from scratchcard.pruning.signals import Rule, Signal, UnknownOperation, is_signal


def applied(apply: Callable[..., Tensor], inputs: Any, weight: Any) -> Signal:
    """A layer's product of its inputs with its weight; paths begin at a weight that is fed with a constant."""
    if is_signal(inputs):
        return product(apply, inputs.begun(), weight).begun()
    if not bool((inputs != 0).any()):
        # Nothing comes of nothing, such as the first state of a recurrent layer: no path, so none that avoids a layer.
        return Signal(apply(torch.zeros_like(inputs, dtype=torch.float64), weight.now), weight.run)
    return product(apply, inputs, weight).begun()


def linear_layer(function: Any, inputs: Any, weight: Any, bias: Any = None) -> Signal:
    """`F.linear`."""
    found = applied(F.linear, inputs, weight)
    return plus(found, bias) if is_signal(bias) else found


def convolution(function: Any, inputs: Any, weight: Any, bias: Any = None, *rest: Any, **keywords: Any) -> Signal:
    """Convolutions, also transposed ones."""
    found = applied(lambda x, w: function(x, w, None, *rest, **keywords), inputs, weight)
    return plus(found, bias.reshape(-1, *[1] * (found.value.ndim - 2))) if is_signal(bias) else found


def bilinear(function: Any, left: Any, right: Any, weight: Any, bias: Any = None) -> Signal:
    """`F.bilinear`: paths through the weight from either input."""
    return product(lambda a, b, w: F.bilinear(a, b, w), left, right, weight).begun()


def embedding(function: Any, tokens: Any, weight: Any, *_: Any, **__: Any) -> Signal:
    """A table is a linear layer on one-hot vectors.

    What the network's own input looks up is fed by `Run.features`: `(positions, entries)`, or `(1,)` for the same
    value everywhere. Paths begin at what it looks up otherwise, such as positions; where paths are only sought
    (`Run.cut`), at all of the table.
    """
    if is_signal(tokens) or not is_signal(weight):
        raise UnknownOperation("an embedding of activations")
    run, table = weight.run, weight.now
    shape = (*tokens.shape, table.shape[1])
    own, features = run.tokens, run.features
    if own is not None and features is not None and tokens.shape == own.shape and bool((tokens == own).all()):
        if features.numel() == 1:
            value = (features * table.sum(0)).expand(shape)
        else:
            value = (features[:, : len(table)] @ table).reshape(shape)
    elif run.cut:
        value = (table.sum(0) * run.begin).expand(shape)
    else:
        value = F.embedding(tokens, table) * run.begin
    value = Cut.apply(value) if run.cut else value
    return Signal(value, run, some=weight.some, once=weight.once)


def embedding_bag(
    function: Any,
    tokens: Any,
    weight: Any,
    offsets: Tensor | None = None,
    max_norm: Any = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """A table whose vectors are summed (or averaged, or pooled) by bags."""
    if is_signal(tokens) and not is_signal(weight):
        raise UnknownOperation("an embedding of activations")
    found: Any = embedding(function, tokens, weight)
    if is_signal(per_sample_weights):
        found = found * per_sample_weights[..., None]
    if tokens.ndim == 2:
        return found.max(1)[0] if mode == "max" else found.mean(1) if mode == "mean" else found.sum(1)
    if offsets is None or mode == "max":
        raise UnknownOperation("'embedding_bag' of bags that are given by offsets and pooled")
    ends = [*offsets.tolist(), *([] if include_last_offset else [len(tokens)])]
    bags = [found[start:end] for start, end in pairwise(ends)]
    return torch.stack([bag.mean(0) if mode == "mean" and len(bag) else bag.sum(0) for bag in bags])


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
    """`softmax(Q K^T) V`: two products, so that paths lead through queries, keys and values alike."""
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
    """`F.multi_head_attention_forward`: projections, attention by heads, projection. `(length, batch, width)`."""
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


def _lstm_step(gates: Any, state: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    """`(h, c)` from `W x`: gates and candidate by the rule of products."""
    hidden, cell = state
    enters, forgets, candidate, leaves = (gates + F.linear(hidden, weights[1])).chunk(4, -1)
    cell = forgets * cell + enters * candidate
    hidden = leaves * cell
    return (hidden if len(weights) < 3 else F.linear(hidden, weights[2])), cell


def _gru_step(gates: Any, state: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    resets, updates, candidate = gates.chunk(3, -1)
    own = F.linear(state[0], weights[1]).chunk(3, -1)
    update = updates + own[1]
    candidate = candidate + (resets + own[0]) * own[2]
    return ((1 - update) * candidate + update * state[0],)


def _rnn_step(gates: Any, state: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    return (gates + F.linear(state[0], weights[1]),)


def recurrent(step: Step, states: int) -> Rule:
    """A recurrent layer, unrolled over time; its first state is a constant, unless the network gives another."""

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
    """One step of a recurrent layer."""

    def rule(function: Any, inputs: Any, state: Any, ih: Any, hh: Any, *biases: Any) -> Any:
        found = step(F.linear(inputs, ih), tuple(state) if states > 1 else (state,), (ih, hh))
        return found if states > 1 else found[0]

    return rule


LAYERS: dict[str, Rule] = {
    "linear": linear_layer,
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), convolution
    ),
    "bilinear": bilinear,
    "embedding": embedding,
    "embedding_bag": embedding_bag,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": multi_head_attention,
    "lstm": recurrent(_lstm_step, 2),
    "gru": recurrent(_gru_step, 1),
    "rnn_tanh": recurrent(_rnn_step, 1),
    "rnn_relu": recurrent(_rnn_step, 1),
    "lstm_cell": recurrent_cell(_lstm_step, 2),
    "gru_cell": recurrent_cell(_gru_step, 1),
    "rnn_tanh_cell": recurrent_cell(_rnn_step, 1),
    "rnn_relu_cell": recurrent_cell(_rnn_step, 1),
}
"""By the operation's name."""
