"""Which units of a masked network are kept: those that outputs depend on, and those that must go along with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from scratchcard.pruning.unit_graph import Known, UnitGraph
from scratchcard.pruning.unit_layers import Layer
from scratchcard.pruning.unit_steps import Move


def kept_by_unit(graph: UnitGraph, tensors: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the name of each layer's weight, whether a unit keeps a weight from another: `(out, in / groups)`.

    A weight that the mask does not know is kept whole.

    Examples:
        >>> from scratchcard.pruning.unit_trace import traced
        >>> network = nn.Conv1d(1, 2, 3)
        >>> graph, _ = traced(network, torch.ones(2, 1, 4))
        >>> mask = {"weight": torch.tensor([[[True, False, False]], [[False, False, False]]])}
        >>> kept_by_unit(graph, {"weight": network.weight}, mask)
        {'weight': tensor([[ True],
                [False]])}
    """
    turned = {step.weight: step.transposed for step in graph.steps if isinstance(step, Layer)}
    found = {}
    for name in [*turned, *(name for name in mask if name not in turned)]:
        kept = mask[name] if name in mask else torch.ones_like(tensors[name], dtype=torch.bool)
        kept = kept.flatten(2).any(2) if kept.ndim > 2 else kept
        found[name] = (kept.transpose(0, 1) if turned.get(name) else kept).cpu()
    return found


def needed_labels(graph: UnitGraph, known: Known) -> Tensor:
    """The labels of units that an output depends on, other than by what a bias can hold.

    Sets the states of all flows, and which of their entries are needed.

    Examples:
        >>> from scratchcard.pruning.unit_trace import traced
        >>> network = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
        >>> graph, _ = traced(network, torch.ones(2, 1), modes=(False,))
        >>> kept = {"0.weight": torch.ones(3, 1).bool(), "1.weight": torch.tensor([[True, False, True]])}
        >>> hidden = graph.cuts["0.weight"][0]
        >>> torch.isin(hidden, needed_labels(graph, Known(dict(network.named_parameters()), kept)))
        tensor([ True, False,  True])
    """
    for step in graph.steps:
        if step.makes is not None:
            step.makes.states = step.states(known)
            step.makes.needed = torch.zeros(len(step.makes.labels), dtype=torch.bool)
    for step in reversed(graph.steps):
        needed = torch.zeros(0, dtype=torch.bool) if step.makes is None else step.makes.needed
        for flow, part in zip(step.reads, step.needs(needed, known), strict=True):
            flow.needed = flow.needed | part
    return torch.cat([torch.zeros(0, dtype=torch.int64), *(flow.labels[flow.needed] for flow in graph.flows())])


def chosen(graph: UnitGraph, classes: Tensor, labels: Iterable[Tensor]) -> Tensor:
    """Whether each label is kept: with its class, and at least one of each tensor.

    Of a grouped convolution all groups that are left keep as many units as the one that needs most.

    Examples:
        >>> graph = UnitGraph()
        >>> graph.groups["weight"] = graph.fresh(4).reshape(2, 2), graph.fresh(4).reshape(2, 2)
        >>> chosen(graph, graph.classes(), [torch.tensor([0, 2, 3, 4])]).int()
        tensor([1, 1, 1, 1, 1, 0, 1, 0], dtype=torch.int32)
    """
    keep = torch.zeros(len(classes), dtype=torch.bool)
    for some in labels:
        keep[classes[some]] = True
    sides = [classes[flow.labels] for flow in graph.flows() if len(flow.labels)]
    while True:
        before = int(keep.sum())
        for side in sides:
            if not bool(keep[side].any()):
                keep[side[0]] = True
        for entering, leaving in graph.groups.values():
            _even(classes[entering], classes[leaving], keep)
        if int(keep.sum()) == before:
            return keep[classes]


def live_groups(entering: Tensor, leaving: Tensor, keep: Tensor) -> Tensor:
    """Which groups have anything left, `(groups,)`.

    Examples:
        >>> live_groups(torch.tensor([[0], [1]]), torch.tensor([[2], [3]]), torch.tensor([True, False, False, False]))
        tensor([ True, False])
    """
    return keep[entering].any(1) | keep[leaving].any(1)


def _even(entering: Tensor, leaving: Tensor, keep: Tensor) -> None:
    live = live_groups(entering, leaving, keep).nonzero().reshape(-1).tolist()
    for side in (entering, leaving):
        most = max(1, int(keep[side].sum(1).max()))
        for group in live:
            for unit in side[group].tolist():
                if int(keep[side[group]].sum()) >= most:
                    break
                keep[unit] = True


def first_difference(full: UnitGraph, small: UnitGraph, keep: Tensor) -> int | None:
    """The first step at which the small network's pass is not the full one's with fewer units; None if it is.

    Examples:
        >>> first_difference(UnitGraph(), UnitGraph(), torch.zeros(0)) is None
        True
    """
    for number, (one, two) in enumerate(zip(full.steps, small.steps, strict=False)):
        if type(one) is not type(two) or (one.makes is None) != (two.makes is None):
            return number
        if one.makes is None or two.makes is None:
            continue
        left = keep[one.makes.labels]
        if one.makes.axis != two.makes.axis or int(left.sum()) != len(two.makes.labels):
            return number
        others = [[size for k, size in enumerate(f.shape) if k != f.axis] for f in (one.makes, two.makes)]
        if others[0] != others[1]:
            return number
        pairs = zip(one.numbers, two.numbers, strict=False)  # those of activations differ by rounding
        if not all(math.isclose(a, b, rel_tol=1e-5) or math.isnan(a) for a, b in pairs):
            return number
        if isinstance(one, Move) and isinstance(two, Move):
            stands = torch.cat([keep[one.reads[0].labels].cumsum(0) - 1, torch.tensor([-1])])  # -1 stays -1
            if not torch.equal(stands[one.places[left]], two.places):
                return number
    return None if len(full.steps) == len(small.steps) else min(len(full.steps), len(small.steps))
