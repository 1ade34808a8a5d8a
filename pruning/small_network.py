"""SmallNetwork: a copy of a network without the units that are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.pruning.chain import CONVOLUTIONS, NORMALISATIONS
from scratchcard.pruning.state import copied_module
from scratchcard.pruning.unit_choice import live_groups
from scratchcard.pruning.unit_graph import CONSTANT, Known, UnitGraph
from scratchcard.pruning.unit_layers import Layer

Index = tuple[Tensor, ...]
"""Positions along a tensor's first axes; the second may be `(rows, k)`, others for each row."""
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def places_of(graph: UnitGraph, keep: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Index]:
    """Where the small tensors' entries stand in the full ones, by name, of all that is cut.

    Args:
        graph: of the full network.
        keep: for each label whether it is kept.
        tensors: the full parameters and buffers.

    Examples:
        >>> from scratchcard.pruning.unit_trace import traced
        >>> network = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 1))
        >>> graph, _ = traced(network, torch.ones(2, 1))
        >>> keep = torch.ones(len(graph.classes())).bool()
        >>> keep[graph.cuts["0.weight"][0][1]] = False
        >>> places_of(graph, keep, dict(network.named_parameters()))["1.weight"]
        (tensor([0]), tensor([0, 2]))
    """
    found: dict[str, Index] = {}
    for name, axes in graph.cuts.items():
        index = [
            torch.arange(tensors[name].shape[axis]) if labels is None else keep[labels].nonzero().reshape(-1)
            for axis, labels in enumerate(axes)
        ]
        while index and axes[len(index) - 1] is None:
            index.pop()
        if name in graph.groups:
            entering, leaving = graph.groups[name]
            each = entering.shape[1]
            rows = keep[leaving].nonzero()[:, 0]
            if each > 1 and leaving.shape[1]:
                columns = {group: keep[entering[group]].nonzero().reshape(-1) for group in set(rows.tolist())}
                index.append(torch.stack([columns[group] for group in rows.tolist()]))
        if index:
            found[name] = tuple(index)
    return found


def take(tensor: Tensor, index: Index) -> Tensor:
    """A copy of the entries at these places.

    Examples:
        >>> take(torch.arange(6).reshape(2, 3), (torch.tensor([1]), torch.tensor([0, 2])))
        tensor([[3, 5]])
    """
    index = tuple(part.to(tensor.device) for part in index)
    if len(index) == 2 and index[1].ndim == 1:
        return tensor[index[0]][:, index[1]].clone()
    if len(index) == 2:
        return tensor[index[0][:, None], index[1]].clone()
    return tensor[index[0]].clone() if index else tensor.clone()


def put(full: Tensor, index: Index, value: Tensor) -> None:
    """Write the entries at these places, in place.

    Examples:
        >>> full = torch.zeros(2, 2)
        >>> put(full, (torch.tensor([1]), torch.tensor([0])), torch.tensor([[5.0]]))
        >>> full
        tensor([[0., 0.],
                [5., 0.]])
    """
    index, value = tuple(part.to(full.device) for part in index), value.to(full.device)
    if len(index) == 2:
        full[index[0][:, None], index[1]] = value
    elif len(index) == 1:
        full[index[0]] = value
    else:
        full.copy_(value)


def mark_folding(network: nn.Module, graph: UnitGraph) -> None:
    """Find the layers whose biases can hold what a constant sends: those that are used once and may have a bias.

    Examples:
        >>> from scratchcard.pruning.unit_trace import traced
        >>> network = nn.Linear(1, 2)
        >>> graph, _ = traced(network, torch.ones(2, 1), modes=(False,))
        >>> mark_folding(network, graph)
        >>> [step.folds for step in graph.steps if isinstance(step, Layer)]
        [True]
    """
    shared = graph.shared()
    for step in graph.steps:
        if isinstance(step, Layer) and step.weight not in shared and step.bias not in shared:
            owner, _, own = step.weight.rpartition(".")
            layer = network.get_submodule(owner)
            alone = isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and own == "weight"
            step.folds = alone and (step.bias is not None or getattr(layer, "bias", 0) is None)


def folded_biases(graph: UnitGraph, known: Known, keep: Tensor) -> dict[str, Tensor]:
    """What the constants that are removed would have sent, by the name of the layer's bias: `(out,)`, float64.

    Examples:
        >>> folded_biases(UnitGraph(), Known({}, {}), torch.zeros(0))
        {}
    """
    found: dict[str, Tensor] = {}
    for step in graph.steps:
        if isinstance(step, Layer) and step.folds and step.reads:
            flow = step.reads[0]
            gone = (flow.states.status == CONSTANT) & ~keep[flow.labels]
            sent = step.sent(flow.states.value.masked_fill(~gone, 0), known)
            if bool(sent.any()):
                found[step.bias or step.weight.removesuffix("weight") + "bias"] = sent
    return found


def rebuilt(network: nn.Module, tensors: Mapping[str, Tensor], graph: UnitGraph, keep: Tensor) -> nn.Module:
    """A copy of `network` with other parameters and buffers, by name; its layers' sizes say so.

    Examples:
        >>> rebuilt(nn.Linear(3, 2), {"weight": torch.ones(1, 3), "bias": torch.ones(1)}, UnitGraph(), torch.ones(0))
        Linear(in_features=3, out_features=1, bias=True)
    """
    memo: dict[int, Any] = {}  # deepcopy takes what its memo already holds
    known = {**dict(network.named_buffers()), **dict(network.named_parameters())}
    for name, old in known.items():
        if name in tensors:
            new = tensors[name]
            memo[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
    small = copied_module(network, memo)
    for name in tensors.keys() - known.keys():  # biases that were none
        layer: Any = small.get_submodule(name.rpartition(".")[0])
        layer.bias = nn.Parameter(tensors[name])
    groups = {}
    for name, (entering, leaving) in graph.groups.items():
        if name in tensors:
            groups[id(small.get_parameter(name))] = int(live_groups(entering, leaving, keep).sum())
    for module in small.modules():
        _resize(module, groups)
    return small


def _resize(module: Any, groups: Mapping[int, int]) -> None:
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, CONVOLUTIONS):
        module.groups = groups.get(id(weight), module.groups)
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, _TRANSPOSED):
        module.in_channels, module.out_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, (*NORMALISATIONS, *_INSTANCE)):
        sized = next((t for t in (weight, module.running_mean) if t is not None), None)
        module.num_features = module.num_features if sized is None else len(sized)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape


def same_outputs(full: list[Tensor], small: list[Tensor]) -> bool:
    """Whether two networks gave the same, up to rounding.

    Examples:
        >>> same_outputs([torch.tensor([1.0])], [torch.tensor([1.0 + 1e-7])])
        True
        >>> same_outputs([torch.tensor([1.0])], [torch.tensor([1.1])])
        False
    """
    if len(full) != len(small):
        return False
    for one, two in zip(full, small, strict=True):
        if one.shape != two.shape or one.dtype != two.dtype:
            return False
        if not one.is_floating_point():
            if not torch.equal(one, two):
                return False
            continue
        finite = torch.isfinite(one)
        if not torch.equal(finite, torch.isfinite(two)):
            return False
        size = max(1e-30, float(one[finite].abs().max())) if bool(finite.any()) else 1.0
        near = 1e4 * torch.finfo(one.dtype).eps
        if not bool(((one - two)[finite].abs() <= near * size).all()):
            return False
    return True
