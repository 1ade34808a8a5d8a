"""Where tickets come from: the files, and what their provenance says that makes them comparable."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchcard.pruning.ticket import Ticket

FOLDER = "tickets"
ENDING = ".safetensors"
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
    def of(cls, ticket: Ticket, name: str = "the ticket", label: str | None = None) -> Origin:
        """Read a ticket's provenance; `label` is what the run's record calls it, where there is one.

        Raises:
            ValueError: it does not say enough.
        """
        told = ticket.provenance
        workload, method = told.get("workload"), told.get("method")
        try:
            if not isinstance(workload, Mapping) or not isinstance(method, Mapping):
                raise TypeError("it names no workload and method")
            settings = {key: value for key, value in workload.items() if key != "weights"}
            if not isinstance(told["label"], str):
                raise TypeError("its label is no text")
            predictor = method.get("predictor_name") or Path(method.get("predictor") or "").name
            return cls(
                name,
                str(workload["network"]),
                str(workload["task"]),
                _digest(settings),
                label or told["label"],
                _digest({key: value for key, value in method.items() if key not in _NAMES}),
                str(predictor),
                float(told["density"]),
                int(told["seed"]),
                int(told.get("data_seed", told["seed"])),
                str(
                    told["seed"] if method.get("initial") == "bimodal" else workload.get("weights_sha256", told["seed"])
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{name} does not say how it was found ({reason}): expected a ticket that `scratchcard prune` or "
                "`scratchcard sweep --keep-tickets` wrote"
            ) from error


def ticket_files(
    source: str | Path | Iterable[str | Path], *, digests: Collection[str] | None = None
) -> tuple[Path, ...]:
    """The ticket files of a results folder (its `tickets/`), of a folder of tickets, or those named; sorted.

    Args:
        source: a folder, a file, or several of them.
        digests: only the tickets of these runs.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: no ticket is found.
    """
    sources = [Path(source)] if isinstance(source, str | Path) else [Path(place) for place in source]
    files: dict[Path, None] = {}
    for place in sources:
        if place.is_dir():
            folder = place / FOLDER if (place / FOLDER).is_dir() else place
            files |= dict.fromkeys(path for path in sorted(folder.glob(f"*{ENDING}")) if not path.name.startswith("."))
        elif place.is_file():
            files[place] = None
        else:
            raise FileNotFoundError(f"there is nothing at {place}: expected a results folder or a ticket")
    found = tuple(path for path in files if digests is None or path.stem in digests)
    if not found:
        where = ", ".join(map(str, sources)) or "an empty list"
        raise ValueError(
            f"no tickets in {where}: run the sweep with --keep-tickets, which writes them to the folder {FOLDER} of "
            "the results"
        )
    return found


def labels_of(origins: Sequence[Origin]) -> list[str]:
    """A label for each ticket, in their order; no two methods of one place share one.

    Labels leave out what grids seldom vary (which predictor, a path's last density). Where two methods of one label
    meet in a workload, density and seed, the predictor's name is added, or the method's digest.

    Raises:
        ValueError: two tickets of one run.
    """
    runs: dict[tuple[Any, ...], Origin] = {}
    places: dict[tuple[Any, ...], list[Origin]] = defaultdict(list)
    for origin in origins:
        place = (origin.settings, origin.density, origin.seed, origin.data_seed, origin.label)
        twin = runs.setdefault((*place, origin.method), origin)
        if twin is not origin:
            raise ValueError(
                f"{twin.name} and {origin.name} are tickets of one and the same run; leave one of them out"
            )
        places[place].append(origin)
    clashes = {place[-1] for place, there in places.items() if len(there) > 1}
    named = {
        label: all(
            len({origin.predictor for origin in there}) == len(there) and all(origin.predictor for origin in there)
            for place, there in places.items()
            if place[-1] == label and len(there) > 1
        )
        for label in clashes
    }
    return [
        f"{origin.label} [{origin.predictor if named[origin.label] else origin.method[:6]}]"
        if origin.label in clashes
        else origin.label
        for origin in origins
    ]


def workloads_of(origins: Sequence[Origin]) -> list[str]:
    """`network-task` for each ticket; with a digest behind it where several recipes or data share that name."""
    settings: dict[str, set[str]] = defaultdict(set)
    names = [f"{origin.network.rpartition(':')[2]}-{origin.task}" for origin in origins]
    for name, origin in zip(names, origins, strict=True):
        settings[name].add(origin.settings)
    return [
        name if len(settings[name]) == 1 else f"{name} [{origin.settings[:6]}]"
        for name, origin in zip(names, origins, strict=True)
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
