"""Findings: what is odd about a ticket, in a sentence each, from what was seen when it was pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from scratchcard.artefacts.json_file import declared
from scratchcard.pruning.connectivity import Connectivity, Example, collapsed_layers
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import not_prunable, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.words import listed

FAR_BELOW = 0.5
"""An effective density below this share of the density is a finding."""
LOTS = 0.01
"""More than this share of kept weights left to the lot is a finding."""
_SEEN: dict[str, Any] = {
    "by_lot": int,
    "effective_density": float | None,
    "frozen": list[str],
    "missing_classes": list[int],
    "not_prunable": dict[str, int],
    "only_zeros": list[str],
}


class TicketWarning(UserWarning):
    """A ticket was found, but something about it is odd; `Ticket.check` lists what.

    Examples:
        >>> import warnings
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> _ = network[2].weight.data.fill_(1e-6)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = sc.prune(network, task, density=0.2, method="magnitude")
        >>> str(caught[0].message)[:54]
        'the ticket: nothing is kept of 2.weight, so that its o'
    """


@dataclass(frozen=True)
class Finding:
    """One thing that is odd about a ticket.

    Attributes:
        kind: `collapsed`, `effective_density`, `by_lot`, `only_zeros`, `not_prunable`, `missing_classes`, `frozen`.
        text: what was found, and what to do.

    Examples:
        >>> Finding("frozen", "0.weight is frozen").kind
        'frozen'
    """

    kind: str
    text: str


def observe(
    network: nn.Module, mask: Mask, example: Example, *, only_zeros: Sequence[str] = (), by_lot: int = 0
) -> dict[str, Any]:
    """What `findings` needs to know of a network and its mask beside the mask itself, as plain JSON.

    Args:
        network: the network, as it was pruned.
        mask: the kept weights.
        example: inputs of the network, or the shape of one; see `effective_mask`.
        only_zeros: see `zeros`, of the last cut's scores.
        by_lot: how many weights the last cut kept by lot.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, True]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> observe(network, mask, (2,))["effective_density"]  # the second unit leads nowhere
        0.3333333333333333
    """
    known: dict[str, Any] = {"by_lot": by_lot, "effective_density": None}
    try:
        found = Connectivity.of(network, mask, example)
        known |= {"effective_density": found.effective_density, "live_units": dict(found.live_units)}
        # Of a table's weight the units are its columns; of others the rows, as the mask itself tells.
        known["units"] = {name: n for name, n in found.units.items() if n != len(mask.tensors[name])}
    except Exception as error:  # a foreign network can raise anything, and the ticket is found
        known["effective_density_unknown"] = " ".join(str(error).split())[:200]
    known["only_zeros"] = list(only_zeros)
    known["not_prunable"] = {name: weight.numel() for name, weight in not_prunable(network).items()}
    weights = prunable(network)
    known["excluded"] = sorted(mask.excluded)
    known["frozen"] = [name for name in sorted(mask.excluded) if not weights[name].requires_grad]
    return {name: value for name, value in known.items() if value not in ([], {}, 0) or name == "effective_density"}


def zeros(scores: Scores, mask: Mask) -> list[str]:
    """The names of the weights that count and whose scores are all zero.

    Examples:
        >>> scores = Scores({"a": torch.zeros(2), "b": torch.ones(2)}, "by hand")
        >>> zeros(scores, Mask({"a": torch.tensor([True, False]), "b": torch.tensor([True, False])}))
        ['a']
    """
    return [name for name in mask.counted if not bool(scores.tensors[name].any())]


def findings(mask: Mask, known: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What is odd about a mask and what `observe` saw.

    Raises:
        ValueError: what was seen is of another kind than `observe` says it.

    Examples:
        >>> mask = Mask({"0.weight": torch.zeros(2, 2, dtype=torch.bool), "2.weight": torch.ones(1, 2).bool()})
        >>> print(findings(mask, {})[0].text)
        nothing is kept of 0.weight, so that its outputs may no longer depend on its inputs; keep a floor of some ...
    """
    seen = {name: kind for name, kind in _SEEN.items() if name in known}
    checked = {name: declared(kind, known[name], f"the ticket's checks, {name}") for name, kind in seen.items()}
    known = dict(known) | checked
    found: dict[str, str] = {}
    collapsed = collapsed_layers(mask)
    effective = known.get("effective_density")
    if collapsed:
        if effective is None:
            cut = ", so that its outputs may no longer depend on its inputs"
        elif effective:
            cut = ", so that its outputs depend on its inputs by other ways alone, such as shortcuts"
        else:
            cut = ", so that its outputs no longer depend on its inputs"
        found["collapsed"] = (
            f"nothing is kept of {listed(collapsed)}{cut}; keep a floor of some weights in each layer, take a higher "
            "density or another method"
        )
    if isinstance(effective, float) and effective < FAR_BELOW * mask.density and not collapsed:
        found["effective_density"] = (
            f"only {round(effective * mask.total):,} of the {mask.kept:,} kept weights lie on a path of kept ones from "
            "an input to an output; a method that keeps paths whole, such as SynFlow, wastes none"
        )
    elif effective is None and "effective_density_unknown" in known:
        found["effective_density"] = f"its effective density is not known, since {known['effective_density_unknown']}"
    lots = known.get("by_lot", 0)
    if lots > LOTS * mask.kept:
        found["by_lot"] = (
            f"{100 * lots / mask.kept:.0f} % of the kept weights were chosen by lot among weights of the same score; "
            "zero-initialised weights or gains (the last of each residual block), a dead network or too small a batch "
            "make such ties"
        )
    zeros = [name for name in known.get("only_zeros", ()) if name not in collapsed]
    if zeros:
        found["only_zeros"] = (
            f"the criterion gives only zeros to {listed(zeros)}, so that it says nothing there; look for a layer that "
            "is not used, or whose gradient or signal vanishes"
        )
    beside = known.get("not_prunable", {})
    if beside:
        found["not_prunable"] = (
            f"{sum(beside.values()):,} weights in matrices of unknown layers stay whole and are not counted "
            f"({listed(beside)}); sc.register_prunable names them"
        )
    classes = known.get("missing_classes", ())
    if classes:
        found["missing_classes"] = (
            f"the scoring batch has no example of {'the classes' if len(classes) > 1 else 'class'} {listed(classes)}; "
            "take a larger or a balanced one where the training split has them"
        )
    frozen = known.get("frozen", ())
    if frozen:
        frozen_is, it = ("is frozen and was", "it") if len(frozen) == 1 else ("are frozen and were", "them")
        found["frozen"] = f"{listed(frozen)} {frozen_is} left whole and uncounted; include {it} to prune {it}"
    return tuple(Finding(kind, text) for kind, text in found.items())
