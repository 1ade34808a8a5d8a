"""Accuracy against density: curves beside the dense network and published figures, and the table behind them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.equal_tickets import Identical, identical, note, others
from scratchcard.analysis.headline import Headline
from scratchcard.analysis.report.charts import curves, dots, log_density
from scratchcard.analysis.report.density_rows import (
    dense_reference,
    density_table,
    means,
    pruned,
    seeds_text,
    starts,
    workloads,
)
from scratchcard.analysis.report.page import Block, Cell, Chart, Data, Panels, Section, Table, Text, plain
from scratchcard.analysis.report.panels import limits, split
from scratchcard.analysis.statistics import Interval
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

Published = Sequence[Mapping[str, Any]]
"""Rows with method, density, accuracy (%), source, starred, steps, of one network and task."""


def accuracy(
    runs: pd.DataFrame, everything: pd.DataFrame, published: Mapping[tuple[str, str], Published], data: Data
) -> list[Section]:
    """One section for each network and task of a grid, and one for dense networks where several were trained.

    `everything` has the runs of all grids: a dense network of another grid is a reference too.
    """
    sections: list[Section] = []
    for network, task, headline, sparse in workloads(pruned(runs)):
        rows = means(sparse)
        figures = [row for row in published.get((network, task), ()) if row["density"] < 1]
        dense = dense_reference(everything, sparse)
        key = f"accuracy {network} {task} {headline.name}"
        drawn = curves_of if sparse["density"].nunique() > 1 else dots_of
        groups = identical(sparse)
        blocks: list[Block] = [drawn(key, headline, sparse, rows, figures, dense, data)]
        blocks += [_table(headline, rows, figures, groups)]
        blocks += [Text(note(groups))] if groups else []
        blocks += _differences(rows, figures)
        blocks += _twice(sparse)
        text = (
            f"{headline.title.partition(',')[0].capitalize()} of the trained sparse networks; each point is the mean "
            "over seeds with its 95 % interval (Student's t), the test set read once after training. "
        )
        if len(sparse["density"].unique()) == 1:
            text += f"All runs have density {float(sparse['density'].iloc[0]):g}. "
        if figures:
            text += f"Open marks are published figures ({'; '.join(dict.fromkeys(f['source'] for f in figures))}). "
        title = f"{headline.words.capitalize()} against density: {network} on {task}"
        sections.append(Section(title, text.strip(), tuple(blocks), folded=bool(sections)))
    return sections + _dense(runs, published)


def tip(headline: Headline) -> dict[str, str]:
    """What a mark of a mean shows when it is pointed at."""
    return {"entry": "method", "x": "density", "text": headline.title, "n": "seeds", "values": "each seed"}


def curves_of(
    name: str,
    headline: Headline,
    sparse: pd.DataFrame,
    rows: Sequence[Mapping[str, Any]],
    figures: Published,
    dense: Interval | None,
    data: Data,
) -> Panels:
    marks = [{"entry": row["method"], "x": row["density"]} | _shown(row) for row in rows]
    data.add(name, marks)
    reference = None
    if figures:
        reference = data.add(
            f"{name} published",
            [
                {"entry": row["method"], "x": row["density"], "y": row["accuracy"], "source": row["source"]}
                for row in figures
            ],
        )
    more = [float(figure["accuracy"]) for figure in figures] + ([dense.mean] if dense is not None else [])
    domain, cut = limits(rows, more)
    scale = {"domainMax": plain(domain[1])} if cut else {"domain": plain(domain), "nice": False}
    y = {"title": headline.title, "scale": scale}
    shares = split(sparse)
    every = [entry.name for _, entries in shares for entry in entries]
    charts = []
    for title, entries in shares:
        mine = {entry.name for entry in entries}
        spec = curves(
            name,
            entries,
            log_density([row["density"] for row in rows]),
            y,
            tip(headline),
            context=[method for method in every if method not in mine],
            reference=None if dense is None else dense.mean,
            published=reference if any(figure["method"] in mine for figure in figures) else None,
            floor=cut[0] if cut else None,
        )
        text = f"Line plot of test {headline.words} against density for {', '.join(entry.name for entry in entries)}."
        charts.append(Chart(spec, title, text, tuple(entries), floor=cut))
    caption = "Press a method to see it alone, several to compare them; point at a mark for its seeds."
    if len(shares) > 1:
        caption += " Grey lines: the methods of the other panels."
    caption += _dashed(dense)
    if cut:
        below = sum(float(value) < cut[0] for value in [*(row["mean"] for row in rows), *more])
        lie = f"{below} of {len(rows) + len(more)} values lie" if below else "Some intervals reach"
        caption += f" {lie} below the axis; 'whole range' shows them."
    return Panels(tuple(charts), caption)


def dots_of(
    name: str,
    headline: Headline,
    sparse: pd.DataFrame,
    rows: Sequence[Mapping[str, Any]],
    figures: Published,
    dense: Interval | None,
    data: Data,
) -> Panels:
    """One density: a line a method instead of curves, the best on top."""
    beside = {figure["method"]: figure["accuracy"] for figure in figures}
    ordered = sorted(rows, key=lambda row: -float(row["mean"]))
    marks = [
        {"entry": row["method"], "x": row["density"], "published": beside.get(row["method"])} | _shown(row)
        for row in ordered
    ]
    data.add(name, marks)
    x = {"title": headline.title, "scale": {"zero": False}}
    names = [str(row["method"]) for row in ordered]
    spec = dots(name, names, x, tip(headline), reference=None if dense is None else dense.mean, published=bool(beside))
    text = f"Dot plot of test {headline.words} of {len(names)} methods at density {float(sparse['density'].iloc[0]):g}."
    caption = "Point at a mark for its seeds." + (" Diamonds: published." if figures else "")
    return Panels((Chart(spec, "", text, width=480),), caption + _dashed(dense))


def _dashed(dense: Interval | None) -> str:
    if dense is None:
        return ""
    return f" Dashed: the dense network, {dense.text()} ({counted(dense.count, 'seed')})."


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("mean", "low", "high", "n", "text", "values")}


def _table(
    headline: Headline, rows: Sequence[Mapping[str, Any]], figures: Published, groups: Sequence[Identical]
) -> Table:
    notes = {
        (str(row["method"]), float(row["density"])): f"pub. {float(row['accuracy']):.2f}"
        + ("*" if row.get("starred") else "")
        for row in figures
    }
    names = {method: f"identical to {other}" for method, other in others(groups).items()}
    columns, cells = density_table(rows, notes, names=names)
    caption = f"{headline.title.capitalize()}, mean ± 95 % interval, by density; bold: the highest mean of a density."
    caption += seeds_text(rows)
    if figures:
        caption += " Below: the published figure."
    if any(row.get("starred") for row in figures):
        caption += " An asterisk stands where the source marks a significant difference (uncorrected)."
    return Table.of(caption, columns, cells)


def _differences(rows: Sequence[Mapping[str, Any]], figures: Published) -> list[Block]:
    """How far ours lie from what was published, in one sentence."""
    ours = {(row["method"], float(row["density"])): row for row in rows}
    pairs = [(ours[key], f) for f in figures if (key := (f["method"], float(f["density"]))) in ours]
    if not pairs:
        return []
    gaps = sorted(abs(float(row["mean"]) - float(f["accuracy"])) for row, f in pairs)
    inside = sum(float(row["low"]) <= float(f["accuracy"]) <= float(row["high"]) for row, f in pairs)
    return [
        Text(
            f"Of {len(pairs)} published figures {inside} lie within the 95 % interval of ours; the median distance is "
            f"{statistics.median(gaps):.2f} points, the largest {gaps[-1]:.2f}. {_uncertain(figures)}"
        )
    ]


def _uncertain(figures: Published) -> str:
    counts = sorted({int(f["runs"]) for f in figures if f["runs"] is not None})
    of = f"means of {' or '.join(map(str, counts))} runs" if counts else "means of a number of runs that is not given"
    return (
        f"They are themselves {of}, and no spread stands beside them: fewer than 95 % would lie within even if "
        "both measured the same."
    )


def _twice(sparse: pd.DataFrame) -> list[Block]:
    again = int(sparse.duplicated(["method", "density", "seed"]).sum())
    if not again:
        return []
    return [
        Text(
            f"{again} of these runs have the method, density and seed of another and differ in a setting that this "
            "page does not know; as they are not independent, their intervals are too narrow."
        )
    ]


def _dense(runs: pd.DataFrame, published: Mapping[tuple[str, str], Published]) -> list[Section]:
    """Dense networks, where there are several kinds (scores as weights)."""
    dense = runs[runs["density"] == 1]
    blocks: list[Block] = []
    for network, task, headline, group in workloads(dense):
        group = group.assign(start=starts(group))
        if group["start"].nunique() < 2:
            continue
        rows = means(group, by=("start",))
        steps = {row["start"]: row for row in means(group, "best_step", ("start",))}
        start = dict(zip(group["method"], group["start"], strict=True))
        beside = {
            start[row["method"]]: row
            for row in published.get((network, task), ())
            if row["density"] == 1 and row["method"] in start
        }
        top = max(row["mean"] for row in rows)
        cells = []
        for row in rows:
            figure = beside.get(row["start"])
            taken = steps.get(row["start"])
            cells.append(
                (
                    row["start"],
                    _cell(row, f"published {figure['accuracy']:.2f}" if figure else "", strong=row["mean"] == top),
                    _cell(taken, f"published {figure['steps']:.0f}, to early stop" if figure else "")
                    if taken
                    else Cell("–", float("nan")),
                    Cell(str(row["n"]), float(row["n"])),
                )
            )
        caption = f"Dense networks, {network} on {task}: mean ± 95 % interval; bold: the highest mean."
        columns = ("initial weights", headline.title, "steps to the lowest validation loss", "seeds")
        blocks.append(Table.of(caption, columns, cells))
    if not blocks:
        return []
    text = "The networks trained without pruning, from different initial weights (scores as weights among them)."
    return [Section("Dense training", text, tuple(blocks))]


def _cell(row: Mapping[str, Any], note: str = "", *, strong: bool = False) -> Cell:
    mean, _, spread = str(row["text"]).partition(" ± ")
    return Cell(mean, float(row["mean"]), f"± {spread}" if spread else "", note, strong)
