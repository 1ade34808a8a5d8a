"""Ticket anatomy: overlap of tickets, their common core, layers, weights before and after training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.charts import curves, heat_map, stepped
from scratchcard.analysis.report.page import Block, Cell, Chart, Data, Panels, Section, Table, plain
from scratchcard.analysis.report.panels import entries_of
from scratchcard.analysis.weights import BIN

if TYPE_CHECKING:
    import pandas as pd

PANELS = 24
"""Histograms of at most so many tickets, at the lowest density."""
WITH_TEXT = 9
"""Tickets up to which a matrix has numbers in its cells."""
PARTS = {"initial": "all, initial", "initial_kept": "kept, initial", "final_kept": "kept, trained"}


def tickets(anatomy: pd.DataFrame | None, data: Data) -> list[Section]:
    """Four sections for each network and task: overlap, common core, layers, weights."""
    if anatomy is None or anatomy.empty:
        return []
    sections: list[Section] = []
    places = anatomy[["workload", "network", "task"]].drop_duplicates()
    for name, network, task in places.itertuples(index=False):
        rows = anatomy[anatomy["workload"] == name]
        for title, about, blocks in (
            ("Overlap", _OVERLAP, _overlap(name, rows, data)),
            ("Common core", _CORE, _core(name, rows, data)),
            ("Layers", _LAYERS, list(_layers(rows))),
            ("Kept weights", _WEIGHTS, _weights(name, rows, data)),
        ):
            if blocks:
                sections.append(Section(f"{title}: {network} on {task}", about, tuple(blocks), folded=bool(sections)))
    return sections


_OVERLAP = (
    "Jaccard index (weights that both tickets keep / weights that at least one keeps) of each two methods' tickets of "
    "one initialisation, mean over seeds. 'Chance' is that of independent masks of the same densities."
)
_CORE = (
    "How many weights at least k of the methods' tickets of one initialisation keep, mean over seeds, beside what "
    "independent masks of the same (layer) densities would share."
)
_LAYERS = (
    "Density and live units (on a path of kept weights from an input to an output) of each layer, mean over seeds."
)
_WEIGHTS = (
    "Distribution of the weights in units of their layer's initial standard deviation, all layers and seeds together. "
    "Sarle's bimodality coefficient above 0.556 hints at two modes; a central share well below 0.134, that of a normal "
    "distribution, hints at a gap at zero."
)


def _overlap(name: str, rows: pd.DataFrame, data: Data) -> list[Block]:
    found = rows[rows["kind"] == "overlap"]
    charts = []
    short: dict[str, str] = {}
    for density, part in found.groupby("density", sort=True):
        wide = part.pivot_table(index=["label", "other"], columns="name", values="value").reset_index()
        labels = sorted(set(wide["label"]) | set(wide["other"]))
        short = shortened(labels)
        if len(labels) < 2:
            continue
        panel = f"density {density:g}"
        cells = []
        for row in wide.to_dict("records"):
            spread = row.get("spread")
            common = {
                "panel": panel,
                "value": row["jaccard"],
                "text": f"{row['jaccard']:.2f}",
                "full": f"{row['jaccard']:.3f}"
                + (f" (standard deviation {spread:.3f})" if spread == spread and spread is not None else ""),
                "chance": f"{row['chance']:.3f}" if "chance" in row else "–",
            }
            cells.append(common | {"row": short[row["label"]], "column": short[row["other"]]})
            if row["label"] != row["other"]:
                cells.append(common | {"row": short[row["other"]], "column": short[row["label"]]})
        key = data.add(f"overlap {name} {panel}", cells)
        tip = {"row": "ticket", "column": "other", "full": "Jaccard index", "chance": "chance"}
        values = [cell["value"] for cell in cells]
        domain = (min(0.0, plain(min(values))), max(plain(max(values)), 0.01))
        texts = len(labels) <= WITH_TEXT
        names = list(short.values())
        spec = heat_map(key, panel, names, names, domain, tip, titles=("", ""), texts=texts)
        text = f"Heat map of Jaccard indices between tickets at {panel}."
        charts.append(Chart(spec, panel, text, width=170 + (36 if texts else 17) * len(names)))
    if not charts:
        return []
    caption = "Darker is less overlap, each panel on its own scale from 0; point at a cell for its value and chance."
    if short != {label: label for label in short}:
        caption += f" All are called '… {next(iter(short)).removeprefix(next(iter(short.values())))}'."
    return [Panels(tuple(charts), caption)]


def shortened(labels: list[str]) -> dict[str, str]:
    """Label to the label without what all end with, from a comma on: `snip, UMS 100` to `snip`."""
    ends = {label.partition(", ")[2] for label in labels}
    if len(ends) > 1 or "" in ends:
        return {label: label for label in labels}
    return {label: label.partition(", ")[0] for label in labels}


def _core(name: str, rows: pd.DataFrame, data: Data) -> list[Block]:
    found = rows[(rows["kind"] == "core") & (rows["value"] > 0)]
    names = {
        "weights": "kept by at least k",
        "expected": "expected by chance",
        "expected_by_layer": "expected by chance, layer densities",
    }
    charts = []
    for density, part in found.groupby("density", sort=True):
        points = [
            {"entry": names[kind], "x": at, "mean": mean, "low": mean, "high": mean, "text": f"{mean:,.4g}"}
            for kind, at, mean in part.groupby(["name", "at"], as_index=False)[["value"]].mean().itertuples(index=False)
            if kind in names
        ]
        if not points:
            continue
        key = data.add(f"core {name} {density:g}", points)
        last, most = max(point["x"] for point in points), max(point["mean"] for point in points)
        x = {
            "title": "k, tickets that keep a weight",
            "scale": {"domain": [0.7, last + 0.3], "nice": False},
            "axis": {"format": "d", "tickMinStep": 1},
        }
        y = {
            "title": "weights (log axis)",
            "scale": {"type": "log", "domain": [0.5, plain(1.4 * most)], "nice": False},
            "axis": {"tickCount": 5, "format": "~s"},
        }
        there = {point["entry"] for point in points}
        entries = entries_of([entry for entry in names.values() if entry in there])
        spec = curves(key, entries, x, y, {"entry": "", "x": "k", "text": "weights"})
        charts.append(Chart(spec, f"density {density:g}", "Line plot of the core's size against k.", entries))
    return [Panels(tuple(charts), "The common core of the tickets of one initialisation.")] if charts else []


def _layers(rows: pd.DataFrame) -> Iterator[Block]:
    for density, part in rows[rows["kind"] == "layer"].groupby("density", sort=True):
        means = part.pivot_table(index="label", columns=["layer", "name"], values="value", sort=False)
        layers = list(dict.fromkeys(part["layer"]))
        cells = []
        for label in means.index:
            line = [Cell(str(label))]
            for layer in layers:
                share = means.loc[label].get((layer, "density"), float("nan"))
                live = means.loc[label].get((layer, "live_units"), float("nan"))
                units = means.loc[label].get((layer, "units"), float("nan"))
                note = f"{live:.0f} of {units:.0f} units live" if live == live and units == units else ""
                line.append(Cell(f"{share:.4g}" if share == share else "–", float(share), note=note))
            cells.append(line)
        caption = f"Density of each layer and its live units, tickets of density {density:g}."
        yield Table.of(caption, ("ticket", *layers), cells)


def _weights(name: str, rows: pd.DataFrame, data: Data) -> list[Block]:
    blocks: list[Block] = []
    counted = rows[(rows["kind"] == "histogram") & (rows["layer"].fillna("") == "")]
    pruned = counted[counted["density"] < 1]
    if not pruned.empty:
        lowest = pruned[pruned["density"] == pruned["density"].min()]
        blocks.append(_histograms(name, lowest, data))
    numbers = rows[(rows["kind"] == "weights") & (rows["layer"].fillna("") == "")]
    columns = {
        "initial_kept.bimodality": "bimodality, initial",
        "final_kept.bimodality": "bimodality, trained",
        "initial_kept.central_share": "central share, initial",
        "final_kept.central_share": "central share, trained",
        "same_sign": "sign kept in training",
    }
    wide = numbers.pivot_table(index=["label", "density"], columns="name", values="value", sort=False)
    there = [column for column in columns if column in wide.columns]
    if there:
        cells = [
            [
                Cell(str(label)),
                Cell(f"{density:g}", float(density)),
                *(Cell(f"{row[c]:.3f}" if row[c] == row[c] else "–", float(row[c])) for c in there),
            ]
            for label, density, row in ((*key, wide.loc[key]) for key in wide.index)
        ]
        heads = ("ticket", "density", *(columns[column] for column in there))
        blocks.append(Table.of("The kept weights in numbers, means over seeds.", heads, cells))
    return blocks


def _histograms(name: str, rows: pd.DataFrame, data: Data) -> Panels:
    density = float(rows["density"].iloc[0])
    labels = list(dict.fromkeys(rows["label"]))
    there = set(rows["name"])
    entries = entries_of([title for part, title in PARTS.items() if part in there], "line")
    points: list[dict[str, Any]] = []
    for label, part in ((label, part) for label in labels[:PANELS] for part in PARTS):
        group = rows[(rows["label"] == label) & (rows["name"] == part)]
        if group.empty:
            continue
        counts = dict(zip(group["at"], group["value"], strict=True))
        total = sum(counts.values())
        # Empty bins are not in the file; one more on each side brings the line down to zero.
        for k in range(math.floor(min(counts) / BIN) - 1, math.floor(max(counts) / BIN) + 2):
            at = (k + 0.5) * BIN
            points.append({"panel": label, "entry": PARTS[part], "x": at, "y": counts.get(at, 0.0) / total})
    key = data.add(f"histogram {name}", points)
    x = {"title": "weight / initial standard deviation of its layer"}
    y = {"title": "share of the weights"}
    charts = tuple(
        Chart(
            stepped(key, label, x, y, entries),
            str(label),
            f"Histogram of the weights of {label}, before and after training.",
            entries,
        )
        for label in labels[:PANELS]
    )
    caption = f"Weights of the tickets of density {density:g}; bins of a quarter of a standard deviation."
    if len(labels) > PANELS:
        caption += f" The first {PANELS} of {len(labels)} methods."
    return Panels(charts, caption)
