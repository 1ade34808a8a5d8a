"""UnitTrace: one pass through a network, on a copy, from which the graph of its units is read.

The network's `forward` is called with tensors, and every operation on them is looked up by name (`unit_rules`). What
has no rule keeps the units that it reads whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from scratchcard.pruning.inputs import Inputs, tensors
from scratchcard.pruning.state import copied_module
from scratchcard.pruning.unit_call import Call, tensors_among
from scratchcard.pruning.unit_graph import Flow, Step, UnitGraph

Rule = Callable[..., None]
"""`(trace, call)`, of an operation that was called with at least one flow, or with parameters alone."""


class UnitTrace(TorchFunctionMode):
    """Reads the graph while it is active.

    Attributes:
        graph: what is read.
        names: of parameters and buffers by their identity.
        like: see `traced`.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> graph, outputs = traced(network, torch.ones(2, 2), modes=(False,))
        >>> [type(step).__name__ for step in graph.steps]
        ['Step', 'Layer', 'Elementwise', 'Layer', 'Step']
        >>> outputs[0].shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        graph: UnitGraph,
        rules: Mapping[str, Rule],
        names: Mapping[int, str],
        like: UnitGraph | None = None,
    ) -> None:
        super().__init__()
        self.graph, self.rules, self.names, self.like = graph, rules, names, like
        self._flows: dict[int, tuple[Tensor, Flow]] = {}
        self._memory: dict[int, set[int]] = {}
        self._entries = 0
        self._claimed: set[int] = set()
        self._inside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._inside:
            self._inside = True
            try:
                self._follow(Call(func, args, kwargs, result))
            finally:
                self._inside = False
        return result

    def _follow(self, call: Call) -> None:
        rule = self.rules.get(call.name)
        if rule is asked:
            return
        given = [*call.tensors()]
        read = [tensor for tensor in given if id(tensor) in self._flows]
        mine = [tensor for tensor in given if id(tensor) in self.names]
        if not read and not mine:
            return
        self._claimed = set()
        if call.in_place:
            self._part(call.arguments[0] if call.arguments else None, call.keywords.get("out"))
        if rule is None or "out" in call.keywords:
            self.lose(call)
        else:
            rule(self, call)
        for tensor in mine:
            if id(tensor) not in self._claimed:
                self.graph.spoil(self.names[id(tensor)])

    def _part(self, *changed: Any) -> None:
        """Other tensors that share the memory of one that is changed are followed no more."""
        for tensor in changed:
            if not isinstance(tensor, Tensor):
                continue
            for other in self._memory.get(tensor.untyped_storage().data_ptr(), set()) - {id(tensor)}:
                if other in self._flows:
                    self.opaque(self._flows[other][0])
            if id(tensor) in self.names:
                self.graph.spoil(self.names[id(tensor)])

    def flow(self, tensor: Any) -> Flow | None:
        """The flow of a tensor, if it is followed."""
        found = self._flows.get(id(tensor)) if isinstance(tensor, Tensor) else None
        return None if found is None else found[1]

    def bind(self, tensor: Tensor, flow: Flow) -> None:
        """The tensor is this flow from here on."""
        self._flows[id(tensor)] = (tensor, flow)
        self._memory.setdefault(tensor.untyped_storage().data_ptr(), set()).add(id(tensor))

    def made(self, tensor: Tensor, axis: int, labels: Tensor | None = None) -> Flow:
        """The flow of a result, with labels of its own if none are given."""
        size = tensor.shape[axis]
        found = Flow(tuple(tensor.shape), axis % tensor.ndim, self.graph.fresh(size) if labels is None else labels)
        self.bind(tensor, found)
        return found

    def add(self, step: Step) -> None:
        """One more step."""
        self.graph.steps.append(step)

    def begin(self, tensor: Tensor) -> None:
        """The network's input: of which axis it has features is known when it is read."""
        self.bind(tensor, Flow(tuple(tensor.shape), None, torch.zeros(0, dtype=torch.int64)))

    def entered(self, tensor: Tensor, axis: int, *, flattened: bool) -> Flow:
        """The input's features, one by one, along an axis of what was made of it."""
        labels = self.graph.fresh(tensor.shape[axis])
        self._entries += 1
        if self.graph.inputs is None:
            self.graph.inputs = (labels, flattened)
        before, kind = self.graph.inputs
        if len(before) == len(labels):
            self.graph.join(before, labels)
        if self._entries > 1 or kind != flattened or len(before) != len(labels):
            self.graph.freeze(before)
            self.graph.freeze(labels)
        found = Flow(tuple(tensor.shape), axis % tensor.ndim, labels)
        self.add(Step((), found))
        return found

    def expected_axis(self, ahead: int) -> int | None:
        """The axis of units in what the next step but `ahead` makes, by the graph that this one is to be like."""
        place = len(self.graph.steps) + ahead
        if self.like is None or place >= len(self.like.steps):
            return None
        makes = self.like.steps[place].makes
        return None if makes is None else makes.axis

    def cut(self, tensor: Any, *axes: Tensor | None) -> str | None:
        """The name of a parameter or buffer, whose first axes run over units from now on; None of any other."""
        name = self.names.get(id(tensor)) if isinstance(tensor, Tensor) else None
        if name is not None:
            self._claimed.add(id(tensor))
            self.graph.cut(name, *axes)
        elif isinstance(tensor, Tensor):
            for labels in axes:
                self.graph.freeze(labels)
        return name

    def opaque(self, *read: Tensor) -> None:
        """What happens to these tensors is not followed: their units stay, and so does all that they depend on."""
        flows = [flow for flow in map(self.flow, read) if flow is not None]
        for flow in flows:
            self.graph.freeze(flow.labels)
            if flow.axis is None:
                self._entries += 1
                self.graph.freeze(self.graph.inputs[0] if self.graph.inputs else None)
        self.add(Step([flow for flow in flows if flow.axis is not None], None))

    def lose(self, call: Call) -> None:
        """What an operation makes, or changes, is not followed, and what it reads stays whole."""
        self.opaque(*call.tensors())
        changed = call.arguments[:1] if call.in_place else ()
        for tensor in tensors_among((*changed, call.keywords.get("out"), call.result)):
            self._flows.pop(id(tensor), None)


def asked(trace: UnitTrace, call: Call) -> None:
    """Shape, dtype and the like: nothing is read.

    Examples:
        >>> asked(UnitTrace(UnitGraph(), {}, {}), Call(torch.Tensor.dim, (torch.ones(2),), {}, 1))
    """


def traced(
    network: nn.Module,
    inputs: Inputs,
    *,
    replaced: Mapping[int, Any] | None = None,
    modes: Sequence[bool] = (False, True),
    graph: UnitGraph | None = None,
    like: UnitGraph | None = None,
) -> tuple[UnitGraph, list[Tensor]]:
    """The graph of a network's units, and its outputs in the last pass in evaluation mode.

    Args:
        network: left untouched.
        inputs: a few examples.
        replaced: other tensors in place of its parameters, by their identity.
        modes: whether each pass is in training mode.
        graph: to be filled, for those who want what was read of a pass that fails.
        like: the graph of the same network with more units: a single unit's axis is not to be told from others.

    Examples:
        >>> traced(nn.Linear(2, 3), torch.ones(2, 2))[0].cuts["weight"]
        [tensor([2, 3, 4]), tensor([0, 1])]
    """
    from scratchcard.pruning.unit_rules import RULES

    memo: dict[int, Any] = {id(parameter): parameter for parameter in network.parameters()}
    own = copied_module(network, memo | dict(replaced or {}))
    graph = UnitGraph() if graph is None else graph
    names = {id(tensor): name for name, tensor in reversed([*own.named_buffers(), *own.named_parameters()])}
    outputs: list[Tensor] = []
    for training in modes:
        graph.begin()
        trace = UnitTrace(graph, RULES, names, like)
        handles = [handle for module in own.modules() for handle in _watched(trace, module)]
        places = {name: tensor.clone() for name, tensor in tensors(inputs).items()}
        if "" in places and places[""].is_floating_point():
            trace.begin(places[""])
        devices = {tensor.device for tensor in places.values() if tensor.is_cuda}
        with torch.random.fork_rng(devices=list(devices)), torch.no_grad(), trace:
            own.train(training)
            found = own(places[""]) if "" in places else own(**places)
        leaves = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        for leaf in leaves:
            trace.opaque(leaf)
        for handle in handles:
            handle.remove()
        outputs = outputs if training and outputs else leaves
    return graph, outputs


def kinds_of_steps(network: nn.Module, inputs: Inputs) -> list[str]:
    """What is read of a network in evaluation mode; a bare `Step` is an input, or an output that keeps its units.

    Examples:
        >>> kinds_of_steps(nn.Linear(2, 3), torch.ones(2, 2))
        ['Step', 'Layer', 'Step']
    """
    return [type(step).__name__ for step in traced(network, inputs, modes=(False,))[0].steps]


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _watched(trace: UnitTrace, module: nn.Module) -> Iterator[Any]:
    """What a module with hooks or a `forward` of its own takes and gives keeps its units."""
    if "forward" not in vars(module) and not any(getattr(module, kind) for kind in _HOOKS):
        return

    def look(_: nn.Module, *things: Any) -> None:
        for leaf in tree_leaves(things):
            if trace.flow(leaf) is not None:
                trace.opaque(leaf)

    deep = "forward" in vars(module)
    for tensor in [*module.parameters(recurse=deep), *module.buffers(recurse=deep)]:
        trace.graph.spoil(trace.names[id(tensor)])
    yield module.register_forward_pre_hook(look, prepend=True)
    yield module.register_forward_hook(look)
    yield module.register_forward_hook(look, prepend=True)
