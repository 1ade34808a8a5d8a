"""Ticket anatomy: overlap of tickets, their common core, layers, weights before and after training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import rows_of
from scratchcard.analysis.report.cells import Table, number
from scratchcard.analysis.report.charts import curves, heat_map, log_axis
from scratchcard.analysis.report.legend import entries_of
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section
from scratchcard.analysis.weights import BIN

if TYPE_CHECKING:
    import pandas as pd

PANELS = 24
"""Histograms of at most so many tickets, at the lowest density."""
WITH_TEXT = 9
"""Tickets up to which a matrix has numbers in its cells."""
PARTS = {"initial": "all, initial", "initial_kept": "kept, initial", "final_kept": "kept, trained"}
CORE = {
    "weights": "kept by at least k",
    "expected": "expected by chance",
    "expected_by_layer": "expected by chance, layer densities",
}
NUMBERS = {
    "initial_kept.bimodality": "bimodality, initial",
    "final_kept.bimodality": "bimodality, trained",
    "initial_kept.central_share": "central share, initial",
    "final_kept.central_share": "central share, trained",
    "same_sign": "sign kept in training",
}


def tickets(anatomy: pd.DataFrame | None, data: Data) -> list[Section]:
    """Four sections for each network and task: overlap, common core, layers, weights.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"name": ["jaccard", "chance"], "value": [0.25, 0.05]})
    >>> rows = rows.assign(kind="overlap", workload="lenet-digits", network="lenet", task="digits", density=0.1)
    >>> rows = rows.assign(label="grasp", other="snip", layer="")
    >>> data = Data()
    >>> tickets(rows, data)[0].title, data.sets["overlap lenet-digits density 0.1"][0]["full"]
    ('Overlap: lenet on digits', '0.250')
    """
    if anatomy is None or anatomy.empty:
        return []
    sections: list[Section] = []
    for (workload, network, task), rows in anatomy.groupby(["workload", "network", "task"], sort=False):
        name = str(workload)
        for title, about, blocks in (
            ("Overlap", _OVERLAP, _overlap(name, rows, data)),
            ("Common core", _CORE, _core(name, rows, data)),
            ("Layers", _LAYERS, _layers(rows)),
            ("Kept weights", _WEIGHTS, _weights(name, rows, data)),
        ):
            if blocks:
                sections.append(Section(f"{title}: {network} on {task}", about, blocks, folded=bool(sections)))
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
    charts = []
    short: dict[str, str] = {}
    for density, part in rows[rows["kind"] == "overlap"].groupby("density", sort=True):
        wide = part.pivot_table(index=["label", "other"], columns="name", values="value").reset_index()
        labels = sorted({*wide["label"], *wide["other"]})
        short = _shortened(labels)
        if len(labels) < 2:
            continue
        panel = f"density {density:g}"
        cells = []
        for row in rows_of(wide):
            spread = row.get("spread", math.nan)
            told = f"{row['jaccard']:.3f}" + (f" (standard deviation {spread:.3f})" if spread == spread else "")
            common = {"panel": panel, "value": row["jaccard"], "text": f"{row['jaccard']:.2f}", "full": told}
            common["chance"] = f"{row['chance']:.3f}" if "chance" in row else "–"
            for a, b in dict.fromkeys(((row["label"], row["other"]), (row["other"], row["label"]))):
                cells.append(common | {"row": short[a], "column": short[b]})
        key = data.add(f"overlap {name} {panel}", cells)
        tip = {"row": "ticket", "column": "other", "full": "Jaccard index", "chance": "chance"}
        values = [cell["value"] for cell in cells]
        texts, names = len(labels) <= WITH_TEXT, list(short.values())
        spec = heat_map(key, panel, names, names, values, tip, titles=("", ""), texts=texts, zero=True)
        text = f"Heat map of Jaccard indices between tickets at {panel}."
        charts.append(Chart(spec, panel, text, width=170 + (36 if texts else 17) * len(names)))
    caption = "Darker is less overlap, each panel on its own scale from 0; point at a cell for its value and chance."
    for label, shown in list(short.items())[:1]:
        caption += f" All are called '… {label.removeprefix(shown)}'." if label != shown else ""
    return [Panels(charts, caption)] if charts else []


def _shortened(labels: list[str]) -> dict[str, str]:
    """Label to the label without what all end with, from a comma on: `snip, UMS 100` to `snip`."""
    ends = {label.partition(", ")[2] for label in labels}
    return {label: label if len(ends) > 1 else label.partition(", ")[0] for label in labels}


def _core(name: str, rows: pd.DataFrame, data: Data) -> list[Block]:
    found = rows[(rows["kind"] == "core") & (rows["value"] > 0) & rows["name"].isin(CORE)]
    charts = []
    for density, part in found.groupby("density", sort=True):
        points: list[dict[str, Any]] = [
            {"entry": CORE[row["name"]], "x": row["at"], "text": f"{row['value']:,.4g}"}
            | dict.fromkeys(("mean", "low", "high"), row["value"])
            for row in rows_of(part.groupby(["name", "at"], as_index=False)[["value"]].mean())
        ]
        key = data.add(f"core {name} {density:g}", points)
        last, most = max(point["x"] for point in points), max(point["mean"] for point in points)
        x = {
            "title": "k, tickets that keep a weight",
            "scale": {"domain": [0.7, last + 0.3], "nice": False},
            "axis": {"format": "d", "tickMinStep": 1},
        }
        y = log_axis("weights (log axis)", (0.7, most), 1.4, tickCount=5, format="~s")
        entries = entries_of(CORE[kind] for kind in CORE if kind in set(part["name"]))
        spec = curves(key, entries, x, y, {"entry": "", "x": "k", "text": "weights"})
        charts.append(Chart(spec, f"density {density:g}", "Line plot of the core's size against k.", entries))
    return [Panels(charts, "The common core of the tickets of one initialisation.")] if charts else []


def _layers(rows: pd.DataFrame) -> list[Block]:
    blocks: list[Block] = []
    for density, part in rows[rows["kind"] == "layer"].groupby("density", sort=True):
        means = part.pivot_table(index="label", columns=["layer", "name"], values="value", sort=False)
        layers = list(dict.fromkeys(part["layer"]))
        cells = []
        for label, row in means.iterrows():
            line: list[Any] = [str(label)]
            for layer in layers:
                share, live, units = (row.get((layer, key), math.nan) for key in ("density", "live_units", "units"))
                known = live == live and units == units
                line.append(number(share, note=f"{live:.0f} of {units:.0f} units live" if known else ""))
            cells.append(line)
        caption = f"Density of each layer and its live units, tickets of density {density:g}."
        blocks.append(Table(caption, ("ticket", *layers), cells))
    return blocks


def _weights(name: str, rows: pd.DataFrame, data: Data) -> list[Block]:
    rows = rows[rows["layer"].fillna("") == ""]
    bars = rows[(rows["kind"] == "histogram") & (rows["density"] < 1)]
    blocks: list[Block] = []
    if not bars.empty:
        blocks.append(_histograms(name, bars[bars["density"] == bars["density"].min()], data))
    numbers = rows[(rows["kind"] == "weights") & rows["name"].isin(NUMBERS)]
    wide = numbers.pivot_table(index=["label", "density"], columns="name", values="value", sort=False)
    there = [column for column in NUMBERS if column in wide.columns]
    if there:
        cells = [
            [str(row["label"]), number(row["density"], "g"), *(number(row[c], ".3f") for c in there)]
            for row in rows_of(wide.reset_index())
        ]
        heads = ("ticket", "density", *(NUMBERS[column] for column in there))
        blocks.append(Table("The kept weights in numbers, means over seeds.", heads, cells))
    return blocks


def _histograms(name: str, rows: pd.DataFrame, data: Data) -> Panels:
    labels = list(dict.fromkeys(rows["label"]))
    entries = entries_of((title for part, title in PARTS.items() if part in set(rows["name"])), "line")
    points: list[dict[str, Any]] = []
    for (label, part), group in rows.groupby(["label", "name"], sort=False):
        counts = dict(zip(group["at"], group["value"], strict=True))
        total = sum(counts.values())
        # Empty bins are not in the file; one more on each side brings the line down to zero.
        for k in range(math.floor(min(counts) / BIN) - 1, math.floor(max(counts) / BIN) + 2):
            at = (k + 0.5) * BIN
            points.append({"panel": label, "entry": PARTS[str(part)], "x": at, "mean": counts.get(at, 0.0) / total})
    key = data.add(f"histogram {name}", [point for point in points if point["panel"] in labels[:PANELS]])
    x = {"title": "weight / initial standard deviation of its layer"}
    y = {"title": "share of the weights"}
    tip = {"entry": "ticket", "x": "bin", "mean": "share"}
    stepped = {"line": {"interpolate": "step", "strokeWidth": 1.5}}
    charts = []
    for label in labels[:PANELS]:
        about = f"Histogram of the weights of {label}, before and after training."
        charts.append(Chart(curves(key, entries, x, y, tip, draw=stepped, panel=label), label, about, entries))
    caption = (
        f"Weights of the tickets of density {rows['density'].iloc[0]:g}; bins of a quarter of a standard deviation."
    )
    if len(labels) > PANELS:
        caption += f" The first {PANELS} of {len(labels)} methods."
    return Panels(charts, caption)
