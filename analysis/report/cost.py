"""Cost: accuracy against the seconds to prune and train, with the Pareto front; steps of the trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.cells import Cell, Table, number
from scratchcard.analysis.report.charts import MEANS, curves, log_axis
from scratchcard.analysis.report.density_rows import axis, density_table, means, pruned, workloads
from scratchcard.analysis.report.legend import SHAPES, entries_of
from scratchcard.analysis.report.page import Chart, Data, Panels, Section
from scratchcard.analysis.statistics import pareto

if TYPE_CHECKING:
    import pandas as pd

REGIMES = {
    "USS": "circle",
    "UMS": "square",
    "ISS": "triangle-up",
    "IMS": "diamond",
    "ESS": "triangle-left",
    "EMS": "triangle-down",
    "RigL": "triangle-right",
}
"""Regime to the shape of its marks."""
POINTS = {"rule": {"strokeWidth": 1.4}, "point": MEANS["point"] | {"size": 60}}


def cost(runs: pd.DataFrame, data: Data) -> list[Section]:
    """One section for each network and task: a panel a density, and the methods on the front.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": ["snip", "random", "grasp"], "test_accuracy": [0.92, 0.30, 0.90]})
    >>> runs = runs.assign(scorer=runs["method"], pruning_seconds=[0.5, 0.1, 0.9], training_seconds=1.0, regime="USS")
    >>> runs = runs.assign(network="lenet", task="digits", density=0.1, seed=0, metric=None)
    >>> runs = runs.assign(device="cpu", predictor=None)
    >>> front = cost(runs, Data())[0].blocks[1]
    >>> [[cell.text for cell in row] for row in front.rows]
    [['0.1', 'random', '1.1', '30.00'], ['0.1', 'snip', '1.5', '92.00']]
    """
    sections = []
    for network, task, headline, group in workloads(pruned(runs)):
        timed = group.assign(cost=group["pruning_seconds"] + group["training_seconds"])
        timed = timed[timed["cost"] > 0]
        if timed["method"].nunique() < 2:
            continue
        rows = _rows(timed)
        found = data.add(f"cost {network} {task} {headline.name}", rows)
        tip = {"method": "method", "text": headline.title, "seconds": "seconds", "n": "seeds", "values": "each seed"}
        unit, clock = _clock(timed)
        title = f"pruning + training, {unit}"
        x = log_axis(f"{title} (log axis)", [row["x"] for row in rows], 1.2, tickCount=5, labelOverlap="greedy")
        entries = entries_of([row["entry"] for row in rows], "chip")
        charts = []
        for density in sorted(timed["density"].unique()):
            y, cut = axis(headline, [row for row in rows if row["density"] == density])
            panel, floor = f"density {density:g}", cut[0] if cut else None
            spec = curves(found, entries, x, y, tip, draw=POINTS, panel=panel, front=True, floor=floor)
            about = f"Scatter plot of test {headline.words} against seconds at {panel}, with the Pareto front."
            charts.append(Chart(spec, panel, about, entries, floor=cut))
        caption = (
            "Colour: scorer; shape: regime; each panel has its own vertical axis. Grey steps: the Pareto front, "
            "where no method is both cheaper and better. Point at a mark for its method."
        )
        if any(chart.floor for chart in charts):
            caption += " Some means or intervals reach below the axis; 'whole range' shows them."
        fitting = "; fitting a predictor, and finding the slow tickets that it learns from, is not counted"
        text = (
            f"Test {headline.words} against the cost of finding and training the ticket, means over seeds. Seconds are "
            f"{clock}. They are a run's own: work shared with other runs counts in each of them, as if it stood alone"
            f"{fitting if timed['predictor'].notna().any() else ''}. A method that is a little cheaper than another by "
            "its mean need not be: seconds scatter with the machine's load too."
        )
        key = tuple((regime, SHAPES[shape]) for regime, shape in REGIMES.items() if regime in set(timed["regime"]))
        front = sorted((r for r in rows if r["front"]), key=lambda r: (r["density"], r["x"]))
        cells = [
            [number(r["density"], "g"), r["method"], number(r["x"], ".3g"), Cell(r["text"], r["mean"])] for r in front
        ]
        best = "The Pareto front of the means: for each density, the methods than which none is cheaper and better."
        blocks = (Panels(charts, caption, key), Table(best, ("density", "method", title, headline.title), cells))
        sections.append(Section(f"{headline.words.capitalize()} against cost: {network} on {task}", text, blocks))
    return sections


def training(runs: pd.DataFrame) -> list[Section]:
    """One section for each network and task: steps to the lowest validation loss.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": "snip", "seed": [0, 1], "best_step": [400, 440], "early_stopped": True})
    >>> runs = runs.assign(network="lenet", task="digits", density=0.1, metric=None, diverged=False)
    >>> section = training(runs)[0]
    >>> section.title, [cell.text for cell in section.blocks[0].rows[0]]
    ('Training: lenet on digits', ['snip', '420', '2'])
    """
    sections = []
    for network, task, _, group in workloads(pruned(runs)):
        rows = means(group, "best_step")
        if not rows:
            continue
        stopped, diverged = (int(group[c].fillna(False).astype(bool).sum()) for c in ("early_stopped", "diverged"))
        text = (
            "Training steps to the lowest validation loss, where the evaluated weights come from, mean over seeds "
            f"with its 95 % interval. {stopped} of {len(group)} trainings were stopped early, {diverged} diverged."
        )
        caption = "Steps to the lowest validation loss, mean ± 95 % interval, by density."
        table = Table(caption, *density_table(rows, best=False))
        sections.append(Section(f"Training: {network} on {task}", text, [table]))
    return sections


def _clock(timed: pd.DataFrame) -> tuple[str, str]:
    """The unit for an axis, and what was measured in words."""
    on_cpu = timed["device"].fillna("cpu").astype(str).str.startswith("cpu")
    if on_cpu.all():
        return "processor seconds", "processor time, summed over cores, not the time that passed"
    if not on_cpu.any():
        return "seconds", "the time that passed, on a GPU"
    return "seconds", "processor time for runs on a CPU and the time that passed for those on a GPU, two clocks"


def _rows(timed: pd.DataFrame) -> list[dict[str, Any]]:
    about = timed.drop_duplicates("method").set_index("method")
    seconds = {(r["method"], r["density"]): r["mean"] for r in means(timed, "cost")}
    rows, panels = means(timed), dict[float, list[dict[str, Any]]]()
    for row in rows:
        found, spent = about.loc[row["method"]], seconds[row["method"], row["density"]]
        shape = REGIMES.get(str(found["regime"]), "cross")
        row |= {"entry": str(found["scorer"]), "shape": shape, "x": spent, "seconds": f"{spent:.3g}"}
        row |= {"front": False, "panel": f"density {row['density']:g}"}
        panels.setdefault(row["density"], []).append(row)
    for group in panels.values():
        for place in pareto([(row["x"], row["mean"]) for row in group]):
            group[place]["front"] = True
    return rows
