"""Rules of operations on one tensor: activations, moves, padding, pooling, reductions; `unit_rules` has the table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.unit_call import Call
from scratchcard.pruning.unit_graph import Flow
from scratchcard.pruning.unit_steps import Elementwise, Move, Spatial
from scratchcard.pruning.unit_trace import Rule, UnitTrace

_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")
PASSING = frozenset({*_DROPOUTS, "contiguous", "clone", "detach", ".data", "float", "double", "half", "bfloat16"})
"""Operations that leave a unit what it is, dead or constant."""


def elementwise(trace: UnitTrace, call: Call) -> None:
    """Activations and dropout.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), torch.ones(2, 2))
        ['Step', 'Layer', 'Elementwise', 'Step']
    """
    signal: Any = call.get(0, "input")
    flow, result = trace.flow(signal), call.result
    others = [tensor for tensor in call.tensors() if tensor is not signal]
    if flow is None or others or not isinstance(result, Tensor) or result.shape != signal.shape:
        return trace.lose(call)
    if flow.axis is None:
        return trace.bind(result, flow)
    if result is signal and not call.in_place:
        return None  # dropout in evaluation, or contiguous already
    made = Flow(flow.shape, flow.axis, flow.labels)
    function = None if call.name in PASSING else call.again
    trace.add(Elementwise(flow, made, function, call.numbers()))
    return trace.bind(result, made)


def move(trace: UnitTrace, call: Call) -> None:
    """Views, slices, repetitions: entries in another shape or order; followed while one axis alone runs over units.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Conv1d(1, 3, 1), nn.Flatten()), torch.ones(2, 1, 4))
        ['Step', 'Layer', 'Move', 'Step']
    """
    signal: Any = call.get(0, "input")
    flow = trace.flow(signal)
    others = [tensor for tensor in call.tensors() if tensor is not signal and trace.flow(tensor) is not None]
    if flow is None or call.in_place or (others and call.name != "expand_as") or not call.arguments:
        return trace.lose(call)
    if flow.axis is None:
        result = call.result
        count = signal.shape[0] if signal.ndim else 0
        if isinstance(result, Tensor) and signal.ndim >= 2 and result.shape == (count, signal.numel() // max(count, 1)):
            return trace.bind(result, trace.entered(result, 1, flattened=True))
        return trace.lose(call)
    index = flow.spread(torch.arange(len(flow.labels))).contiguous()
    moved = call.again(index)
    pairs = list(zip(call.result, moved, strict=True)) if isinstance(moved, tuple | list) else [(call.result, moved)]
    axes = [
        None if places.shape != result.shape else _axis_of(places) if len(flow.labels) > 1 else trace.expected_axis(k)
        for k, (result, places) in enumerate(pairs)
    ]
    if any(axis is None for axis in axes):
        return trace.lose(call)
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


def _axis_of(places: Tensor) -> int | None:
    """The one axis along which the places differ."""
    if not places.numel():
        return None
    for axis in range(places.ndim):
        line = places.movedim(axis, 0).reshape(places.shape[axis], -1)
        if bool((line == line[:, :1]).all()) and len(line) > 1:
            return axis
    return None


def pad(trace: UnitTrace, call: Call) -> None:
    """Padding of other axes; along the units, new ones of a fixed number.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Conv2d(1, 3, 1), nn.ZeroPad2d(1)), torch.ones(2, 1, 4, 4))
        ['Step', 'Layer', 'Spatial', 'Step']
    """
    flow = trace.flow(call.arguments[0]) if call.arguments else None
    if flow is None or flow.axis is None:
        return trace.lose(call)
    given, mode, value = call.get(1, "pad"), call.get(2, "mode", "constant"), call.get(3, "value") or 0.0
    place = 2 * (len(flow.shape) - 1 - flow.axis)
    along = tuple(given[place : place + 2])
    if not any(along):
        return _spatial(trace, call, flow, flow.axis)
    if mode != "constant" or any(size for k, size in enumerate(given) if k not in (place, place + 1)):
        return trace.lose(call)
    index = flow.spread(torch.arange(len(flow.labels))).contiguous()
    return _moved(trace, flow, call.result, F.pad(index, tuple(given), value=-1), flow.axis, float(value))


def pool(places: int) -> Rule:
    """Pooling over the last axes.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Conv1d(1, 3, 1), nn.MaxPool1d(2)), torch.ones(2, 1, 4))
        ['Step', 'Layer', 'Spatial', 'Step']
    """

    def rule(trace: UnitTrace, call: Call) -> None:
        flow = trace.flow(call.arguments[0]) if call.arguments else None
        alone = flow is not None and flow.axis is not None and flow.axis < len(flow.shape) - places
        if flow is None or not alone or not isinstance(call.result, Tensor):
            return trace.lose(call)
        return _spatial(trace, call, flow, flow.axis or 0)

    return rule


def resize(trace: UnitTrace, call: Call) -> None:
    """Interpolation of all but the first two axes.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> kinds_of_steps(nn.Sequential(nn.Conv1d(1, 3, 1), nn.Upsample(8)), torch.ones(2, 1, 4))
        ['Step', 'Layer', 'Spatial', 'Step']
    """
    flow = trace.flow(call.arguments[0]) if call.arguments else None
    if flow is None or flow.axis not in (0, 1):
        return trace.lose(call)
    return _spatial(trace, call, flow, flow.axis or 0)


def reduction(trace: UnitTrace, call: Call) -> None:
    """Means and sums over other axes.

    Examples:
        >>> from scratchcard.pruning.unit_trace import kinds_of_steps
        >>> from scratchcard.workloads.networks.transformer import Mean
        >>> kinds_of_steps(nn.Sequential(nn.Linear(1, 3), Mean()), torch.ones(2, 4, 1))
        ['Step', 'Layer', 'Spatial', 'Step']
    """
    flow = trace.flow(call.arguments[0]) if call.arguments else None
    dims = call.get(1, "dim", call.keywords.get("axis"))
    dims = (dims,) if isinstance(dims, int) else dims
    if flow is None or flow.axis is None or not dims or not all(isinstance(dim, int) for dim in dims):
        return trace.lose(call)
    gone = {dim % len(flow.shape) for dim in dims}
    of_batch = call.name == "sum" and 0 in gone  # its constants depend on how many examples there are
    if flow.axis in gone or of_batch or not isinstance(call.result, Tensor):
        return trace.lose(call)
    kept = call.result.ndim == len(flow.shape)
    return _spatial(trace, call, flow, flow.axis if kept else flow.axis - sum(dim < flow.axis for dim in gone))


def _spatial(trace: UnitTrace, call: Call, flow: Flow, axis: int) -> None:
    made = trace.made(call.result, axis, flow.labels)
    trace.add(Spatial(flow, made, call.again))
