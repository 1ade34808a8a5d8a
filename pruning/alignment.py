"""Alignment: where in a network a ticket of another initialisation fits, its hidden units matched to the network's."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.pruning.chain import Link, chain
from scratchcard.pruning.parameters import prunable

SWEEPS = 20
"""Over the hidden layers, at most."""
STARTS = 4
"""The first matches each layer to what lies below it, the others begin at random."""
POWER = 0.5


@dataclass(frozen=True, eq=False)
class Alignment:
    """A template laid into a network.

    Attributes:
        signs: by weight name, in the network's shapes: -1 or 1 where the template keeps a weight, else 0; int8.
        units: for each hidden layer, the network's unit that stands for each of the template's; -1 for a template's
            unit without kept weights.
        agreement: share of the template's weights whose sign the network's weight has.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> template = {"0.weight": torch.tensor([[1, -1]]), "2.weight": torch.tensor([[1]])}
        >>> found = align(template, network)
        >>> found.agreement, found.units
        (0.3333333333333333, (tensor([0]),))
    """

    signs: Mapping[str, Tensor]
    units: tuple[Tensor, ...]
    agreement: float
    _spaces: tuple[tuple[Tensor, Tensor], ...] = field(repr=False)
    _links: tuple[Link, ...] = field(repr=False)

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Numbers of the template's weights (in its layout and order) at their places in the network, 0 elsewhere.

        Weights at units that the template does not use are left out.
        """
        found = {}
        for (name, like), tensor, link, below, above in zip(
            self.signs.items(), tensors.values(), self._links, self._spaces[:-1], self._spaces[1:], strict=True
        ):
            own = _by_unit(torch.zeros_like(like, dtype=tensor.dtype), link)
            own[above[1][:, None], below[1][None]] = _by_unit(tensor.cpu(), link)[above[0]][:, below[0]]
            found[name] = own.reshape(like.shape)
        return found


def align(template: Mapping[str, Tensor], network: nn.Module, *, power: float = POWER) -> Alignment:
    """Lay a ticket's signs into a network so that they agree with its weights' signs.

    Hidden units of a chain can change places without changing what the network computes, so that a ticket found for
    one initialisation fits another as well wherever units of suitable weights are found for its units. Maximised is

        sum over kept weights of template sign * sign(w) |w / mean |w| of its layer|^power

    of the network's weights w, over one injection of the template's hidden units into the network's for each hidden
    layer. Given all other layers each is a linear assignment problem, solved exactly; the layers are taken in turn,
    which never lowers the sum, until nothing changes; of several starts the best counts. Matching units by
    assignments: Ainsworth, Hayase & Srinivasa 2022, arXiv 2209.04836, there for trained weights; tickets moved by
    permutations of trained networks: Adnan et al. 2025, arXiv 2505.05143. Here nothing is trained.

    Args:
        template: by weight name in the order of the layers: `(out, in, ...)`, signs of the kept weights, 0 for pruned
            ones. Its hidden layers have at most as many units with kept weights as the network has units; inputs,
            outputs, kernels and the places of a flattened map are the same.
        network: a chain (`pruning.chain`).
        power: 0 counts agreeing signs; at 0.5 large weights count more, so that those that disagree are small ones,
            which training can turn.

    Raises:
        NotAChainError: the network is no chain.
        ValueError: the template does not fit.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> network[0].weight.data = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
        >>> network[2].weight.data = torch.tensor([[1.0, 1.0]])
        >>> template = {"0.weight": torch.tensor([[-1, 1]]), "2.weight": torch.tensor([[1]])}
        >>> align(template, network).signs["0.weight"]  # the ticket's one unit is the network's second
        tensor([[ 0,  0],
                [-1,  1]], dtype=torch.int8)
    """
    links = [link for link in chain(network) if link.prunable]
    own = {name: weight.detach().cpu() for name, weight in prunable(network).items()}
    names = [link.parameter("weight") for link in links]
    _check_layout(template, links)
    whole = [_by_unit(tensor.cpu().float(), link) for tensor, link in zip(template.values(), links, strict=True)]
    live = _live(whole)
    parts = [part[live[i + 1]][:, live[i]] for i, part in enumerate(whole)]
    given = [_by_unit(_weighed(own[name], power), link) for name, link in zip(names, links, strict=True)]
    _check(template, parts, given)
    generator = np.random.default_rng(0)
    reached = [_climb(parts, given, _start(parts, given, generator if start else None)) for start in range(STARTS)]
    units = max(reached, key=lambda entry: entry[0])[1]
    spaces = tuple(zip(live, units, strict=True))
    empty = {name: torch.zeros(own[name].shape, dtype=torch.int8) for name in names}
    found = Alignment(empty, (), 1.0, spaces, tuple(links))
    signs = {name: tensor.to(torch.int8) for name, tensor in found.placed(template).items()}
    same = sum(int((signs[name] * own[name] > 0).sum()) for name in names)
    kept = sum(int((signs[name] != 0).sum()) for name in names)
    stands = [
        torch.full((len(part),), -1).index_copy(0, *space) for part, space in zip(whole[:-1], spaces[1:-1], strict=True)
    ]
    return dataclasses.replace(found, signs=signs, units=tuple(stands), agreement=same / kept if kept else 1.0)


def _weighed(weight: Tensor, power: float) -> Tensor:
    size = weight.abs().float()
    mean = size.mean()
    return weight.sign().float() * (size / mean if mean > 0 else size) ** power


def _live(parts: Sequence[Tensor]) -> list[Tensor]:
    """Units of all spaces: every input and output, and the hidden units that have a kept weight on either side."""
    hidden = [
        (below.any(2).any(1) | above.any(2).any(0)).nonzero()[:, 0]
        for below, above in itertools.pairwise(parts)
        if below.shape[0] == above.shape[1]
    ]
    return [torch.arange(parts[0].shape[1]), *hidden, torch.arange(parts[-1].shape[0])]


def _start(parts: Sequence[Tensor], given: Sequence[Tensor], generator: np.random.Generator | None) -> list[Tensor]:
    """Units of all spaces, inputs and outputs too: at random, or layer by layer as the weights from below suit."""
    units = [torch.arange(given[0].shape[1])]
    for part, weights in zip(parts[:-1], given[:-1], strict=True):
        if generator is None:
            units.append(_assigned(torch.einsum("oip,qip->oq", part, weights[:, units[-1]])))
        else:
            units.append(torch.from_numpy(generator.permutation(weights.shape[0])[: part.shape[0]]))
    return [*units, torch.arange(given[-1].shape[0])]


def _climb(parts: Sequence[Tensor], given: Sequence[Tensor], units: list[Tensor]) -> tuple[float, list[Tensor]]:
    """The sum that is reached from a start, and the units."""
    for _ in range(SWEEPS):
        changed = False
        for hidden in range(1, len(parts)):
            gain = torch.einsum("oip,qip->oq", parts[hidden - 1], given[hidden - 1][:, units[hidden - 1]])
            gain += torch.einsum("oip,oqp->iq", parts[hidden], given[hidden][units[hidden + 1]])
            rows, best = torch.arange(len(gain)), _assigned(gain)
            if gain[rows, best].sum() > gain[rows, units[hidden]].sum():
                units[hidden], changed = best, True
        if not changed:
            break
    laid = (weights[units[i + 1]][:, units[i]] for i, weights in enumerate(given))
    return sum(float((part * weights).sum()) for part, weights in zip(parts, laid, strict=True)), units


def _assigned(gain: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])


def _by_unit(weight: Tensor, link: Link) -> Tensor:
    """`(out, in * block, ...)` as `(out, in, places)`."""
    places = link.block * int(np.prod(weight.shape[2:]))
    return weight.reshape(weight.shape[0], -1, places)


def _check_layout(template: Mapping[str, Tensor], links: Sequence[Link]) -> None:
    """Refuse a template that is not even cut into units as the network is."""
    if len(template) != len(links):
        raise ValueError(f"the template has {len(template)} layers, the network {len(links)}")
    for (name, tensor), link in zip(template.items(), links, strict=True):
        weight = link.layer.get_parameter("weight")
        places = link.block * int(np.prod(weight.shape[2:]))
        if tensor.ndim < 2 or tensor[0].numel() % places:
            raise ValueError(
                f"the template's {name} is of shape {tuple(tensor.shape)}, with other kernels or places of a map than "
                f"the network's {link.parameter('weight')} of shape {tuple(weight.shape)}"
            )


def _check(template: Mapping[str, Tensor], parts: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    for layer, (name, part, weights) in enumerate(zip(template, parts, given, strict=True)):
        outputs = part.shape[0] <= weights.shape[0] if layer < len(given) - 1 else part.shape[0] == weights.shape[0]
        inputs = part.shape[1] <= weights.shape[1] if layer else part.shape[1] == weights.shape[1]
        if not (outputs and inputs and part.shape[2] == weights.shape[2]):
            raise ValueError(
                f"the template's {name} is of shape {tuple(template[name].shape)}, too large for the network's "
                f"{tuple(weights.shape[:2])} units, or with other inputs, outputs or kernels"
            )
