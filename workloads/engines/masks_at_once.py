"""Many masks of one network, evaluated without training it: a supermask search's loss and metrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.clock import note_reads
from scratchcard.pruning.inputs import forward, rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import Statistics
from scratchcard.pruning.parameters import check_same_layout, count, prunable
from scratchcard.workloads.engines.engine import place_split, seeded
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_split
from scratchcard.workloads.module_copy import module_copy
from scratchcard.workloads.objective import Objective
from scratchcard.workloads.task import Split

EXAMPLES = 8192
"""Whose first-layer products lie in memory at once."""
SPARSE = 0.1
"""A difference of two masks that has a smaller share of the first layer's weights is multiplied as a sparse matrix."""


class MasksAtOnce:
    """Evaluates a network under masks, one after the other, at the weights that it has.

    Only prunable weights are masked. Biases, and the weights and biases of normalisations, are the network's own, and
    so are running statistics, with `statistics="running"`; with `"batch"` a layer that has them normalises by the
    examples that it is evaluated on. Dropout is off.

    A perceptron's first layer has most of its weights. There only what two masks differ in is multiplied with the
    inputs: masks that come in their order cost little more than one. Its products are then sums in another order, equal
    but for rounding; whether the network is one is tried. All others are called as they are, mask by mask.

    Args:
        network: at its initial weights; it is copied.
        split: evaluated on.
        objective: the loss and the metrics.
        statistics: see above.
        reuse: whether first-layer products may be reused.

    Attributes:
        reuses: whether they are.
        reads: so far, in forward passes of the dense network on one example; also noted (`clock.note_reads`).

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> split = Split(torch.rand(10, 4), torch.arange(10) % 2)
        >>> evaluator = MasksAtOnce(network, split, sc.Classification())
        >>> dense, = evaluator([sc.Mask.dense(network)])
        >>> dense.examples, evaluator.reuses
        (10, True)
    """

    def __init__(
        self,
        network: nn.Module,
        split: Split,
        objective: Objective,
        *,
        statistics: Statistics = "batch",
        reuse: bool = True,
    ) -> None:
        weights = prunable(network)
        device = next(iter(weights.values())).device
        self._weights = {name: weight.detach().clone() for name, weight in weights.items()}
        self._network = _still(module_copy(network), statistics)
        self._split, self._objective = place_split(split, network, device), objective
        self._total = count(self._weights)
        self._first = _First.of(self._network, self._split) if reuse else None
        self.reads = 0.0

    @property
    def reuses(self) -> bool:
        """See above."""
        return self._first is not None

    def passes(self, times: int, masks: int) -> float:
        """About how many passes of the dense network so many masks cost, in their order in so many calls, at most.

        >>> network = nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> evaluator = MasksAtOnce(network, Split(torch.rand(10, 8), torch.arange(10) % 2), sc.Classification())
        >>> evaluator.passes(2, 100)  # 24 of 30 weights twice and once more by differences, 6 a hundred times
        22.4
        """
        if self._first is None:
            return float(masks)
        rest = 1 - self._weights[self._first.name].numel() / self._total
        return (times + 1) * (1 - rest) + masks * rest

    def __call__(self, masks: Sequence[Mask]) -> list[Evaluated]:
        """Loss and metrics under each mask.

        Raises:
            ValueError: a mask of another network.
        """
        for mask in masks:
            check_same_layout(self._weights, mask.tensors, "the mask")
        before = self.reads
        with torch.inference_mode(), seeded(0, self._split.targets.device):
            found = self._plain(masks) if self._first is None else self._by_differences(self._first, masks)
        note_reads(self.reads - before)
        return found

    def _plain(self, masks: Sequence[Mask]) -> list[Evaluated]:
        found = []
        for mask in masks:
            self._put(mask, self._weights)
            split, network, objective = self._split, self._network, self._objective
            found.append(evaluate_split(lambda inputs, to=network: forward(to, inputs), split, objective)[0])  # type: ignore[misc]
            self.reads += len(split)
        return found

    def _by_differences(self, first: _First, masks: Sequence[Mask]) -> list[Evaluated]:
        rest = [name for name in self._weights if name != first.name]
        weight, masked = self._weights[first.name], count({name: self._weights[name] for name in rest})
        outputs: list[list[Tensor]] = [[] for _ in masks]
        for begin in range(0, len(self._split), EXAMPLES):
            inputs = rows(self._split.inputs, slice(begin, begin + EXAMPLES))
            columns = first.columns(inputs)
            examples = columns.shape[1]
            products, held = weight.new_zeros(weight.shape[0], examples), torch.zeros_like(weight, dtype=torch.bool)
            for place, mask in enumerate(masks):
                kept = mask.tensors[first.name].to(weight.device)
                multiplied = _advance(products, weight, columns, held, kept)
                held = kept
                self._put(mask, rest)
                outputs[place].append(first.outputs(self._network, inputs, products))
                self.reads += examples * (multiplied + masked) / self._total
        split = self._split
        return [
            evaluate_split(lambda given: given, Split(torch.cat(parts), split.targets), self._objective)[0]  # type: ignore[arg-type,return-value]
            for parts in outputs
        ]

    def _put(self, mask: Mask, names: Iterable[str]) -> None:
        """The masked weights into the copy that is evaluated."""
        for name in names:
            weight = self._weights[name]
            torch.mul(weight, mask.tensors[name].to(weight.device), out=self._network.get_parameter(name).data)


def _still(network: nn.Module, statistics: Statistics) -> nn.Module:
    """The network in evaluation mode, without gradients; layers that are to normalise by the batch do."""
    network.eval().requires_grad_(requires_grad=False)
    if statistics == "batch":
        for module in network.modules():
            if getattr(module, "running_mean", None) is not None:
                module.train()
    return network


def _advance(products: Tensor, weight: Tensor, columns: Tensor, held: Tensor, kept: Tensor) -> int:
    """Turn the products `(out, n)` of one mask into those of another, in place; how many weights were multiplied."""
    changed = held ^ kept
    number = int(changed.sum())
    if number > SPARSE * weight.numel():
        torch.mm(weight * kept, columns, out=products)
        return weight.numel()
    if number:
        signed = torch.where(kept, weight, -weight) * changed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch calls its sparse matrices a beta
            products += torch.sparse.mm(signed.to_sparse_csr(), columns)
    return number


class _Given(nn.Module):
    """Stands for a first layer whose outputs are known."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        """What was given, whatever comes."""
        return self.value


class _Calls:
    """Which layers were called in a pass, and with what.

    Attributes:
        seen: names and inputs, in order.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, Tensor | None]] = []

    def noting(self, name: str) -> Any:
        """A hook that notes the calls of one layer."""
        return lambda _, given: self.seen.append((name, given[0].detach().clone() if given else None))


class _First:
    """The first layer of a perceptron, in whose place its outputs stand.

    Attributes:
        name: of its weight.
    """

    def __init__(self, network: nn.Module, place: str, layer: nn.Linear) -> None:
        self.name = f"{place}.weight"
        self._layer, self._given = layer, _Given()
        parent, _, child = place.rpartition(".")
        self._parent, self._child = network.get_submodule(parent), child

    @classmethod
    def of(cls, network: nn.Module, split: Split) -> _First | None:
        """The layer that has the flattened inputs, if every prunable weight is a linear layer's and a trial agrees."""
        weights, inputs = prunable(network), split.inputs
        layers = {f"{place}.weight": module for place, module in network.named_modules() if type(module) is nn.Linear}
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or set(weights) - set(layers):
            return None
        few, calls = inputs[:16], _Calls()
        hooks = [module.register_forward_pre_hook(calls.noting(name)) for name, module in layers.items()]
        try:
            expected = forward(network, few)
        finally:
            for hook in hooks:
                hook.remove()
        names = [name for name, given in calls.seen if given is not None and given.equal(few.flatten(1))]
        uses = list(network.named_parameters(remove_duplicate=False))
        if len(names) != 1 or [name for name, _ in calls.seen].count(names[0]) != 1 or names[0] not in weights:
            return None
        if sum(parameter is weights[names[0]] for _, parameter in uses) != 1:
            return None
        first = cls(network, names[0].removesuffix(".weight"), layers[names[0]])
        try:
            products = torch.mm(first._layer.weight, first.columns(few))
            same = torch.allclose(first.outputs(network, few, products), expected, rtol=1e-4, atol=1e-5)
        except (RuntimeError, ValueError, AttributeError):  # it looks at its first layer
            return None
        return first if same else None

    def columns(self, inputs: Any) -> Tensor:
        """The inputs as columns `(in, n)`, in the network's dtype."""
        columns: Tensor = inputs.flatten(1).to(self._layer.weight.dtype).T.contiguous()
        return columns

    def outputs(self, network: nn.Module, inputs: Any, products: Tensor) -> Tensor:
        """The network's outputs where its first layer multiplies as given `(out, n)`."""
        bias = self._layer.bias
        self._given.value = products.T if bias is None else products.T + bias
        self._parent._modules[self._child] = self._given
        try:
            return forward(network, inputs)
        finally:
            self._parent._modules[self._child] = self._layer
