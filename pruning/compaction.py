"""Compaction: the small network that is left when what a mask makes useless is physically removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scratchcard.pruning.example_inputs import two_examples
from scratchcard.pruning.inputs import Inputs
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, inside, prunable
from scratchcard.pruning.small_network import (
    Index,
    folded_biases,
    mark_folding,
    places_of,
    put,
    rebuilt,
    same_outputs,
    take,
)
from scratchcard.pruning.unit_choice import chosen, first_difference, kept_by_unit, needed_labels
from scratchcard.pruning.unit_graph import CONSTANT, SIGNAL, Known, UnitGraph
from scratchcard.pruning.unit_trace import traced
from scratchcard.words import said

ATTEMPTS = 8
"""How often units that a small network turns out not to go without are put back, before all are."""


@dataclass(frozen=True, eq=False)
class Compacted:
    """A small network, its mask, and where its tensors belong in the full-size network.

    Attributes:
        network: shares no memory with the full-size network; its parameters have the same names.
        mask: of the small network.
        inputs: the input features that are left, int64 `(k,)`, ascending; None if all are (a convolution sees
            them first, or something before the first linear layer mixes them).
        flattens: whether `inputs` counts flattened features, not those of the last dimension.
        folded: whether constants were folded; such a network cannot be expanded.
        places: for each tensor of the small network's state its indices in the full-size tensor, one vector
            for each of the leading dimensions; the others are whole.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False, True], [False, False, False]])
        >>> small = compact(network, Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])}))
        >>> small.gather(torch.tensor([[1.0, 2.0, 3.0]]))  # the input that no path uses is gone
        tensor([[1., 3.]])
        >>> small.expand_into(network)
    """

    network: nn.Module
    mask: Mask
    inputs: Tensor | None
    flattens: bool
    folded: bool
    places: Mapping[str, Index] = field(repr=False)

    def gather(self, inputs: Tensor) -> Tensor:
        """What the small network takes for the full-size network's `inputs` `(n, *input_shape)`."""
        if self.inputs is None:
            return inputs
        flat = inputs.flatten(1) if self.flattens else inputs
        return flat.index_select(-1, self.inputs.to(inputs.device))

    def expand_into(self, network: nn.Module) -> None:
        """Write the small network's parameters and buffers back to their places in the full-size `network`.

        What was removed keeps the value that it has in `network`: it took no part in the training.

        Raises:
            ValueError: the constants were folded, or `network` is not the one that was compacted.
        """
        self.expand_state(inside(network).state_dict(), self.network.state_dict())

    def expand_state(self, full: Mapping[str, Tensor], small: Mapping[str, Tensor]) -> None:
        """Write the tensors of `small` to their places in `full`, in place; errors as of `expand_into`."""
        if self.folded:
            raise ValueError(
                "a network with folded constants cannot be expanded: its biases hold what was removed; "
                "compact with constants='keep' to train"
            )
        if list(full) != list(small):
            raise ValueError("this is not the network that was compacted: its state has other names")
        with torch.no_grad():
            for name, value in small.items():
                put(full[name], self.places[name], value)


def compact(
    network: nn.Module,
    mask: Mask,
    inputs: Inputs | None = None,
    *,
    constants: Literal["keep", "fold"] = "keep",
    decay: bool = False,
) -> Compacted:
    """Remove what no kept path uses: the small network computes and trains exactly like the masked one.

    The network's own `forward` is followed, once in evaluation and once in training mode, by what it does with tensors
    (`unit_rules`). What is not followed keeps all units that it reads: unknown operations, hooks, slices and shapes by
    number, a weight that is used otherwise too. The small network is then followed as well. Where it takes another
    way, or ends elsewhere, units are put back, in the end all.

    Removed are, until nothing more can be:

    1. a hidden unit or channel from which no path of kept weights reaches an output. It never changes the
       output, so no gradient ever reaches it or what feeds only it;
    2. an input feature from which no such path starts, if the network begins with a linear layer (behind
       Flatten, Identity, dropout, activations or BatchNorm1d only);
    3. a unit that is dead for all training: no kept weight feeds it (or only dead units do) and it starts at
       zero and stays there. Behind ReLU or ReLU6, if nothing else reads it, that is a bias b <= 0: the output is
       relu(b) = 0, and as the derivative is 0 there too, b gets no gradient. Weight decay alone could move a negative
       b across zero (Adam, or momentum that overshoots), so with `decay` it must be b = 0, which weight decay does not
       move. Behind other activations f with f(0) = 0, or none, the layer must have no bias at all, since a zero
       bias would be trained. A product with a dead unit is dead, and so is a sum of dead ones;
    4. what only units of 3 use: their own kept weights always carry zero and get zero gradients.

    **Batch normalisation** looks at each channel alone, so it couples nothing. A channel that is always zero leaves it
    as its bias b in training, and in evaluation as `b - g m / sqrt(v + eps)`, with gain g, running mean m and running
    variance v. Training moves m and v to zero by the same factor, so that this value goes to b from one side. Such a
    channel is dead behind ReLU if neither value is positive; with `decay`, only if b and m are zero. A channel that
    is constant but not zero is not: its mean is taken from it with rounding, and the remainder is magnified.

    **Together go** the channels of a residual sum or a product, those that a depthwise convolution joins, and each
    part of a concatenation with what reads it. The groups of a grouped convolution that are left keep as many
    channels each as the one that needs most.

    A unit that no input reaches but whose bias lives (b > 0 behind ReLU, say) puts out a constant, and
    training changes that constant. `constants="keep"` keeps such units: same losses, step by step.
    `constants="fold"` adds the constant to the next layer's biases and removes the unit: the outputs in
    evaluation mode are the same, but training would go another way, so this is for deployment. Through
    padding a constant is not the same everywhere; such units stay.

    A layer never shrinks below one unit: a collapsed layer keeps a masked one. Dropout draws other random
    numbers for the smaller tensors. Removed weights take no part in weight decay (`workloads.engines.training` makes
    up for it). The running statistics of removed channels stand still; nothing reads them.

    Args:
        network: left untouched, and taken as already masked: pruned weights count as zero whatever they hold.
        mask: the kept weights.
        inputs: a few examples that the network takes, of which two are used. Without, features or images in a
            suitable shape are looked for.
        decay: whether the small network will be trained with weight decay.

    Raises:
        ValueError: a mask of another layout, unknown `constants`, or a network that cannot be called.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> first = torch.zeros(4, 3, dtype=torch.bool)
        >>> first[0] = True
        >>> second = torch.tensor([[True, False, False, False]])
        >>> network[0].bias.data.fill_(-1.0)  # units that nothing feeds stay shut
        tensor([-1., -1., -1., -1.])
        >>> compact(network, Mask({"0.weight": first, "2.weight": second})).network
        Sequential(
          (0): Linear(in_features=3, out_features=1, bias=True)
          (1): ReLU()
          (2): Linear(in_features=1, out_features=1, bias=True)
        )
    """
    if constants not in ("keep", "fold"):
        raise ValueError(f"unknown constants {constants!r}, expected 'keep' or 'fold'")
    own = prunable(network)
    check_same_layout(own, mask.tensors, "the mask")
    network = inside(network)
    plan = _Plan(network, own, mask, constants == "fold")
    examples = two_examples(network, own, inputs)
    graph, outputs, modes = _followed(network, examples, plan.masked, (False,) if plan.folds else (False, True))
    if plan.folds:
        mark_folding(network, graph)
    kept = kept_by_unit(graph, plan.tensors, plan.kept)
    known = Known(plan.tensors, kept, graph.shared(), decay, SIGNAL if plan.folds else CONSTANT)
    classes, needed = graph.classes(), needed_labels(graph, known)
    before, width = -1, 1
    for _ in range(ATTEMPTS):
        keep = chosen(graph, classes, (needed, graph.frozen()))
        small = plan.cut(graph, known, keep)
        place = _differs(small, graph, keep, examples, outputs, modes)
        if place is None:
            return small
        before, width = place, 4 * width if place == before else 1
        for step in graph.steps if place < 0 else graph.steps[max(0, place + 1 - width) : place + 1]:
            for flow in (*step.reads, *([] if step.makes is None else [step.makes])):
                graph.freeze(flow.labels)
    graph.freeze(torch.arange(len(classes)))
    return plan.cut(graph, known, torch.ones(len(classes), dtype=torch.bool))


class _Plan:
    """What small networks of one network are made of.

    Attributes:
        tensors: parameters, with the pruned weights at zero, and buffers, by name.
        kept: the mask by the same names, which are others where a weight has several.
        masked: the masked weights by the identity of the network's own.
    """

    def __init__(self, network: nn.Module, own: Mapping[str, nn.Parameter], mask: Mask, folds: bool) -> None:
        self._network, self._mask, self.folds = network, mask, folds
        state = network.state_dict(keep_vars=True)
        first = {id(tensor): name for name, tensor in reversed([*network.named_buffers(), *network.named_parameters()])}
        self._names = {name: first.get(id(tensor), name) for name, tensor in state.items()}
        self._own = {name: first[id(weight)] for name, weight in own.items()}
        self.kept = {self._own[name]: tensor.to(own[name].device) for name, tensor in mask.tensors.items()}
        self.masked = {
            id(w): nn.Parameter(w.detach().masked_fill(~self.kept[self._own[name]], 0), w.requires_grad)
            for name, w in own.items()
        }
        self.tensors: dict[str, Tensor] = dict(network.named_buffers())
        self.tensors |= {name: self.masked.get(id(p), p) for name, p in network.named_parameters()}

    def cut(self, graph: UnitGraph, known: Known, keep: Tensor) -> Compacted:
        """The small network in which the labels of `keep` are left."""
        places = places_of(graph, keep, self.tensors)
        small = {name: take(self.tensors[name].detach(), places.get(name, ())) for name in places.keys() | self.kept}
        for name, sent in (folded_biases(graph, known, keep) if self.folds else {}).items():
            weight = name.removesuffix("bias") + "weight"
            before = small[name].double().cpu() if name in small else 0
            small[name] = (before + sent[places[weight][0]]).to(small[weight])
        inputs, flattens = graph.inputs if graph.inputs is not None else (None, False)
        if inputs is not None and bool(torch.isin(inputs, graph.frozen()).any()):
            inputs = None
        kept = {name: take(self.kept[own], places.get(own, ())) for name, own in self._own.items()}
        return Compacted(
            rebuilt(self._network, small, graph, keep),
            Mask(kept, self._mask.excluded),
            None if inputs is None else keep[inputs].nonzero().reshape(-1),
            flattens and inputs is not None,
            self.folds,
            {name: places.get(own, ()) for name, own in self._names.items()},
        )


def _followed(
    network: nn.Module, examples: Inputs, masked: Mapping[int, Any], modes: tuple[bool, ...]
) -> tuple[UnitGraph, list[Tensor], tuple[bool, ...]]:
    """The graph; of evaluation alone where the network cannot be called in training with so few examples."""
    try:
        return (*traced(network, examples, replaced=masked, modes=modes), modes)
    except (Exception, SystemExit) as error:  # foreign code can raise anything
        if modes == (False,):
            raise ValueError(
                f"{type(network).__name__} cannot be compacted: called, it raised {said(error)}"
            ) from error
        return _followed(network, examples, masked, (False,))


def _differs(
    small: Compacted,
    graph: UnitGraph,
    keep: Tensor,
    examples: Inputs,
    outputs: list[Tensor],
    modes: tuple[bool, ...],
) -> int | None:
    """The step at which the small network goes another way; -1 if it ends elsewhere; None if it does neither."""
    given = small.gather(examples) if isinstance(examples, Tensor) else examples
    found = UnitGraph()
    try:
        _, ends = traced(small.network, given, modes=modes, graph=found, like=graph)
    except (Exception, SystemExit):  # it was made for other sizes
        place = first_difference(graph, found, keep)
        return len(found.steps) if place is None else place
    place = first_difference(graph, found, keep)
    return place if place is not None or same_outputs(outputs, ends) else -1
