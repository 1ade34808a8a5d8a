"""What tickets say: their files, where they come from, and what they keep of each layer."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from scratchcard.artefacts.digest import json_digest
from scratchcard.pruning.connectivity import Connectivity, effective_mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.ticket import Ticket

_NAMES = ("predictor", "predictor_name", "predictor_identity")  # a predictor is what its digest says


@dataclass(frozen=True)
class Origin:
    """What a ticket's provenance says about how it was found.

    Attributes:
        name: of the ticket in messages: its file.
        network: name of the network.
        task: name of the task.
        settings: digest of the whole workload: network, data, recipe, given weights.
        label: of the method.
        method: digest of the whole method.
        predictor: short name of the method's predictor, "" without one.
        density: that was asked for.
        seed: of the initial weights, the scoring batch and ties.
        data_seed: of the data order while pruning.
        start: what the initial weights were drawn from: the digest of given weights, else the seed.

    Examples:
        >>> ticket = sc.prune("lenet_300_100", "digits", density=0.1, method="magnitude", seed=3)
        >>> origin = Origin.of(ticket, "ticket.safetensors")
        >>> origin.network, origin.task, origin.label, origin.density, origin.seed
        ('lenet_300_100', 'digits', 'magnitude', 0.1, 3)
    """

    name: str
    network: str
    task: str
    settings: str
    label: str
    method: str
    predictor: str
    density: float
    seed: int
    data_seed: int
    start: str

    @classmethod
    def of(cls, ticket: Ticket, name: str, label: str | None = None) -> Origin:
        """Read a ticket's provenance; `label` is what the run's record calls it, where there is one.

        Raises:
            ValueError: it does not say enough.
        """
        told = ticket.provenance
        try:
            workload, method, seed = dict(told["workload"]), dict(told["method"]), int(told["seed"])
            workload.pop("weights", None)  # the file's path: the weights are what their digest says
            start = seed if method.get("initial") == "bimodal" else workload.get("weights_sha256", seed)
            return cls(
                name=name,
                network=str(workload["network"]),
                task=str(workload["task"]),
                settings=json_digest(workload),
                label=label or str(told["label"]),
                method=json_digest({key: value for key, value in method.items() if key not in _NAMES}),
                predictor=str(method.get("predictor_name") or Path(method.get("predictor") or "").name),
                density=float(told["density"]),
                seed=seed,
                data_seed=int(told.get("data_seed", seed)),
                start=str(start),
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{name} does not say how it was found ({reason}): expected a ticket that `scratchcard prune` or "
                "`scratchcard sweep --keep-tickets` wrote"
            ) from error


def ticket_files(source: str | Path | Iterable[str | Path]) -> list[Path]:
    """The ticket files of a results folder (its `tickets/`), of a folder of tickets, or those named.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: no ticket is found.

    Examples:
        >>> (Path("kept") / "tickets").mkdir(parents=True)
        >>> (Path("kept") / "tickets" / "ab12.safetensors").touch()
        >>> [path.name for path in ticket_files("kept")]
        ['ab12.safetensors']
    """
    sources = [Path(source)] if isinstance(source, str | Path) else [Path(place) for place in source]
    files: dict[Path, None] = {}
    for place in sources:
        if not place.exists():
            raise FileNotFoundError(f"there is nothing at {place}: expected a results folder or a ticket")
        folder = place / "tickets" if (place / "tickets").is_dir() else place
        files |= dict.fromkeys(sorted(folder.glob("[!.]*.safetensors")) if place.is_dir() else [place])
    if not files:
        where = ", ".join(map(str, sources)) or "an empty list"
        raise ValueError(
            f"no tickets in {where}: run the sweep with --keep-tickets, which writes them to the folder tickets of the "
            "results"
        )
    return list(files)


def labels_of(origins: Sequence[Origin]) -> list[str]:
    """A label for each ticket, in their order; no two methods of one place share one.

    Labels leave out what grids seldom vary (which predictor, a path's last density). Where two methods of one label
    meet in a workload, density and seed, the predictor's name is added, or the method's digest.

    Raises:
        ValueError: two tickets of one run.

    Examples:
        >>> where = {"network": "lenet", "task": "digits", "density": 0.1, "seed": 0, "data_seed": 0, "start": "0"}
        >>> how = where | {"settings": "s", "label": "predicted"}
        >>> one = Origin(name="one", method="m1", predictor="linear", **how)
        >>> other = Origin(name="other", method="m2", predictor="trees", **how)
        >>> labels_of([one, other])
        ['predicted [linear]', 'predicted [trees]']
    """
    places: dict[tuple[Any, ...], dict[str, Origin]] = defaultdict(dict)
    for origin in origins:
        there = places[origin.settings, origin.density, origin.seed, origin.data_seed, origin.label]
        twin = there.setdefault(origin.method, origin)
        if twin is not origin:
            raise ValueError(f"{twin.name} and {origin.name} are tickets of one and the same run; leave one out")
    named: dict[str, bool] = {}  # labels that need more, and whether predictors' names tell all of them apart
    for (*_, label), there in places.items():
        names = {origin.predictor for origin in there.values()}
        if len(there) > 1:
            named[label] = named.get(label, True) and len(names) == len(there) and "" not in names
    more = [origin.predictor if named.get(origin.label) else origin.method[:6] for origin in origins]
    return [f"{o.label} [{added}]" if o.label in named else o.label for o, added in zip(origins, more, strict=True)]


def workloads_of(origins: Sequence[Origin]) -> list[str]:
    """`network-task` for each ticket; with a digest behind it where several recipes or data share that name.

    >>> where = {"network": "nets:small", "task": "digits", "density": 0.1, "seed": 0, "data_seed": 0, "start": "0"}
    >>> how = {"label": "snip", "method": "m", "predictor": ""}
    >>> workloads_of([Origin(name=digest, settings=digest, **where, **how) for digest in ("ab12cd34", "ef56ab78")])
    ['small-digits [ab12cd]', 'small-digits [ef56ab]']
    """
    named = [(f"{origin.network.rpartition(':')[2]}-{origin.task}", origin.settings) for origin in origins]
    counts = Counter(name for name, _ in set(named))
    return [name if counts[name] == 1 else f"{name} [{settings[:6]}]" for name, settings in named]


def layer_rows(ticket: Ticket) -> list[dict[str, Any]]:
    """One row a layer: layer, size, kept, density, units, live_units, dead_units, effective_density.

    `live_units` lie on a path of kept weights from an input to an output, `dead_units` do not; `effective_density` is
    the share of the layer's weights on such a path. Σ effective_density · size / Σ size is the network's own. These
    four are NaN where the ticket alone does not tell its network. Code named inside a file is never imported.

    >>> row = layer_rows(sc.prune("lenet_300_100", "digits", density=0.1, method="magnitude"))[0]
    >>> row["size"], row["kept"], row["units"], row["live_units"]
    (19200, 4569, 300, 166)
    """
    network = _network_of(ticket)
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
        row = {"layer": name, "size": size, "kept": kept, "density": density, "units": units, "live_units": live}
        rows.append(row | {"dead_units": units - live, "effective_density": on_path})
    return rows


def _network_of(ticket: Ticket) -> nn.Module | None:
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
