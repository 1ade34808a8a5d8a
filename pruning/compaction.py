"""Compaction: the small network that is left when what a mask makes useless is physically removed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scratchcard.pruning.chain import CONVOLUTIONS, DROPOUTS, NORMALISATIONS, Link, by_unit, chain, features
from scratchcard.pruning.constant_units import CONSTANT, SIGNAL, UnitStates, follow, padded, summed
from scratchcard.pruning.elementwise import ELEMENTWISE
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable

Index = tuple[Tensor, ...]


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
        self.expand_state(network.state_dict(), self.network.state_dict())

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
                index = tuple(part.to(full[name].device) for part in self.places[name])
                value = value.to(full[name].device)
                if len(index) == 2:
                    full[name][index[0][:, None], index[1]] = value
                elif len(index) == 1:
                    full[name][index[0]] = value
                else:
                    full[name].copy_(value)


def compact(
    network: nn.Module, mask: Mask, *, constants: Literal["keep", "fold"] = "keep", decay: bool = False
) -> Compacted:
    """Remove what no kept path uses: the small network computes and trains exactly like the masked one.

    Removed are, until nothing more can be:

    1. a hidden unit or channel from which no path of kept weights reaches an output. It never changes the
       output, so no gradient ever reaches it or what feeds only it;
    2. an input feature from which no such path starts, if the network begins with a linear layer (behind
       Flatten, Identity, dropout, activations or BatchNorm1d only);
    3. a unit that is dead for all training: no kept weight feeds it (or only dead units do) and it starts at
       zero and stays there. Behind ReLU or ReLU6 that is a bias b <= 0: the output is relu(b) = 0, and as the
       derivative is 0 there too, b gets no gradient. Weight decay alone could move a negative b across zero
       (Adam, or momentum that overshoots), so with `decay` it must be b = 0, which weight decay does not
       move. With batch normalisation in between the same must hold of its bias, and its input and running
       mean must be zero. Behind other activations f with f(0) = 0, or none, the layer must have no bias at
       all, since a zero bias would be trained;
    4. what only units of 3 use: their own kept weights always carry zero and get zero gradients.

    A unit that no input reaches but whose bias lives (b > 0 behind ReLU, say) puts out a constant, and
    training changes that constant. `constants="keep"` keeps such units: same losses, step by step.
    `constants="fold"` adds the constant to the next layer's biases and removes the unit: the outputs in
    evaluation mode are the same, but training would go another way, so this is for deployment. Through
    padding a constant is not the same everywhere; such units stay.

    A layer never shrinks below one unit: a collapsed layer keeps a masked one. Dropout draws other random
    numbers for the smaller tensors. Removed weights take no part in weight decay (`workloads.engines.training` makes
    up for it).

    Args:
        network: a chain (see `pruning.chain.chain`); left untouched, and taken as already masked: pruned
            weights count as zero whatever they hold.
        mask: the kept weights.
        decay: whether the small network will be trained with weight decay.

    Raises:
        NotAChainError: (a ValueError) the network is not a chain.
        ValueError: a mask of another layout, or unknown `constants`.

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
    links = chain(network)
    kept = {name: tensor.to(own[name].device) for name, tensor in mask.tensors.items()}
    entering = follow(links, kept, decay)
    gathers = _gathers(links)
    units = _needed(links, kept, entering, SIGNAL if constants == "fold" else CONSTANT, gathers)
    tensors, places = _cut(links, kept, units, gathers)
    if constants == "fold":
        _fold(links, kept, units, entering, tensors)
    return Compacted(
        _rebuild(network, links, tensors),
        Mask({name: _take(tensor, places[name]) for name, tensor in kept.items()}, mask.excluded),
        units[0] if gathers else None,
        any(isinstance(link.layer, nn.Flatten) for link in links if link.space == 0),
        constants == "fold",
        {name: places.get(name, ()) for name in network.state_dict()},
    )


def _gathers(links: Sequence[Link]) -> bool:
    """Whether input features can be left out: nothing mixes them before the first linear layer."""
    flat = False
    for link in links:
        if isinstance(link.layer, nn.Linear):
            return True
        flat |= isinstance(link.layer, nn.Flatten)
        # BatchNorm1d counts features only where the tensor is flat; before, the dimension might be another
        # one.
        alone = isinstance(link.layer, (nn.Flatten, nn.Identity, *DROPOUTS, *ELEMENTWISE))
        if not alone and not (flat and isinstance(link.layer, nn.BatchNorm1d)):
            return False
    return False


def _needed(
    links: Sequence[Link], kept: Mapping[str, Tensor], entering: Sequence[UnitStates], lowest: int, gathers: bool
) -> list[Tensor]:
    """The units to keep, ascending, of the inputs and behind each prunable layer; from the outputs back."""
    weighted = [link for link in links if link.prunable]
    last = kept[weighted[-1].parameter("weight")]
    units = [torch.arange(last.shape[0], device=last.device)]
    for link, state in zip(reversed(weighted), reversed(entering), strict=True):
        used = by_unit(kept[link.parameter("weight")][units[0]], link.block).any(0)
        if link.space:
            needed = state.status >= lowest
            if isinstance(link.layer, CONVOLUTIONS) and padded(link.layer):
                # A constant that a padded convolution sees is no constant behind it, unless it is 0, so it
                # cannot be folded there.
                needed |= (state.status == CONSTANT) & (state.value != 0)
            used &= needed
        elif not gathers:
            used = torch.ones_like(used)
        found = used.nonzero().reshape(-1)
        units.insert(0, found if found.numel() else found.new_zeros(1))
    return units


def _cut(
    links: Sequence[Link], kept: Mapping[str, Tensor], units: Sequence[Tensor], gathers: bool
) -> tuple[dict[str, Tensor], dict[str, Index]]:
    """The small tensors and their places in the full-size ones, by name."""
    places: dict[str, Index] = {}
    tensors: dict[str, Tensor] = {}
    for link in links:
        indices: dict[str, Index] = {}
        if link.prunable:
            out = units[link.space + 1]
            indices = {"weight": (out, features(units[link.space], link.block)), "bias": (out,)}
        elif isinstance(link.layer, NORMALISATIONS) and (link.space or gathers):
            index: Index = (features(units[link.space], link.block),)
            indices = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), index)
        for part, place in indices.items():
            tensor = getattr(link.layer, part)
            if tensor is not None:
                name = link.parameter(part)
                places[name] = place
                masked = tensor.detach().masked_fill(~kept[name], 0) if name in kept else tensor.detach()
                tensors[name] = _take(masked, place)
    return tensors, places


def _fold(
    links: Sequence[Link],
    kept: Mapping[str, Tensor],
    units: Sequence[Tensor],
    entering: Sequence[UnitStates],
    tensors: dict[str, Tensor],
) -> None:
    """Add to each layer's small bias what the removed constants would have sent to it."""
    weighted = [link for link in links if link.prunable]
    for link, state in zip(weighted, entering, strict=True):
        if not link.space:
            continue
        removed = state.value.masked_fill(state.status != CONSTANT, 0)
        removed[units[link.space]] = 0
        if not bool(removed.any()):
            continue
        sent = summed(link.layer, kept[link.parameter("weight")]) @ removed.repeat_interleave(link.block)
        sent = sent[units[link.space + 1]]
        name, dtype = link.parameter("bias"), tensors[link.parameter("weight")].dtype
        tensors[name] = (tensors[name].double() + sent if name in tensors else sent).to(dtype)


def _rebuild(network: nn.Module, links: Sequence[Link], tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `network` with the small tensors; deepcopy takes from its memo what is given there."""
    memo: dict[int, Any] = {}
    for link in links:
        for part in ("weight", "bias", "running_mean", "running_var"):
            old, name = getattr(link.layer, part, None), link.parameter(part)
            if isinstance(old, nn.Parameter) and name in tensors:
                memo[id(old)] = nn.Parameter(tensors[name], requires_grad=old.requires_grad)
            elif isinstance(old, Tensor) and name in tensors:
                memo[id(old)] = tensors[name]
    small = copy.deepcopy(network, memo)
    for link in links:
        layer: Any = small.get_submodule(link.name)
        if link.prunable:
            if layer.bias is None and link.parameter("bias") in tensors:
                layer.bias = nn.Parameter(tensors[link.parameter("bias")])
            out, entering = layer.weight.shape[:2]
            if isinstance(layer, nn.Linear):
                layer.out_features, layer.in_features = out, entering
            else:
                layer.out_channels, layer.in_channels = out, entering
        elif isinstance(layer, NORMALISATIONS) and link.parameter("weight") in tensors:
            layer.num_features = tensors[link.parameter("weight")].shape[0]
        elif isinstance(layer, NORMALISATIONS) and link.parameter("running_mean") in tensors:
            layer.num_features = tensors[link.parameter("running_mean")].shape[0]
    return small


def _take(tensor: Tensor, index: Index) -> Tensor:
    if len(index) == 2:
        return tensor[index[0]][:, index[1]].clone()
    return tensor[index[0]].clone() if index else tensor.clone()
