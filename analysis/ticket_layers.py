"""A ticket layer by layer: density, live and dead units, effective density."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import nn

from scratchcard.pruning.connectivity import Connectivity, effective_mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.ticket import Ticket


def layer_rows(
    ticket: Ticket, network: nn.Module | None = None, input_shape: tuple[int, ...] | None = None
) -> list[dict[str, Any]]:
    """One row a layer: layer, size, kept, density, units, live_units, dead_units, effective_density.

    `live_units` lie on a path of kept weights from an input to an output, `dead_units` do not; `effective_density` is
    the share of the layer's weights on such a path. Σ effective_density · size / Σ size is the network's own.

    Args:
        ticket: the ticket.
        network: what it is a ticket of; by default built from the name in its provenance where that is possible from
            the ticket alone (a registered network that takes flat inputs). Code named inside a file is never imported.
        input_shape: of one input, for `network`.

    Returns:
        The rows; without a network the last four are NaN.

    Raises:
        ValueError: a network without its input shape, or one that the mask does not fit.
    """
    if (network is None) != (input_shape is None):
        raise ValueError("a network and the shape of its inputs go together: give both or neither")
    built = (network, input_shape) if network is not None and input_shape is not None else network_of(ticket)
    rows: list[dict[str, Any]] = [
        {"layer": name, "size": kept.numel(), "kept": int(kept.sum())} for name, kept in ticket.mask.tensors.items()
    ]
    found = None if built is None else Connectivity.of(built[0], ticket.mask, built[1])
    effective = None if built is None else effective_mask(built[0], ticket.mask, built[1])
    for row in rows:
        name, size = row["layer"], row["size"]
        row["density"] = row["kept"] / size if size else float("nan")
        units = found.units[name] if found else float("nan")
        live = found.live_units[name] if found else float("nan")
        on_path = int(effective.tensors[name].sum()) / size if effective and size else float("nan")
        row |= {"units": units, "live_units": live, "dead_units": units - live, "effective_density": on_path}
    return rows


def network_of(ticket: Ticket) -> tuple[nn.Module, tuple[int, ...]] | None:
    """The ticket's network and its input shape, if the ticket alone tells both; else None.

    It does for registered networks of linear layers: the first layer's columns are the inputs, the last one's rows the
    classes. Neither data nor foreign code is loaded. Its weights are others, and it is shared: leave it as it is.
    """
    described = ticket.provenance.get("workload")
    name = described.get("network") if isinstance(described, dict) else None
    shapes = tuple(tuple(tensor.shape) for tensor in ticket.mask.tensors.values())
    if not isinstance(name, str) or not shapes or any(len(shape) != 2 for shape in shapes):
        return None
    network = _built(name, shapes[0][1], shapes[-1][0])
    if network is None or [(key, tuple(w.shape)) for key, w in prunable(network).items()] != list(
        zip(ticket.mask.tensors, shapes, strict=True)
    ):
        return None
    return network, (shapes[0][1],)


@lru_cache(maxsize=4)
def _built(name: str, inputs: int, classes: int) -> nn.Module | None:
    """A registered network, which nobody changes: many tickets are of one network."""
    from scratchcard.workloads.networks import NETWORKS, build_network

    if name not in NETWORKS:
        return None
    try:
        return build_network(name, (inputs,), classes, 0)
    except (ValueError, RuntimeError):  # it takes other inputs than flat ones
        return None
