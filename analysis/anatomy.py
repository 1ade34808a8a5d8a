"""Ticket anatomy: how tickets overlap, what their layers keep, how their weights are distributed; as one Parquet file.

Tickets are read one at a time and dropped again; of each, the mask stays at one bit a weight, and a few numbers. The
file that comes of it is all that a report needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchcard.analysis.overlap import PackedMask, chance_matrix, core_curve, jaccard_matrix
from scratchcard.analysis.ticket_layers import layer_rows
from scratchcard.analysis.ticket_origins import Origin, labels_of, ticket_files, workloads_of
from scratchcard.analysis.weights import EDGES, Distribution, same_sign, weight_distributions
from scratchcard.artefacts.files import written_beside
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.run_records import read_result

if TYPE_CHECKING:
    import pandas as pd

FORMAT_KEY = b"scratchcard.anatomy"
FORMAT_VERSION = b"1"
COLUMNS = (
    "kind",
    "workload",
    "network",
    "task",
    "density",
    "seed",
    "label",
    "other",
    "layer",
    "name",
    "at",
    "value",
)
OVERLAPS = ("workload", "task", "density", "label_a", "label_b", "jaccard", "spread", "chance", "chance_by_layer")
_TRAINING = ("steps", "best_step", "early_stopped", "diverged", "validation_accuracy", "validation_loss")


def anatomy(
    source: str | Path | Iterable[str | Path],
    out: str | Path | None = None,
    *,
    density: float | None = None,
    digests: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The anatomy of tickets, in long form: a number a row, NaN left out.

    Columns: kind, workload, network, task, density (asked for), seed (NA: over all seeds), label, other, layer (`""`:
    all), name, at, value. By kind:

    - `ticket`: kept, prunable, density, effective_density; of a trained one steps, best_step, early_stopped, diverged,
      validation_accuracy, validation_loss.
    - `layer`: size, kept, density, units, live_units, dead_units, effective_density (see `layers`).
    - `weights`: `PART.count`, `.bimodality`, `.central_share`, `.near_zero`, `.root_mean_square` (see `Distribution`),
      and `same_sign`.
    - `histogram`: name PART, value a count over all seeds in the bin whose middle is `at`; empty bins are left out.
    - `overlap`: jaccard, spread, chance, chance_by_layer and seeds of label and other (see `overlaps`).
    - `core`: name weights, expected or expected_by_layer: how many weights at least `at` of a place's tickets keep.

    Args:
        source: a results folder, a folder of tickets, a ticket, or several of them.
        out: also write it to this Parquet file; written beside and renamed.
        density: only the tickets of this density.
        digests: only the tickets of these runs.
        progress: called with (done, total).

    Memory: about 45 KB a ticket of 266,200 weights.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: no tickets, a damaged one, one without provenance, or two of one run.
    """
    files = ticket_files(source, digests=digests)
    origins: list[Origin] = []
    masks: list[PackedMask] = []
    numbers: list[tuple[int, str, str, str, float]] = []
    histograms: list[tuple[int, list[Distribution]]] = []
    known: dict[bytes, list[Distribution]] = {}
    densities: set[float] = set()
    for done, path in enumerate(files, 1):
        ticket = Ticket.load(path)
        record = read_result(path.parent.parent, path.stem) or {}
        origin = Origin.of(ticket, str(path), record.get("label"))
        densities.add(origin.density)
        if density is None or origin.density == density:
            place = len(origins)
            origins.append(origin)
            masks.append(PackedMask.of(ticket.mask))
            distributions = weight_distributions(ticket, known)
            histograms.append((place, distributions))
            numbers += [(place, *entry) for entry in _numbers(ticket, record, distributions)]
        if progress is not None:
            progress(done, len(files))
    if not origins:
        there = ", ".join(f"{value:g}" for value in sorted(densities))
        raise ValueError(f"no ticket of density {density:g}; there are tickets of {there}")
    frame = _frame(origins, masks, numbers, histograms)
    if out is not None:
        _write(frame, Path(out))
    return frame


def read_anatomy(path: str | Path) -> pd.DataFrame:
    """Read what `anatomy` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no anatomy, or of another version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no anatomy at {path}: expected a file that `scratchcard anatomy --out` wrote")
    try:
        schema = pq.read_schema(path)
        if FORMAT_KEY not in (schema.metadata or {}):
            raise ValueError(f"{path} is a Parquet file but no anatomy; make one with `scratchcard anatomy --out`")
        version = schema.metadata[FORMAT_KEY]
        if version != FORMAT_VERSION:
            raise ValueError(f"{path} has anatomy version {version!r}, this release reads {FORMAT_VERSION!r}")
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} is damaged or no Parquet file ({reason}); make it again") from error
    return frame


def overlaps(tickets: Iterable[Ticket | str | Path]) -> pd.DataFrame:
    """How much the tickets of each two methods overlap: a row a workload, density and pair.

    Tickets are compared with those of the same workload, density, seed and data order, whose weights are at the same
    places; then averaged over seeds. Between seeds positions are not comparable, so that a method is compared with
    itself only where one initialisation has several tickets: given weights with several seeds, or another order of the
    data. Such a row has the same label twice and the mean over pairs of tickets. Weights drawn anew
    (`initial="bimodal"`) share no hidden units' order with others. Dense networks are left out.

    Columns: workload, task, density, label_a, label_b, jaccard, spread (standard deviation over seeds, NaN of one),
    chance (independent masks of these densities), chance_by_layer (independent masks of these layer densities), seeds.

    Raises:
        ValueError: a damaged ticket, one without provenance, or two tickets of one run.
    """
    origins, masks = [], []
    for place, item in enumerate(tickets):
        ticket = item if isinstance(item, Ticket) else Ticket.load(item)
        origins.append(Origin.of(ticket, f"ticket {place}" if isinstance(item, Ticket) else str(item)))
        masks.append(PackedMask.of(ticket.mask))
    return _overlaps(origins, masks, labels_of(origins))


def _numbers(
    ticket: Ticket, record: Mapping[str, Any], distributions: Sequence[Distribution]
) -> Iterator[tuple[str, str, str, float]]:
    """(kind, layer, name, value) of one ticket."""
    rows = layer_rows(ticket)
    live: dict[str, Any] = {}
    effective = float(sum(row["effective_density"] * row["size"] for row in rows) / ticket.mask.total)
    if np.isnan(effective):
        # Networks that a ticket alone does not tell: what the run itself found.
        effective, live = record.get("effective_density", effective), record.get("live_units", {})
    yield from (("ticket", "", name, value) for name, value in _whole(ticket, effective))
    for row in rows:
        row["live_units"] = live.get(row["layer"], row["live_units"])
        yield from (("layer", row["layer"], name, float(value)) for name, value in row.items() if name != "layer")
    for d in distributions:
        for name in ("count", "bimodality", "central_share", "near_zero", "root_mean_square"):
            yield "weights", d.layer, f"{d.part}.{name}", float(getattr(d, name))
    yield from (("weights", layer, "same_sign", share) for layer, share in same_sign(ticket).items())


def _whole(ticket: Ticket, effective: float) -> Iterator[tuple[str, float]]:
    yield from (("kept", float(ticket.mask.kept)), ("prunable", float(ticket.mask.total)))
    yield from (("density", ticket.mask.density), ("effective_density", effective))
    training = ticket.provenance.get("training")
    told = training if isinstance(training, dict) else {}
    for name in _TRAINING:
        value = told.get(name)
        if isinstance(value, int | float):
            yield name, float(value)


def _frame(
    origins: Sequence[Origin],
    masks: Sequence[PackedMask],
    numbers: Sequence[tuple[int, str, str, str, float]],
    histograms: Sequence[tuple[int, list[Distribution]]],
) -> pd.DataFrame:
    import pandas as pd

    labels, workloads = labels_of(origins), workloads_of(origins)
    rows: list[tuple[int, str, int | None, str, str, str, str, float, float]] = [
        (place, kind, origins[place].seed, labels[place], "", layer, name, np.nan, value)
        for place, kind, layer, name, value in numbers
    ]
    pooled: dict[tuple[Any, ...], tuple[int, Any]] = {}
    for place, distributions in histograms:
        for d in distributions:
            key = (workloads[place], origins[place].density, labels[place], d.layer, d.part)
            first, counts = pooled.get(key, (place, 0))
            pooled[key] = (first, counts + d.histogram)
    middles = (EDGES[:-1] + EDGES[1:]) / 2
    for (_, _, label, layer, part), (place, counts) in pooled.items():
        rows += [
            (place, "histogram", None, label, "", layer, part, float(middles[at]), float(counts[at]))
            for at in np.flatnonzero(counts)
        ]
    where = {
        (workload, origin.density): place
        for place, (workload, origin) in enumerate(zip(workloads, origins, strict=True))
    }
    for pair in _overlaps(origins, masks, labels).to_dict("records"):
        place = where[pair["workload"], pair["density"]]
        rows += [
            (place, "overlap", None, pair["label_a"], pair["label_b"], "", name, np.nan, float(pair[name]))
            for name in ("jaccard", "spread", "chance", "chance_by_layer", "seeds")
        ]
    for there in _places(origins):
        curve = core_curve([masks[place] for place in there])
        for name in ("weights", "expected", "expected_by_layer"):
            rows += [
                (there[0], "core", origins[there[0]].seed, "", "", "", name, float(at), float(value))
                for at, value in zip(curve["at_least"], curve[name], strict=True)
            ]
    frame = pd.DataFrame(rows, columns=["place", "kind", "seed", "label", "other", "layer", "name", "at", "value"])
    frame = frame[frame["value"].notna()].reset_index(drop=True)
    frame["workload"] = np.array(workloads, dtype=object)[frame["place"]]
    for name in ("network", "task", "density"):
        frame[name] = np.array([getattr(origin, name) for origin in origins])[frame["place"]]
    text = [name for name in COLUMNS if name not in ("density", "seed", "at", "value")]
    return frame[list(COLUMNS)].astype({"seed": "Int64", **dict.fromkeys(text, "str")})


def _places(origins: Sequence[Origin]) -> list[list[int]]:
    """The tickets whose weights are at the same places: two or more, not dense."""
    places: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, origin in enumerate(origins):
        if origin.density < 1.0:
            places[origin.settings, origin.density, origin.seed, origin.data_seed].append(place)
    return [there for there in places.values() if len(there) > 1]


def _overlaps(origins: Sequence[Origin], masks: Sequence[PackedMask], labels: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    found: list[tuple[Any, ...]] = []
    workloads = workloads_of(origins)

    def add(there: Sequence[int], names: Sequence[str]) -> None:
        own = {str(place): masks[place] for place in there}
        tables = [jaccard_matrix(own), chance_matrix(own), chance_matrix(own, by_layer=True)]
        values = [table.to_numpy() for table in tables]
        origin, workload = origins[there[0]], workloads[there[0]]
        for i, j in combinations(range(len(there)), 2):
            a, b = sorted((names[i], names[j]))
            found.append((workload, origin.task, origin.density, a, b, *(value[i, j] for value in values)))

    for there in _places(origins):
        add(there, [labels[place] for place in there])
    repeats: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, origin in enumerate(origins):
        if origin.density < 1.0:
            repeats[origin.settings, origin.density, origin.start, labels[place], origin.method].append(place)
    for there in repeats.values():
        if len(there) > 1:
            add(there, [labels[place] for place in there])
    keys = ["workload", "task", "density", "label_a", "label_b"]
    frame = pd.DataFrame(found, columns=[*keys, "jaccard", "chance", "chance_by_layer"])
    groups = frame.groupby(keys, sort=True)
    means = groups[["jaccard", "chance", "chance_by_layer"]].mean()
    means["spread"], means["seeds"] = groups["jaccard"].std(), groups.size()
    return means.reset_index()[[*OVERLAPS, "seeds"]]


def _write(frame: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), FORMAT_KEY: FORMAT_VERSION})
    with written_beside(path) as beside:
        pq.write_table(table, beside, compression="zstd")
