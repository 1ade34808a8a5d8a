"""Which steps each operation of a network is for its units.

Operations are known by their names, which `torch.relu`, `Tensor.relu`, `F.relu` and `nn.ReLU` share. What is not in
the table keeps all units that it reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.linear_operations import OPERATIONS
from scratchcard.pruning.linear_rules import asked as no_reading
from scratchcard.pruning.unit_graph import Flow
from scratchcard.pruning.unit_steps import (
    Concatenation,
    Elementwise,
    Join,
    Kind,
    Layer,
    Move,
    Normalisation,
    Spatial,
    Step,
    Table,
)
from scratchcard.pruning.unit_trace import Call, Rule, UnitTrace, asked

PASSING = "dropout dropout1d dropout2d dropout3d feature_dropout contiguous clone detach .data requires_grad float double half bfloat16"
ACTIVATIONS = (
    "relu relu6 gelu silu mish sigmoid special_expit tanh hardtanh hardswish hardsigmoid leaky_relu elu celu selu "
    "softplus softsign logsigmoid log_sigmoid tanhshrink hardshrink softshrink threshold exp sqrt square abs neg "
    "__neg__ clamp clamp_min clamp_max clip pow __pow__ sin cos erf"
)
MOVES = (
    "reshape view flatten unflatten permute transpose swapaxes movedim moveaxis t .T .mT squeeze unsqueeze expand "
    "expand_as narrow select chunk split split_with_sizes tensor_split unbind roll flip repeat repeat_interleave "
    "index_select __getitem__"
)
POOLS = "max_pool avg_pool adaptive_max_pool adaptive_avg_pool"
REDUCTIONS = "mean sum amax amin"
_KINDS: dict[str, Kind] = {"add": "add", "sub": "sub", "mul": "mul"}


def elementwise(trace: UnitTrace, call: Call) -> None:
    """Activations and dropout."""
    signal = call.arguments[0] if call.arguments else call.keywords.get("input")
    flow, result = trace.flow(signal), call.result
    others = [tensor for tensor in call.tensors() if tensor is not signal]
    if flow is None or others or not isinstance(result, Tensor) or result.shape != signal.shape:
        return opaque(trace, call)
    if flow.axis is None:
        return trace.bind(result, flow)
    if result is signal and not call.in_place:
        return None  # dropout in evaluation, or contiguous already
    made = Flow(flow.shape, flow.axis, flow.labels)
    function = None if call.name in PASSING.split() else call.again
    trace.add(Elementwise(flow, made, function))
    return trace.bind(result, made)


def opaque(trace: UnitTrace, call: Call) -> None:
    """What is not followed."""
    trace.opaque(*[tensor for tensor in call.tensors() if trace.flow(tensor) is not None])
    if call.in_place and call.arguments:
        trace.forget(call.arguments[0])
    for result in call.result if isinstance(call.result, tuple | list) else (call.result,):
        trace.forget(result)


def move(trace: UnitTrace, call: Call) -> None:
    """Views, slices, repetitions: entries in another shape or order; followed while one axis alone runs over units."""
    signal = call.arguments[0] if call.arguments else call.keywords.get("input")
    flow = trace.flow(signal)
    others = [tensor for tensor in call.tensors() if tensor is not signal and trace.flow(tensor) is not None]
    if flow is None or call.in_place or (others and call.name != "expand_as") or not call.arguments:
        return opaque(trace, call)
    if flow.axis is None:
        result = call.result
        count = signal.shape[0] if signal.ndim else 0
        if isinstance(result, Tensor) and signal.ndim >= 2 and result.shape == (count, signal.numel() // max(count, 1)):
            return trace.bind(result, trace.entered(result, 1, flattened=True))
        return opaque(trace, call)
    index = flow.spread(torch.arange(len(flow.labels))).contiguous()
    moved = call.again(index)
    pairs = list(zip(call.result, moved, strict=True)) if isinstance(moved, tuple | list) else [(call.result, moved)]
    axes = [_axis_of(places, flow) if places.shape == result.shape else None for result, places in pairs]
    if any(axis is None for axis in axes):
        return opaque(trace, call)
    for (result, places), axis in zip(pairs, axes, strict=True):
        _moved(trace, flow, result, places, axis or 0)
    return None


def _moved(trace: UnitTrace, flow: Flow, result: Tensor, places: Tensor, axis: int, filling: float = 0.0) -> None:
    line = places.movedim(axis, 0).reshape(places.shape[axis], -1)[:, 0]
    labels = flow.labels[line].clone()
    if bool((line < 0).any()):
        labels[line < 0] = trace.graph.fresh(int((line < 0).sum()))
        trace.graph.freeze(labels[line < 0])
    made = trace.made(result, axis, labels)
    trace.add(Move(flow, made, line, filling))


def _axis_of(places: Tensor, flow: Flow) -> int | None:
    """The one axis along which the places differ."""
    if len(flow.labels) < 2 or not places.numel():
        return None
    for axis in range(places.ndim):
        line = places.movedim(axis, 0).reshape(places.shape[axis], -1)
        if bool((line == line[:, :1]).all()) and len(line) > 1:
            return axis
    return None


def pad(trace: UnitTrace, call: Call) -> None:
    """Padding of other axes; along the units, new ones of a fixed number."""
    flow = trace.flow(call.arguments[0]) if call.arguments else None
    if flow is None or flow.axis is None:
        return opaque(trace, call)
    given, mode, value = call.get(1, "pad"), call.get(2, "mode", "constant"), call.get(3, "value") or 0.0
    place = 2 * (len(flow.shape) - 1 - flow.axis)
    along = tuple(given[place : place + 2])
    if not any(along):
        return _spatial(trace, call, flow, flow.axis)
    if mode != "constant" or any(size for k, size in enumerate(given) if k not in (place, place + 1)):
        return opaque(trace, call)
    index = flow.spread(torch.arange(len(flow.labels))).contiguous()
    return _moved(trace, flow, call.result, F.pad(index, tuple(given), value=-1), flow.axis, float(value))


def pool(places: int) -> Rule:
    """Pooling over the last axes."""

    def rule(trace: UnitTrace, call: Call) -> None:
        flow = trace.flow(call.arguments[0]) if call.arguments else None
        alone = flow is not None and flow.axis is not None and flow.axis < len(flow.shape) - places
        if flow is None or not alone or not isinstance(call.result, Tensor):
            return opaque(trace, call)
        return _spatial(trace, call, flow, flow.axis or 0)

    return rule


def resize(trace: UnitTrace, call: Call) -> None:
    """Interpolation of all but the first two axes."""
    flow = trace.flow(call.arguments[0]) if call.arguments else None
    if flow is None or flow.axis not in (0, 1):
        return opaque(trace, call)
    return _spatial(trace, call, flow, flow.axis or 0)


def reduction(trace: UnitTrace, call: Call) -> None:
    """Means and sums over other axes."""
    flow = trace.flow(call.arguments[0]) if call.arguments else None
    dims = call.get(1, "dim", call.keywords.get("axis"))
    dims = (dims,) if isinstance(dims, int) else dims
    if flow is None or flow.axis is None or not dims or not all(isinstance(dim, int) for dim in dims):
        return opaque(trace, call)
    gone = {dim % len(flow.shape) for dim in dims}
    if flow.axis in gone or not isinstance(call.result, Tensor):
        return opaque(trace, call)
    kept = call.result.ndim == len(flow.shape)
    return _spatial(trace, call, flow, flow.axis if kept else flow.axis - sum(dim < flow.axis for dim in gone))


def _spatial(trace: UnitTrace, call: Call, flow: Flow, axis: int) -> None:
    made = trace.made(call.result, axis, flow.labels)
    trace.add(Spatial(flow, made, call.again))


def arithmetic(kind: Kind) -> Rule:
    """Sums, products and other operations on two tensors, or on one and a number."""

    def rule(trace: UnitTrace, call: Call) -> None:
        if len(call.arguments) != 2 or not isinstance(call.result, Tensor):
            return opaque(trace, call)
        pair, result = call.arguments, call.result
        flows = [trace.flow(operand) for operand in pair]
        if any(flow is not None and flow.axis is None for flow in flows):
            alone = [operand for operand in pair if not isinstance(operand, Tensor)]
            first = flows[0] or flows[1]
            if alone and first is not None:
                return trace.bind(result, first)
            return opaque(trace, call)
        numbers = [k for k, operand in enumerate(pair) if not isinstance(operand, Tensor)]
        chosen = next((k for k in (0, 1) if flows[k] is not None), None)
        if chosen is None:
            return None
        plain = call.function if not call.in_place else getattr(torch, _PLAIN[call.name])
        function = functools.partial(plain, **call.keywords)
        if numbers:
            flow = flows[chosen]
            if flow is None:
                return None
            other = pair[1 - chosen]
            made = Flow(flow.shape, flow.axis, flow.labels)

            def with_number(value: Tensor) -> Tensor:
                found: Tensor = function(value, other) if chosen == 0 else function(other, value)
                return found

            trace.add(Elementwise(flow, made, with_number))
            return trace.bind(result, made)
        return _joined(trace, call, flows, function, kind if not call.keywords else "other")

    return rule


def _joined(
    trace: UnitTrace, call: Call, flows: list[Flow | None], function: Callable[[Tensor, Tensor], Tensor], kind: Kind
) -> None:
    pair, result = call.arguments, call.result
    # The axis of units, from the right; of the flow with most units.
    first = max((flow for flow in flows if flow is not None), key=lambda flow: len(flow.labels))
    axis = (first.axis or 0) - len(first.shape)
    operands: list[Flow | None] = []
    for tensor, flow in zip(pair, flows, strict=True):
        size = tensor.shape[axis] if tensor.ndim >= -axis else 1
        if flow is not None and (flow.axis or 0) - len(flow.shape) == axis:
            if len(flow.labels) not in (1, len(first.labels)):
                return opaque(trace, call)
            operands.append(flow)
            if flow is not first and len(flow.labels) == len(first.labels):
                trace.graph.join(flow.labels, first.labels)
            continue
        if flow is not None:
            trace.opaque(tensor)
            if size > 1:
                trace.graph.freeze(first.labels)
        elif id(tensor) in trace.names and size == len(first.labels) > 1 and 0 <= tensor.ndim + axis <= 1:
            trace.cut(tensor, *[None] * (tensor.ndim + axis), first.labels)
        elif size > 1:
            if size != len(first.labels):
                return opaque(trace, call)
            trace.graph.freeze(first.labels)
        operands.append(None)
    made = trace.made(result, result.ndim + axis, first.labels)
    trace.add(Join(operands, made, function, kind))
    return None


def concatenate(trace: UnitTrace, call: Call) -> None:
    """Behind each other, along the units or another axis."""
    parts, dim = call.arguments[0], call.get(1, "dim", call.keywords.get("axis", 0))
    found = [trace.flow(part) for part in parts]
    axis = next((flow.axis for flow in found if flow is not None and flow.axis is not None), None)
    odd = any(flow is not None and flow.axis != axis for flow in found)
    if axis is None or odd or not isinstance(dim, int) or any(id(part) in trace.names for part in parts):
        return opaque(trace, call)
    along = dim % call.result.ndim == axis
    flows: list[Flow] = []
    for part, flow in zip(parts, found, strict=True):
        if flow is None:
            flow = Flow(tuple(part.shape), axis, trace.graph.fresh(part.shape[axis]))
            trace.graph.freeze(flow.labels)
            trace.add(Step((), flow))
        flows.append(flow)
    if not along:
        for flow in flows[1:]:
            trace.graph.join(flows[0].labels, flow.labels)
    labels = torch.cat([flow.labels for flow in flows]) if along else flows[0].labels
    made = trace.made(call.result, axis, labels)
    trace.add(Concatenation(flows, made, along=along))
    return None


def linear(trace: UnitTrace, call: Call) -> None:
    """A linear layer over the last axis."""
    inputs, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
    _layer(trace, call, inputs, weight, bias, -1)


def convolution(places: int, *, transposed: bool = False) -> Rule:
    """A convolution, grouped or not."""

    def rule(trace: UnitTrace, call: Call) -> None:
        inputs, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
        padding = call.get(4, "padding", 0)
        sizes = padding if isinstance(padding, tuple | list) else (padding,)
        padded = any(sizes) and padding != "valid"
        groups = call.get(6, "groups", 1)
        if transposed:  # its padding cuts off, and its strides leave gaps
            padded, groups = True, call.get(6, "groups", 1)
        _layer(
            trace, call, inputs, weight, bias, -places - 1, groups=groups, padded=padded, transposed=transposed
        )

    return rule


def _layer(
    trace: UnitTrace,
    call: Call,
    inputs: Any,
    weight: Any,
    bias: Any,
    axis: int,
    *,
    groups: int = 1,
    padded: bool = False,
    transposed: bool = False,
) -> None:
    flow = trace.flow(inputs)
    known = id(weight) in trace.names and (bias is None or id(bias) in trace.names)
    if not known or trace.flow(weight) is not None or (transposed and groups > 1):
        return opaque(trace, call)
    if flow is not None and flow.axis is None:
        if axis == -1:
            flow = trace.entered(inputs, -1, flattened=False)
        else:
            trace.opaque(inputs)
            flow = None
    elif flow is not None and (flow.axis or 0) - len(flow.shape) != axis:
        trace.opaque(inputs)
        flow = None
    made = trace.made(call.result, axis)
    entering = None if flow is None else flow.labels
    if groups == 1:
        axes = (entering, made.labels) if transposed else (made.labels, entering)
        name = trace.cut(weight, *axes)
    else:
        name = trace.cut(weight, made.labels)
        _grouped(trace, name or "", entering, made.labels, groups)
    offset = trace.cut(bias, made.labels) if bias is not None else None
    step = Layer(flow, made, name or "", offset, groups=groups, padded=padded, transposed=transposed)
    trace.add(step)
    return None


def _grouped(trace: UnitTrace, name: str, entering: Tensor | None, leaving: Tensor, groups: int) -> None:
    if entering is None:
        return trace.graph.freeze(leaving)
    parts = entering.reshape(groups, -1), leaving.reshape(groups, -1)
    if parts[0].shape[1] == 1:  # depthwise: each channel alone
        trace.graph.join(entering.repeat_interleave(parts[1].shape[1]), leaving)
    before = trace.graph.groups.setdefault(name, parts)
    if before is not parts:
        trace.graph.join(before[0].reshape(-1), entering)
    return None


def batch_norm(trace: UnitTrace, call: Call) -> None:
    """Batch normalisation: each unit alone."""
    names = ("running_mean", "running_var", "weight", "bias")
    given = [call.get(k + 1, name) for k, name in enumerate(names)]
    inputs = call.get(0, "input")
    flow = trace.flow(inputs)
    known = all(tensor is None or id(tensor) in trace.names for tensor in given)
    if flow is not None and flow.axis is None and inputs.ndim == 2 and known:
        flow = trace.entered(inputs, 1, flattened=False)
    if flow is None or flow.axis != 1 or not known:
        return opaque(trace, call)
    cut = tuple(trace.cut(tensor, flow.labels) if tensor is not None else None for tensor in given)
    made = trace.made(call.result, 1, flow.labels)
    trace.add(Normalisation(flow, made, cut, call.get(7, "eps", 1e-5)))
    return None


def embedding(trace: UnitTrace, call: Call) -> None:
    """A table that is looked up: its columns are units."""
    weight = call.get(1, "weight")
    if id(weight) not in trace.names or trace.flow(call.get(0, "input")) is not None:
        return opaque(trace, call)
    made = trace.made(call.result, -1)
    name = trace.cut(weight, None, made.labels)
    trace.add(Table(made, name or ""))
    return None


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_PLAIN = {
    **dict.fromkeys(("add", "__iadd__"), "add"),
    **dict.fromkeys(("sub", "subtract", "__isub__"), "sub"),
    **dict.fromkeys(("mul", "multiply", "__imul__"), "mul"),
    **dict.fromkeys(("div", "divide", "true_divide", "__itruediv__", "__idiv__"), "div"),
}

RULES: dict[str, Rule] = {
    **{name: asked for name, rule in OPERATIONS.items() if rule is no_reading},
    **_table(elementwise, f"{PASSING} {ACTIVATIONS}"),
    **_table(move, MOVES),
    "pad": pad,
    **{f"{kind}{places}d": pool(places) for kind in POOLS.split() for places in (1, 2, 3)},
    "interpolate": resize,
    **_table(reduction, REDUCTIONS),
    **_table(arithmetic("add"), "add __add__ __radd__ __iadd__"),
    **_table(arithmetic("sub"), "sub subtract __sub__ __isub__"),
    **_table(arithmetic("mul"), "mul multiply __mul__ __rmul__ __imul__"),
    **_table(arithmetic("other"), "div divide true_divide __truediv__ __itruediv__ maximum minimum"),
    **_table(concatenate, "cat concat concatenate"),
    "linear": linear,
    **{f"conv{places}d": convolution(places) for places in (1, 2, 3)},
    **{f"conv_transpose{places}d": convolution(places, transposed=True) for places in (1, 2, 3)},
    "batch_norm": batch_norm,
    **_table(embedding, "embedding"),
}
"""By the operation's name, without the underscore of its in-place form."""
