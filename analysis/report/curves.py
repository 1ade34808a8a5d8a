"""Trainings: steps to the lowest validation loss, and the validation metric over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scratchcard.analysis.headline import Headline
from scratchcard.analysis.report.charts import lines
from scratchcard.analysis.report.density_rows import density_table, means, pruned, workloads
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section, Table
from scratchcard.analysis.report.panels import entries_of

if TYPE_CHECKING:
    import pandas as pd

STEPS = 15
"""Points of a learning curve that go into a page."""


def training(
    runs: pd.DataFrame, histories: Mapping[str, Sequence[Sequence[float | None]]], data: Data
) -> list[Section]:
    """One section for each network and task: steps, and learning curves where runs kept their histories."""
    sections = []
    for network, task, headline, group in workloads(pruned(runs)):
        rows = means(group, "best_step")
        if not rows:
            continue
        stopped, diverged = (int(group[c].fillna(False).astype(bool).sum()) for c in ("early_stopped", "diverged"))
        text = (
            "Training steps to the lowest validation loss, where the evaluated weights come from, mean over seeds "
            f"with its 95 % interval. {stopped} of {len(group)} trainings were stopped early, {diverged} diverged."
        )
        columns, cells = density_table(rows, best="none")
        caption = "Steps to the lowest validation loss, mean ± 95 % interval, by density."
        blocks: list[Block] = [Table.of(caption, columns, cells)]
        curve = _curves(f"histories {network} {task} {headline.name}", headline, group, histories, data)
        blocks += [curve] if curve else []
        sections.append(Section(f"Training: {network} on {task}", text, tuple(blocks)))
    return sections


def _curves(
    name: str,
    headline: Headline,
    group: pd.DataFrame,
    histories: Mapping[str, Sequence[Sequence[float | None]]],
    data: Data,
) -> Panels | None:
    known = group[group["digest"].isin(set(histories))]
    rows = []
    for (method, scorer, density), part in known.groupby(["method", "scorer", "density"], sort=False):
        sums: dict[float, list[float]] = {}
        for digest in part["digest"]:
            for step, _, _, value in histories[digest]:
                if step is not None and value is not None:
                    sums.setdefault(step, []).append(headline.scale * value)
        # Steps that only some seeds reached would mix the seeds that go on with the mean: they are left out.
        whole = [step for step in sorted(sums) if len(sums[step]) == len(part)]
        common = {"panel": f"density {density:g}", "entry": scorer, "method": method}
        for step in whole[:: max(1, -(-len(whole) // STEPS))]:
            mean = sum(sums[step]) / len(sums[step])
            rows.append(common | {"x": step, "y": round(mean, headline.digits - 1)})
    if not rows:
        return None
    data.add(name, rows)
    entries = entries_of(list(dict.fromkeys(str(row["entry"]) for row in rows)), "line")
    y = f"validation {headline.title.removeprefix('test ')}"
    charts = []
    for panel in sorted({str(row["panel"]) for row in rows}, key=lambda p: float(p.split()[1])):
        tip = {"method": "method", "x": "step", "y": y}
        spec = lines(name, panel, entries, {"title": "step"}, {"title": y, "scale": {"zero": False}}, tip)
        charts.append(Chart(spec, panel, f"Line plot of the validation metric against steps at {panel}.", entries))
    caption = (
        f"Learning curves: mean validation {headline.words} over the seeds, a line a method, coloured by scorer; a "
        "line ends where its first seed stopped."
    )
    return Panels(tuple(charts), caption)
