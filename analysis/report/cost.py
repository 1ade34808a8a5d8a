"""Accuracy against cost: seconds to prune and train, with the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scratchcard.analysis.headline import Headline
from scratchcard.analysis.report.charts import scatter
from scratchcard.analysis.report.density_rows import means, pruned, workloads
from scratchcard.analysis.report.page import SHAPES, Cell, Chart, Data, Panels, Section, Table, plain
from scratchcard.analysis.report.panels import entries_of, limits
from scratchcard.analysis.statistics import pareto

if TYPE_CHECKING:
    import pandas as pd

REGIMES = {"USS": "circle", "UMS": "square", "ISS": "triangle-up", "IMS": "diamond"}
"""Regime to the shape of its marks."""


def cost(runs: pd.DataFrame, data: Data) -> list[Section]:
    """One section for each network and task: a panel a density, and the methods on the front."""
    sections = []
    for network, task, headline, group in workloads(pruned(runs)):
        timed = group.assign(cost=group["pruning_seconds"] + group["training_seconds"])
        timed = timed[timed["cost"] > 0]
        if timed["method"].nunique() < 2:
            continue
        rows = _rows(timed)
        found = data.add(f"cost {network} {task} {headline.name}", rows)
        tip = {"method": "method", "text": headline.title, "seconds": "seconds", "n": "seeds", "values": "each seed"}
        seconds = [float(row["x"]) for row in rows]
        unit, clock = _clock(timed)
        x = {
            "title": f"pruning + training, {unit} (log axis)",
            "scale": {"type": "log", "domain": [plain(min(seconds) / 1.2), plain(max(seconds) * 1.2)], "nice": False},
            "axis": {"format": "~g", "tickCount": 5, "labelOverlap": "greedy"},
        }
        entries = entries_of(list(dict.fromkeys(row["entry"] for row in rows)), "chip")
        charts = []
        for density in sorted(timed["density"].unique()):
            domain, cut = limits([row for row in rows if row["density"] == density])
            scale = {"domainMax": plain(domain[1])} if cut else {"domain": plain(domain), "nice": False}
            y = {"title": headline.title, "scale": scale}
            panel = f"density {density:g}"
            spec = scatter(found, panel, entries, x, y, tip, floor=cut[0] if cut else None)
            about = f"Scatter plot of test {headline.words} against seconds at {panel}, with the Pareto front."
            charts.append(Chart(spec, panel, about, entries, floor=cut))
        caption = (
            "Colour: scorer; shape: regime; each panel has its own vertical axis. Grey steps: the Pareto front, "
            "where no method is both cheaper and better. Point at a mark for its method."
        )
        if any(chart.floor for chart in charts):
            caption += " Some means or intervals reach below the axis; 'whole range' shows them."
        text = (
            f"Test {headline.words} against the cost of finding and training the ticket, means over seeds. Seconds are "
            f"{clock}. They are a run's own: work shared with other runs counts in each of them, as if it stood alone"
            f"{_fitting(timed)}. A method that is a little cheaper than another by its mean need not be: seconds "
            "scatter with the machine's load too."
        )
        there = set(timed["regime"])
        key = tuple((regime, SHAPES[shape]) for regime, shape in REGIMES.items() if regime in there)
        blocks = (Panels(tuple(charts), caption, key), _front(headline, rows, unit))
        sections.append(Section(f"{headline.words.capitalize()} against cost: {network} on {task}", text, blocks))
    return sections


def _clock(timed: pd.DataFrame) -> tuple[str, str]:
    """The unit for an axis, and what was measured in words (`clock`)."""
    on_cpu = timed["device"].fillna("cpu").astype(str).str.startswith("cpu")
    if on_cpu.all():
        return "processor seconds", "processor time, summed over cores, not the time that passed"
    if not on_cpu.any():
        return "seconds", "the time that passed, on a GPU"
    return "seconds", "processor time for runs on a CPU and the time that passed for those on a GPU, two clocks"


def _fitting(timed: pd.DataFrame) -> str:
    if not timed["predictor"].notna().any():
        return ""
    return "; fitting a predictor, and finding the slow tickets that it learns from, is not counted"


def _rows(timed: pd.DataFrame) -> list[dict[str, Any]]:
    about = timed.drop_duplicates("method").set_index("method")
    seconds = {(r["method"], r["density"]): r["mean"] for r in means(timed, "cost")}
    rows = []
    for row in means(timed):
        found = about.loc[row["method"]]
        spent = seconds[row["method"], row["density"]]
        shape = REGIMES.get(str(found["regime"]), "cross")
        rows.append(
            row
            | {"entry": str(found["scorer"]), "shape": shape, "x": spent, "seconds": f"{spent:.3g}"}
            | {"front": False, "panel": f"density {row['density']:g}"}
        )
    for density in {row["density"] for row in rows}:
        group = [row for row in rows if row["density"] == density]
        for place in pareto([(row["x"], row["mean"]) for row in group]):
            group[place]["front"] = True
    return rows


def _front(headline: Headline, rows: list[dict[str, Any]], unit: str) -> Table:
    front = sorted((r for r in rows if r["front"]), key=lambda r: (r["density"], r["x"]))
    cells = [
        (
            Cell(f"{row['density']:g}", float(row["density"])),
            row["method"],
            Cell(str(row["seconds"]), float(row["x"])),
            Cell(str(row["text"]), float(row["mean"])),
        )
        for row in front
    ]
    columns = ("density", "method", f"pruning + training, {unit}", headline.title)
    caption = "The Pareto front of the means: for each density, the methods than which none is cheaper and better."
    return Table.of(caption, columns, cells)
