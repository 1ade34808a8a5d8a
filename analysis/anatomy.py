"""Ticket anatomy: how tickets overlap, what their layers keep, how their weights are distributed; as one Parquet file.

Tickets are read one at a time and dropped again; of each, the mask stays at one bit a weight, and a few numbers. The
file that comes of it is all that a report needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scratchcard.analysis.anatomy_tables import PLACE
from scratchcard.analysis.overlap import PackedMask, chances, core_curve, jaccards
from scratchcard.analysis.tickets import Origin, labels_of, layer_rows, ticket_files, workloads_of
from scratchcard.analysis.weights import EDGES, Distribution, same_sign, weight_distributions
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.parquet_file import damage_told
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.run_records import read_result
from scratchcard.words import quoted, shortened

if TYPE_CHECKING:
    import pandas as pd

FORMAT_KEY = b"scratchcard.anatomy"
FORMAT_VERSION = b"1"
COLUMNS = ["kind", "workload", "network", "task", "density", "seed", "label", "other", "layer", "name", "at", "value"]
KINDS = {"density": "float64", "seed": "int64", "at": "float64", "value": "float64"}
"""Of the columns that are no texts, as Arrow calls them."""
_TEXTS = [name for name in COLUMNS if name not in KINDS]
_TRAINING = ("steps", "best_step", "early_stopped", "diverged", "validation_accuracy", "validation_loss")


def anatomy(
    source: str | Path | Iterable[str | Path],
    out: str | Path | None = None,
    *,
    density: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The anatomy of tickets, in long form: a number a row, NaN left out.

    Columns: kind, workload, network, task, density (asked for), seed (NA: over all seeds), label, other, layer (`""`:
    all), name, at, value. By kind:

    - `ticket`: kept, prunable, density, effective_density; of a trained one steps, best_step, early_stopped, diverged,
      validation_accuracy, validation_loss.
    - `layer`: size, kept, density, units, live_units, dead_units, effective_density (see `layer_rows`).
    - `weights`: `PART.count`, `.bimodality`, `.central_share`, `.near_zero`, `.root_mean_square` (see `Distribution`),
      and `same_sign`.
    - `histogram`: name PART, value a count over all seeds in the bin whose middle is `at`; empty bins are left out.
    - `overlap`: of label and other, means over seeds: jaccard, its spread (standard deviation over seeds), chance
      (independent masks of these densities), chance_by_layer (of these layer densities), and how many seeds.
    - `core`: name weights, expected or expected_by_layer: how many weights at least `at` of a place's tickets keep.

    Tickets are compared with those of the same workload, density, seed and data order, whose weights are at the same
    places; then averaged over seeds. Between seeds positions are not comparable, so that a method is compared with
    itself only where one initialisation has several tickets: given weights with several seeds, or another order of the
    data. Such a row has the same label twice and the mean over pairs of tickets. Weights drawn anew
    (`initial="bimodal"`) share no hidden units' order with others. Dense networks are left out.

    Args:
        source: a results folder, a folder of tickets, a ticket, or several of them.
        out: also write it to this Parquet file; written beside and renamed.
        density: only the tickets of this density.
        progress: called with (done, total).

    Memory: about 45 KB a ticket of 266,200 weights.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: no tickets, a damaged one, one without provenance, or two of one run.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 8), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(8, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> methods = [sc.Method("magnitude"), sc.Method("snip")]
        >>> runs = [sc.Experiment(workload, method, density=0.5, seed=0) for method in methods]
        >>> _ = sc.sweep(runs, "dissected", keep_tickets=True)
        >>> rows = anatomy("dissected")
        >>> rows = rows[rows["name"].isin(["jaccard", "chance"])]
        >>> rows[["label", "other", "name", "value"]].round(2).values.tolist()
        [['magnitude', 'snip', 'jaccard', 0.45], ['magnitude', 'snip', 'chance', 0.33]]
    """
    files = ticket_files(source)
    origins: list[Origin] = []
    masks: list[PackedMask] = []
    numbers: list[tuple[Any, ...]] = []
    histograms: list[tuple[int, str, str, NDArray[np.int64]]] = []
    known: dict[str, list[Distribution]] = {}
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
            histograms += [(place, d.layer, d.part, d.histogram) for d in distributions]
            numbers += [(place, *entry) for entry in _numbers(ticket, record, distributions)]
        if progress is not None:
            progress(done, len(files))
    if not origins:
        there = ", ".join(f"{value:g}" for value in sorted(densities))
        raise ValueError(f"no ticket of density {density:g}; there are tickets of {there}")
    frame = _frame(origins, masks, numbers, histograms)
    if out is not None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(frame, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), FORMAT_KEY: FORMAT_VERSION})
        with written_beside(Path(out)) as beside:
            pq.write_table(table, beside, compression="zstd", write_page_checksum=True)
    return frame


def read_anatomy(path: str | Path) -> pd.DataFrame:
    """Read what `anatomy` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no anatomy, or of another version.

    Examples:
        >>> _ = sc.prune("lenet_300_100", "digits", 0.1, method="snip").save("snip.safetensors")
        >>> written = anatomy("snip.safetensors", "anatomy.parquet")
        >>> read_anatomy("anatomy.parquet").equals(written)
        True
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no anatomy at {path}: expected a file that `scratchcard anatomy --out` wrote")
    with damage_told(path, "make it again"):
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
    version = (table.schema.metadata or {}).get(FORMAT_KEY)
    if version is None:
        raise ValueError(f"{path} is a Parquet file but no anatomy; make one with `scratchcard anatomy --out`")
    if version != FORMAT_VERSION:
        raise ValueError(f"{path} has anatomy version {quoted(version, 40)}, this release reads {FORMAT_VERSION!r}")
    try:  # by its columns, whatever else the file says of them
        cells = pa.schema([(name, KINDS.get(name, "large_string")) for name in COLUMNS])
        frame: pd.DataFrame = table.replace_schema_metadata(None).cast(cells).to_pandas()
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(
            f"{path} is damaged: its columns are not those of an anatomy ({shortened(str(error))}); make it again"
        ) from error
    return frame.astype({"seed": "Int64", **dict.fromkeys(_TEXTS, "str")})


def _numbers(ticket: Ticket, record: Mapping[str, Any], parts: Sequence[Distribution]) -> Iterator[tuple[Any, ...]]:
    """(kind, layer, name, value) of one ticket."""
    rows = layer_rows(ticket)
    live: dict[str, Any] = {}
    effective = sum(row["effective_density"] * row["size"] for row in rows) / ticket.mask.total
    if np.isnan(effective):
        # Networks that a ticket alone does not tell: what the run itself found.
        effective, live = record.get("effective_density", effective), record.get("live_units", {})
    whole = {"kept": ticket.mask.kept, "prunable": ticket.mask.total, "density": ticket.mask.density}
    training = ticket.provenance.get("training") or {}
    whole |= {"effective_density": effective} | {name: training.get(name) for name in _TRAINING}
    yield from (("ticket", "", name, float(value)) for name, value in whole.items() if value is not None)
    for row in rows:
        row["live_units"] = live.get(row["layer"], row["live_units"])
        yield from (("layer", row["layer"], name, float(value)) for name, value in row.items() if name != "layer")
    for d in parts:
        for name in ("count", "bimodality", "central_share", "near_zero", "root_mean_square"):
            yield "weights", d.layer, f"{d.part}.{name}", float(getattr(d, name))
    yield from (("weights", layer, "same_sign", share) for layer, share in same_sign(ticket).items())


def _frame(
    origins: list[Origin], masks: list[PackedMask], numbers: Sequence[tuple[Any, ...]], histograms: Sequence[Any]
) -> pd.DataFrame:
    import pandas as pd

    about = pd.DataFrame([asdict(origin) for origin in origins])
    about["label"], about["workload"] = labels_of(origins), workloads_of(origins)
    own = pd.DataFrame(numbers, columns=["place", "kind", "layer", "name", "value"])
    own = own.join(about[["label", "seed"]], on="place")
    bars = pd.DataFrame(histograms, columns=["place", "layer", "name", "value"])
    bars = bars.join(about[["workload", "density", "label"]], on="place")
    pooled = bars.groupby(["workload", "density", "label", "layer", "name"], sort=False)
    bars = pooled.agg(place=("place", "first"), value=("value", "sum")).reset_index()
    bars["at"] = [list((EDGES[:-1] + EDGES[1:]) / 2)] * len(bars)
    bars = bars.assign(kind="histogram").explode(["at", "value"])
    bars = bars[bars["value"] > 0]
    pruned = about[about["density"] < 1]
    together = [
        list(part.index) for _, part in pruned.groupby(["settings", "density", "seed", "data_seed"], sort=False)
    ]
    cores = []
    for there in together:
        if len(there) > 1:
            curve = core_curve([masks[place] for place in there]).rename(columns={"at_least": "at"}).melt("at")
            curve = curve.rename(columns={"variable": "name"})
            cores.append(curve.assign(place=there[0], kind="core", seed=about["seed"][there[0]]))
    repeats = pruned.groupby(["settings", "density", "start", "label", "method"], sort=False)
    pairs = _overlaps(masks, about, [*together, *(list(part.index) for _, part in repeats)])
    frame = pd.concat([own, bars, pairs, *cores], ignore_index=True)
    frame = frame[frame["value"].notna()].reset_index(drop=True)
    for name in ("workload", "network", "task", "density"):
        frame[name] = about[name].to_numpy()[frame["place"].astype(int)]
    frame = frame.reindex(columns=COLUMNS)
    frame[_TEXTS] = frame[_TEXTS].fillna("")
    return frame.astype({"seed": "Int64", "at": float, "value": float, **dict.fromkeys(_TEXTS, "str")})


def _overlaps(masks: Sequence[PackedMask], about: pd.DataFrame, groups: Sequence[Sequence[int]]) -> pd.DataFrame:
    """How much the tickets of each two methods overlap, within each group of tickets; means over the groups."""
    import pandas as pd

    found = []
    for there in groups:
        own = [masks[place] for place in there]
        tables = (jaccards(own), chances(own), chances(own, by_layer=True)) if len(own) > 1 else ()
        for i, j in combinations(range(len(there)), 2):
            labels = sorted(about["label"][[there[i], there[j]]])
            found.append((there[0], *about.loc[there[0], PLACE], *labels, *(table[i, j] for table in tables)))
    measures = ["jaccard", "chance", "chance_by_layer"]
    frame = pd.DataFrame(found, columns=["place", *PLACE, "label", "other", *measures])
    grouped = frame.groupby([*PLACE, "label", "other"])
    means = grouped[measures].mean().assign(spread=grouped["jaccard"].std(), seeds=grouped.size())
    means["place"] = grouped["place"].first()
    long = means.reset_index().melt(["place", *PLACE, "label", "other"], var_name="name")
    return long.drop(columns=PLACE).assign(kind="overlap")
