"""Accuracy against density: curves beside the dense network and published figures, and the table behind them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.equal_tickets import identical, note, others
from scratchcard.analysis.report.cells import Table, number
from scratchcard.analysis.report.charts import curves, dots, log_density
from scratchcard.analysis.report.density_rows import (
    Rows,
    axis,
    dense_reference,
    density_table,
    mean_cell,
    means,
    pruned,
    seeds_text,
    split,
    starts,
    workloads,
)
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section, Text
from scratchcard.analysis.statistics import Headline, Interval
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

Published = Mapping[tuple[str, str], Rows]
"""(network, task) to rows with method, density, accuracy (%), source, starred, steps."""
_TWICE = (
    "{} of these runs have the method, density and seed of another and differ in a setting that this page does not "
    "know; as they are not independent, their intervals are too narrow."
)


def accuracy(runs: pd.DataFrame, everything: pd.DataFrame, published: Published, data: Data) -> list[Section]:
    """One section for each network and task of a grid, and one for dense networks where several were trained.

    `everything` has the runs of all grids: a dense network of another grid is a reference too.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": ["snip", "snip", "random", "random"], "seed": [0, 1, 0, 1]})
    >>> runs = runs.assign(test_accuracy=[0.90, 0.94, 0.30, 0.40], validation_loss=[0.3, 0.2, 1.7, 1.6], kept=100)
    >>> runs = runs.assign(network="lenet", task="digits", density=0.1, effective_density=0.1, metric="accuracy")
    >>> runs = runs.assign(data_digest="ab12", max_steps=100, initial="given")
    >>> section = accuracy(runs, runs, {}, Data())[0]
    >>> section.title, [[cell.text for cell in row] for row in section.blocks[1].rows]
    ('Accuracy against density: lenet on digits', [['snip', '92.00', '2'], ['random', '35.00', '2']])
    """
    sections: list[Section] = []
    for network, task, headline, sparse in workloads(pruned(runs)):
        rows = means(sparse)
        figures = [row for row in published.get((network, task), ()) if row["density"] < 1]
        dense = dense_reference(everything, sparse)
        key = f"accuracy {network} {task} {headline.name}"
        same = identical(sparse)
        blocks: list[Block] = [drawing(key, headline, sparse, rows, figures, dense, data)]
        blocks.append(_table(headline, rows, figures, others(same)))
        again = int(sparse.duplicated(["method", "density", "seed"]).sum())
        told = [note(same), _differences(rows, figures), _TWICE.format(again) if again else ""]
        blocks += [Text(words) for words in told if words]
        text = (
            f"{headline.title.partition(',')[0].capitalize()} of the trained sparse networks; each point is the mean "
            "over seeds with its 95 % interval (Student's t), the test set read once after training. "
        )
        if sparse["density"].nunique() == 1:
            text += f"All runs have density {sparse['density'].iloc[0]:g}. "
        if figures:
            text += f"Open marks are published figures ({'; '.join(dict.fromkeys(f['source'] for f in figures))}). "
        title = f"{headline.words.capitalize()} against density: {network} on {task}"
        sections.append(Section(title, text.strip(), blocks, folded=bool(sections)))
    return sections + _dense(runs, published)


def drawing(
    name: str, headline: Headline, sparse: pd.DataFrame, rows: Rows, figures: Rows, dense: Interval | None, data: Data
) -> Panels:
    """Curves over the densities; of one density a line a method instead, the best on top.

    >>> import pandas as pd
    >>> rows = [{"method": name, "density": 0.1, "mean": mean} for name, mean in (("random", 30.0), ("snip", 92.0))]
    >>> rows = [row | {"low": row["mean"], "high": row["mean"], "n": 1, "text": "", "values": ""} for row in rows]
    >>> data, sparse = Data(), pd.DataFrame(rows)
    >>> panels = drawing("accuracy", Headline("accuracy"), sparse, rows, [], Interval(97.0, 0.5, 5), data)
    >>> panels.caption, [row["entry"] for row in data.sets["accuracy"]]
    ('Point at a mark for its seeds. Dashed: the dense network, 97.00 ± 0.50 (5 seeds).', ['snip', 'random'])
    """
    tip = {"entry": "method", "x": "density", "text": headline.title, "n": "seeds", "values": "each seed"}
    shown = ("mean", "low", "high", "n", "text", "values")
    reference = None if dense is None else dense.mean
    dashed = "" if dense is None else f" Dashed: the dense network, {dense.text()} ({counted(dense.count, 'seed')})."
    if sparse["density"].nunique() == 1:
        beside = {figure["method"]: figure["accuracy"] for figure in figures}
        rows = sorted(rows, key=lambda row: -float(row["mean"]))
        names = [str(row["method"]) for row in rows]
        x = {"title": headline.title, "scale": {"zero": False}}
        spec = dots(name, names, x, tip, reference=reference, published=bool(beside))
        about = f"Dot plot of test {headline.words} of {len(names)} methods at density {rows[0]['density']:g}."
        caption = "Point at a mark for its seeds." + (" Diamonds: published." if figures else "") + dashed
        marks = [{"published": beside.get(row["method"])} | _mark(row, *shown) for row in rows]
        data.add(name, marks)
        return Panels([Chart(spec, "", about, width=480)], caption)
    data.add(name, [_mark(row, *shown) for row in rows])
    if figures:
        data.add(f"{name} published", [{"y": row["accuracy"]} | _mark(row, "source") for row in figures])
    more = [float(figure["accuracy"]) for figure in figures] + ([] if reference is None else [reference])
    y, cut = axis(headline, rows, more)
    x = log_density([row["density"] for row in rows])
    shares = split(sparse)
    charts = []
    for title, entries in shares:
        mine = [entry.name for entry in entries]
        context = [entry.name for _, every in shares for entry in every if entry.name not in mine]
        known = f"{name} published" if any(figure["method"] in mine for figure in figures) else None
        floor = cut[0] if cut else None
        options: dict[str, Any] = {"context": context, "reference": reference, "published": known, "floor": floor}
        text = f"Line plot of test {headline.words} against density for {', '.join(mine)}."
        charts.append(Chart(curves(name, entries, x, y, tip, **options), title, text, entries, floor=cut))
    caption = "Press a method to see it alone, several to compare them; point at a mark for its seeds."
    caption += " Grey lines: the methods of the other panels." if len(shares) > 1 else ""
    caption += dashed
    if cut:
        below = sum(float(value) < cut[0] for value in [*(row["mean"] for row in rows), *more])
        lie = f"{below} of {len(rows) + len(more)} values lie" if below else "Some intervals reach"
        caption += f" {lie} below the axis; 'whole range' shows them."
    return Panels(charts, caption)


def _mark(row: Mapping[str, Any], *shown: str) -> dict[str, Any]:
    return {"entry": row["method"], "x": row["density"]} | {key: row[key] for key in shown}


def _table(headline: Headline, rows: Rows, figures: Rows, same: Mapping[str, str]) -> Table:
    notes = {(f["method"], f["density"]): f"pub. {f['accuracy']:.2f}" + "*" * f["starred"] for f in figures}
    names = {method: f"identical to {other}" for method, other in same.items()}
    columns, cells = density_table(rows, notes, names=names)
    caption = f"{headline.title.capitalize()}, mean ± 95 % interval, by density; bold: the highest mean of a density."
    caption += seeds_text(rows) + (" Below: the published figure." if figures else "")
    if any(row["starred"] for row in figures):
        caption += " An asterisk stands where the source marks a significant difference (uncorrected)."
    return Table(caption, columns, cells)


def _differences(rows: Rows, figures: Rows) -> str:
    """How far ours lie from what was published."""
    ours = {(row["method"], row["density"]): row for row in rows}
    pairs = [(ours[key], f["accuracy"]) for f in figures if (key := (f["method"], f["density"])) in ours]
    if not pairs:
        return ""
    gaps = sorted(abs(row["mean"] - there) for row, there in pairs)
    inside = sum(row["low"] <= there <= row["high"] for row, there in pairs)
    counts = sorted({f["runs"] for f in figures if f["runs"] is not None})
    of = f"means of {' or '.join(map(str, counts))} runs" if counts else "means of a number of runs that is not given"
    return (
        f"Of {len(pairs)} published figures {inside} lie within the 95 % interval of ours; the median distance is "
        f"{statistics.median(gaps):.2f} points, the largest {gaps[-1]:.2f}. They are themselves {of}, and no spread "
        "stands beside them: fewer than 95 % would lie within even if both measured the same."
    )


def _dense(runs: pd.DataFrame, published: Published) -> list[Section]:
    """Dense networks, where there are several kinds (scores as weights)."""
    blocks: list[Block] = []
    for network, task, headline, group in workloads(runs[runs["density"] == 1]):
        group = group.assign(start=starts(group))
        if group["start"].nunique() < 2:
            continue
        rows = means(group, by=("start",))
        steps = {row["start"]: row for row in means(group, "best_step", ("start",))}
        start = dict(zip(group["method"], group["start"], strict=True))
        figures = [f for f in published.get((network, task), ()) if f["density"] == 1 and f["method"] in start]
        beside = {start[f["method"]]: f for f in figures}
        top = max(row["mean"] for row in rows)
        cells = []
        for row in rows:
            figure = beside.get(row["start"])
            known = f"published {figure['accuracy']:.2f}" if figure else ""
            early = f"published {figure['steps']:.0f}, to early stop" if figure else ""
            reached, taken = mean_cell(row, known, row["mean"] == top), mean_cell(steps.get(row["start"]), early)
            cells.append([row["start"], reached, taken, number(row["n"], "d")])
        caption = f"Dense networks, {network} on {task}: mean ± 95 % interval; bold: the highest mean."
        columns = ("initial weights", headline.title, "steps to the lowest validation loss", "seeds")
        blocks.append(Table(caption, columns, cells))
    text = "The networks trained without pruning, from different initial weights (scores as weights among them)."
    return [Section("Dense training", text, blocks)] if blocks else []
