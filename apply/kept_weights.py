"""Kept weights: what becomes of them between the search and the ticket (mask-1 actions)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scratchcard.apply.initial import KEPT
from scratchcard.number_list import LARGEST
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.registry import lookup

if TYPE_CHECKING:
    from scratchcard.workloads.workload import Workload

ANEW = 1_000_003
"""What is added to the seed of weights that are built anew."""


def acted_on(
    start: Mapping[str, Tensor], mask: Mask, action: str, *, signs: bool, workload: Workload, seed: int
) -> dict[str, Tensor]:
    """The state that a ticket starts from, after a mask-1 action on its kept weights.

    Zhou et al. 2019 (arXiv 1905.01067), each layer for itself:

        rewound          w = w0
        constant         w = ± c, c = sqrt(mean w0²) over all weights of the layer
        reinitialised    w is the weight of the network built from another seed
        reshuffled       w is another kept weight's w0

    With `signs` each weight has the sign of its w0 and the size that the action gives; without, a constant has a random
    sign. Pruned weights, weights that are left out of pruning, biases and buffers stay as they are. Theirs is the
    standard deviation of the distribution that weights are drawn from, which no network tells; c is its estimate.

    Args:
        start: the whole state, as the regime rewinds it.
        mask: the ticket's.
        action: a name of `KEPT`.
        signs: see above.
        workload: builds the network anew.
        seed: of the search.

    Raises:
        ValueError: an unknown action, or a network whose weights no seed changes is to be built anew.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 2), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(2, 2, bias=False), task)
        >>> start = {"weight": torch.tensor([[1.0, -2.0], [2.0, 0.5]])}
        >>> mask = Mask({"weight": torch.tensor([[True, True], [True, False]])})
        >>> acted_on(start, mask, "constant", signs=True, workload=workload, seed=0)["weight"]
        tensor([[ 1.5207, -1.5207],
                [ 1.5207,  0.5000]])
    """
    lookup(KEPT, "actions on kept weights", action)
    if action == "rewound":
        return dict(start)
    if action == "reinitialised" and workload.has_fixed_weights:
        raise ValueError(
            f"{workload.network_name} has the same weights for every seed, so that they cannot be reinitialised; give "
            "a registered name or a factory, package.module:factory, and no weights file"
        )
    network = workload.build((seed + ANEW) % LARGEST)
    generator, found = torch.Generator().manual_seed(seed + ANEW), dict(start)
    for name, anew in prunable(network).items():
        old, kept = start[name], mask.tensors[name].cpu()
        if name in mask.excluded:
            continue
        if action == "constant":
            sign = torch.randint(0, 2, old.shape, generator=generator) * 2 - 1
            new = sign * old.double().square().mean().sqrt()
        elif action == "reinitialised":
            new = anew.detach().cpu().double()
        else:
            order = torch.randperm(int(kept.sum()), generator=generator)
            new = torch.zeros_like(old, dtype=torch.float64)
            new[kept] = old[kept][order].double()
        if signs:
            new = new.abs() * old.sign()
        found[name] = torch.where(kept, new.to(old.dtype), old)
    return found
