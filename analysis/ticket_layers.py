"""A ticket layer by layer: density, live and dead units, effective density."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from torch import nn

from scratchcard.pruning.connectivity import Connectivity, effective_mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.ticket import Ticket


def layer_rows(ticket: Ticket) -> list[dict[str, Any]]:
    """One row a layer: layer, size, kept, density, units, live_units, dead_units, effective_density.

    `live_units` lie on a path of kept weights from an input to an output, `dead_units` do not; `effective_density` is
    the share of the layer's weights on such a path. Σ effective_density · size / Σ size is the network's own. These
    four are NaN where the ticket alone does not tell its network. Code named inside a file is never imported.
    """
    network = network_of(ticket)
    rows: list[dict[str, Any]] = []
    found = None
    if network is not None:
        shape = next(iter(ticket.mask.tensors.values())).shape[1:]
        found = Connectivity.of(network, ticket.mask, tuple(shape))
        effective = effective_mask(network, ticket.mask, tuple(shape)).tensors
    for name, mask in ticket.mask.tensors.items():
        size, kept = mask.numel(), int(mask.sum())
        density = kept / size if size else math.nan
        units, live, on_path = math.nan, math.nan, math.nan
        if found is not None and size:
            units, live, on_path = found.units[name], found.live_units[name], int(effective[name].sum()) / size
        row = {"layer": name, "size": size, "kept": kept, "density": density}
        rows.append(
            row | {"units": units, "live_units": live, "dead_units": units - live, "effective_density": on_path}
        )
    return rows


def network_of(ticket: Ticket) -> nn.Module | None:
    """The ticket's network, if the ticket alone tells it; else None.

    It does for registered networks of linear layers: the first layer's columns are the inputs, the last one's rows the
    classes. Neither data nor foreign code is loaded. Its weights are others, and it is shared: leave it as it is.
    """
    described = ticket.provenance.get("workload")
    name = described.get("network") if isinstance(described, dict) else None
    shapes = {key: tuple(tensor.shape) for key, tensor in ticket.mask.tensors.items()}
    if not isinstance(name, str) or not shapes or any(len(shape) != 2 for shape in shapes.values()):
        return None
    ordered = list(shapes.values())
    network = _built(name, ordered[0][1], ordered[-1][0])
    fits = network is not None and {key: tuple(w.shape) for key, w in prunable(network).items()} == shapes
    return network if fits else None


@lru_cache(maxsize=4)
def _built(name: str, inputs: int, classes: int) -> nn.Module | None:
    """A registered network, which nobody changes: many tickets are of one network."""
    from scratchcard.workloads.networks import NETWORKS, build_network

    try:
        return build_network(name, (inputs,), classes, 0) if name in NETWORKS else None
    except (ValueError, RuntimeError):  # it takes other inputs than flat ones
        return None
