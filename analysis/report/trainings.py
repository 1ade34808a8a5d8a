"""Trainings: steps to the lowest validation loss, and validation accuracy over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.accuracy import entries_of
from scratchcard.analysis.report.groups import PER_CENT, density_table, means, pruned, span, split, workloads
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section, Table
from scratchcard.analysis.report.specs import curves, lines, log_density

if TYPE_CHECKING:
    import pandas as pd

STEPS = 30
"""Points of a learning curve that go into a page."""
TIP = {"entry": "method", "x": "density", "text": "steps", "n": "seeds", "values": "each seed"}


def trainings(
    name: str, runs: pd.DataFrame, histories: Mapping[str, Sequence[Sequence[float | None]]], data: Data
) -> list[Section]:
    """One section for each network and task: steps, and learning curves where runs kept their histories."""
    sections = []
    for network, task, group in workloads(pruned(runs)):
        rows = means(group, "best_step")
        if not rows:
            continue
        stopped, diverged = (int(group[c].fillna(False).astype(bool).sum()) for c in ("early_stopped", "diverged"))
        text = (
            "Training steps to the lowest validation loss, where the evaluated weights come from, mean over seeds "
            f"with its 95 % interval. {stopped} of {len(group)} trainings were stopped early, {diverged} diverged."
        )
        blocks: list[Block] = []
        if group["density"].nunique() > 1:
            blocks.append(_steps(f"steps {name} {network} {task}", group, rows, data))
        columns, cells = density_table(rows, best="none")
        blocks.append(
            Table.of("Steps to the lowest validation loss, mean ± 95 % interval, by density.", columns, cells)
        )
        curve = _histories(f"histories {name} {network} {task}", group, histories, data)
        blocks += [curve] if curve else []
        sections.append(Section(f"Training: {network} on {task}", text, tuple(blocks), 3))
    return sections


def _steps(name: str, group: pd.DataFrame, rows: Sequence[Mapping[str, Any]], data: Data) -> Panels:
    keys = ("mean", "low", "high", "n", "text", "values")
    data.add(name, [{"entry": r["method"], "x": r["density"]} | {k: r[k] for k in keys} for r in rows])
    y = {"title": "steps", "scale": {"domain": span(rows), "nice": False}}
    shares = split(group)
    every = [entry.name for _, entries in shares for entry in entries]
    charts = []
    for title, entries in shares:
        mine = {entry.name for entry in entries}
        others = [method for method in every if method not in mine]
        spec = curves(name, entries, log_density(list(group["density"])), y, TIP, context=others)
        text = f"Line plot of training steps against density for {', '.join(entry.name for entry in entries)}."
        charts.append(Chart(spec, title, text, tuple(entries)))
    return Panels(tuple(charts), "Steps to the lowest validation loss against density.")


def _histories(
    name: str, group: pd.DataFrame, histories: Mapping[str, Sequence[Sequence[float | None]]], data: Data
) -> Panels | None:
    known = group[group["digest"].isin(set(histories))]
    if known.empty:
        return None
    rows = []
    for (method, scorer, density), part in known.groupby(["method", "scorer", "density"], sort=False):
        sums: dict[float, list[float]] = {}
        for digest in part["digest"]:
            for step, _, _, accuracy in histories[digest]:
                if step is not None and accuracy is not None:
                    sums.setdefault(step, []).append(PER_CENT * accuracy)
        # Steps that only some seeds reached would mix the seeds that go on with the mean: they are left out.
        whole = [step for step in sorted(sums) if len(sums[step]) == len(part)]
        every = max(1, -(-len(whole) // STEPS))
        for step in whole[::every]:
            mean = sum(sums[step]) / len(sums[step])
            rows.append(
                {"panel": f"density {density:g}", "entry": scorer, "method": method, "x": step, "y": round(mean, 2)}
            )
    if not rows:
        return None
    data.add(name, rows)
    entries = entries_of(list(dict.fromkeys(str(row["entry"]) for row in rows)), "line")
    charts = []
    for panel in sorted({str(row["panel"]) for row in rows}, key=lambda p: float(p.split()[1])):
        x, y = {"title": "step"}, {"title": "validation accuracy, %", "scale": {"zero": False}}
        spec = lines(name, entries, x, y, "method", {"method": "method", "x": "step", "y": "validation accuracy, %"})
        spec["transform"] = [{"filter": {"field": "panel", "equal": panel}}]
        charts.append(Chart(spec, panel, f"Line plot of validation accuracy against steps at {panel}.", entries))
    caption = (
        "Learning curves: mean validation accuracy over the seeds, a line a method, coloured by scorer; a line ends "
        "where its first seed stopped."
    )
    return Panels(tuple(charts), caption)
