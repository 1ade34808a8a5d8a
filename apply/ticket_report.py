"""What is told of a ticket: in short, as a command prints it, and layer by layer, as a service hands it out."""

from __future__ import annotations

from typing import Any

from scratchcard.pruning.connectivity import collapsed_layers, dead_units
from scratchcard.pruning.ticket import Ticket


def ticket_summary(ticket: Ticket) -> dict[str, Any]:
    """A found ticket in short, as plain JSON: counts, what is odd about it, and its cost.

    Raises:
        ValueError: the ticket does not say how it was found.

    Examples:
        >>> ticket = sc.prune("lenet_300_100", "digits", density=0.1, method="magnitude")
        >>> summary = ticket_summary(ticket)
        >>> summary["kept"], summary["prunable"], summary["density"]
        (5020, 50200, 0.1)
    """
    known = ticket.provenance
    checks = known.get("checks")
    if not isinstance(checks, dict) or not known.keys() >= {"label", "pruning_seconds", "passes"}:
        raise ValueError("the ticket does not say how it was found: expected one that `prune` gave")
    return {
        "method": known["label"],
        "kept": ticket.mask.kept,
        "prunable": ticket.mask.total,
        "density": ticket.mask.density,
        "effective_density": checks["effective_density"],
        "checks": {finding.kind: finding.text for finding in ticket.check()},
        "seconds": known["pruning_seconds"],
        "passes": known["passes"],
    }


def ticket_report(ticket: Ticket) -> dict[str, Any]:
    """The summary, and of each layer its shape, its kept weights and its units that keep or lead to something.

    Examples:
        >>> ticket = sc.prune("lenet_300_100", "digits", density=0.1, method="magnitude")
        >>> layer = ticket_report(ticket)["layers"][0]
        >>> layer["weight"], layer["shape"], layer["units"], layer["live_units"] <= layer["units"]
        ('1.weight', [300, 64], 300, True)
    """
    dead = dead_units(ticket.mask)
    checks = ticket.provenance["checks"]
    live, units = checks.get("live_units", {}), checks.get("units", {})
    layers = [
        {
            "weight": name,
            "shape": list(kept.shape),
            "kept": int(kept.count_nonzero()),
            "prunable": kept.numel(),
            "density": int(kept.count_nonzero()) / kept.numel(),
            "excluded": name in ticket.mask.excluded,
            "units": units.get(name, len(dead[name])),
            "units_without_inputs": None if name in units else int(dead[name].sum()),
            "live_units": live.get(name),
        }
        for name, kept in ticket.mask.tensors.items()
    ]
    return ticket_summary(ticket) | {"collapsed": list(collapsed_layers(ticket.mask)), "layers": layers}
