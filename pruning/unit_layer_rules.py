"""Rules of layers: linear, convolution, batch normalisation, embedding; `unit_rules` has the table."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scratchcard.pruning.unit_call import Call
from scratchcard.pruning.unit_layers import Layer, Normalisation, Table
from scratchcard.pruning.unit_trace import Rule, UnitTrace


def linear(trace: UnitTrace, call: Call) -> None:
    """A linear layer over the last axis.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Linear(2, 3), torch.ones(2, 2))
        ['Step', 'Layer', 'Step']
    """
    inputs, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
    _layer(trace, call, inputs, weight, bias, -1)


def convolution(places: int, *, transposed: bool = False) -> Rule:
    """A convolution, grouped or not.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Conv1d(2, 4, 3, groups=2), torch.ones(2, 2, 5))
        ['Step', 'Layer', 'Step']
    """

    def rule(trace: UnitTrace, call: Call) -> None:
        inputs, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
        padding = call.get(4, "padding", 0)
        sizes = padding if isinstance(padding, tuple | list) else (padding,)
        padded = any(sizes) and padding != "valid"
        groups = call.get(6, "groups", 1)
        if transposed:  # its padding cuts off, and its strides leave gaps
            padded, groups = True, call.get(6, "groups", 1)
        _layer(trace, call, inputs, weight, bias, -places - 1, groups=groups, padded=padded, transposed=transposed)

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
        return trace.lose(call)
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
    """Batch normalisation, and instance normalisation without running statistics: each unit alone.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), torch.ones(2, 2))
        ['Step', 'Layer', 'Normalisation', 'Step']
    """
    names = ("running_mean", "running_var", "weight", "bias")
    given = [call.get(k + 1, name) for k, name in enumerate(names)]
    inputs = call.get(0, "input")
    flow = trace.flow(inputs)
    known = all(tensor is None or id(tensor) in trace.names for tensor in given)
    if flow is not None and flow.axis is None and inputs.ndim == 2 and known:
        flow = trace.entered(inputs, 1, flattened=False)
    running = call.name == "instance_norm" and given[0] is not None
    if flow is None or flow.axis != 1 or not known or running:
        return trace.lose(call)
    cut = tuple(trace.cut(tensor, flow.labels) if tensor is not None else None for tensor in given)
    made = trace.made(call.result, 1, flow.labels)
    trace.add(Normalisation(flow, made, cut, call.get(7, "eps", 1e-5)))
    return None


def embedding(trace: UnitTrace, call: Call) -> None:
    """A table that is looked up: its columns are units.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Embedding(9, 3), torch.zeros(2, 4, dtype=torch.int64))
        ['Table', 'Step']
    """
    weight = call.get(1, "weight")
    if id(weight) not in trace.names or trace.flow(call.get(0, "input")) is not None:
        return trace.lose(call)
    made = trace.made(call.result, -1)
    name = trace.cut(weight, None, made.labels)
    trace.add(Table(made, name or ""))
    return None
