"""Rules of operations on several tensors: sums, products, concatenation; `unit_rules` has the table."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from scratchcard.pruning.unit_call import Call
from scratchcard.pruning.unit_graph import Flow, Step
from scratchcard.pruning.unit_steps import Concatenation, Elementwise, Join, Kind
from scratchcard.pruning.unit_trace import Rule, UnitTrace

_PLAIN = {
    **dict.fromkeys(("add", "__iadd__"), "add"),
    **dict.fromkeys(("sub", "subtract", "__isub__"), "sub"),
    **dict.fromkeys(("mul", "multiply", "__imul__"), "mul"),
    **dict.fromkeys(("div", "divide", "true_divide", "__itruediv__", "__idiv__"), "div"),
}


def arithmetic(kind: Kind) -> Rule:
    """Sums, products and other operations on two tensors, or on one and a number.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> from scratchcard.workloads.networks.residual import Block
        >>> kinds_of_steps(Block(2, 2, 1), torch.ones(2, 2, 4, 4))[-3:]
        ['Join', 'Elementwise', 'Step']
    """

    def rule(trace: UnitTrace, call: Call) -> None:
        if len(call.arguments) != 2 or not isinstance(call.result, Tensor):
            return trace.lose(call)
        pair, result = call.arguments, call.result
        flows = [trace.flow(operand) for operand in pair]
        for k, flow in enumerate(flows):
            if flow is not None and flow.axis is None:  # the network's input
                if not isinstance(pair[1 - k], Tensor):
                    return trace.bind(result, flow)
                trace.opaque(pair[k])
                flows[k] = None
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

            trace.add(Elementwise(flow, made, with_number, call.numbers()))
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
                return trace.lose(call)
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
                return trace.lose(call)
            trace.graph.freeze(first.labels)
        operands.append(None)
    made = trace.made(result, result.ndim + axis, first.labels)
    step = Join(operands, made, function, kind)
    fixed = [tensor for tensor, flow in zip(pair, flows, strict=True) if flow is None and id(tensor) not in trace.names]
    step.numbers = (*call.numbers(), *(float(tensor.to(torch.complex128).abs().sum()) for tensor in fixed))
    trace.add(step)
    return None


def prelu(trace: UnitTrace, call: Call) -> None:
    """A ReLU with slopes that are trained, one for all or one a unit: what is dead stays dead.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Linear(2, 3), nn.PReLU(3)), torch.ones(2, 2))
        ['Step', 'Layer', 'Join', 'Step']
    """
    signal, slope = call.get(0, "input"), call.get(1, "weight")
    flow = trace.flow(signal)
    if flow is None or flow.axis != 1 or id(slope) not in trace.names or slope.numel() not in (1, len(flow.labels)):
        return trace.lose(call)
    trace.cut(slope, *([flow.labels] if slope.numel() > 1 else []))
    made = trace.made(call.result, 1, flow.labels)
    trace.add(Join((flow, None), made, torch.mul, "mul"))
    return None


def concatenate(trace: UnitTrace, call: Call) -> None:
    """Behind each other, along the units or another axis.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> class Both(nn.Linear):
        ...     def forward(self, x):
        ...         return torch.cat([super().forward(x), super().forward(x)], 1)
        >>> kinds_of_steps(Both(2, 3), torch.ones(2, 2))
        ['Step', 'Layer', 'Step', 'Layer', 'Concatenation', 'Step']
    """
    parts, dim = call.arguments[0], call.get(1, "dim", call.keywords.get("axis", 0))
    found = [trace.flow(part) for part in parts]
    axis = next((flow.axis for flow in found if flow is not None and flow.axis is not None), None)
    odd = any(flow is not None and flow.axis != axis for flow in found)
    if axis is None or odd or not isinstance(dim, int) or any(id(part) in trace.names for part in parts):
        return trace.lose(call)
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
