"""The first part of a page: the verdict in sentences, its plots, and the table of leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from scratchcard.analysis.report.accuracy import curves_of, dots_of
from scratchcard.analysis.report.density_rows import dense_reference, means, pruned, workloads
from scratchcard.analysis.report.page import Block, Cell, Chart, Data, Panels, Section, Table, Text
from scratchcard.analysis.report.verdict import Lead, leads, outcomes, rows_of, sentences
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
"""Methods in a plot of the best."""
FEW = 8
"""Sentences of declared comparisons that the first part repeats; where there are more, each grid tells its own."""


def winners(runs: pd.DataFrame, tested: Sequence[pd.DataFrame | str], overview: str, data: Data) -> list[Section]:
    """Sentences, plots of the best methods, and a table of all leads.

    Args:
        runs: of all grids, with the column `method`.
        tested: rows of `compare` of each grid, or why there are none.
        overview: what was run, in a line.
        data: takes the plots' data.
    """
    tables = [table for table in tested if not isinstance(table, str)]
    found = leads(runs, [row for table in tables for row in rows_of(table)])
    declared = [told for table in tables for told in outcomes(table)]
    blocks: list[Block] = []
    if declared and len(declared) <= FEW:
        blocks += [Text(text, title) for title, text in declared]
    elif declared:
        blocks.append(Text(_counts(tables), "Declared comparisons"))
    blocks += [Text(text, title) for title, text in sentences(found)]
    if not declared:
        blocks.append(Text("No comparison was declared: all this describes the runs, and tests nothing."))
    elif any(lead.test is None and lead.behind is not None for lead in found):
        blocks.append(Text("What is not tested describes the runs: the best mean of many methods flatters its owner."))
    if not found:
        blocks.append(Text("No pruned network is among the runs, so that no method can be first."))
    sections = [Section("", "", (*blocks, Text(overview)))]
    plots = _plots(runs, found, data)
    if plots:
        sections.append(Section("The best methods", "", (plots,), folded=False))
    if found:
        sections.append(Section("Every lead", _LEADS, (_table(found),), folded=len(found) > 6))
    return sections


def _counts(tables: Sequence[pd.DataFrame]) -> str:
    rows = [row for table in tables for row in rows_of(table) if row["counted"]]
    families = sum(table["family"].nunique() for table in tables)
    return (
        f"{counted(families, 'family')} of comparisons were declared before their runs, {len(rows):,} tests in all: "
        f"{sum(row['significant'] for row in rows):,} show a difference at 5 % after Holm's correction. Each grid "
        "below begins with what its own found."
    )


_LEADS = (
    "The method with the highest mean at each density, the next one whose tickets are others, and the distance between "
    "them. Methods with fewer than half of a density's usual seeds are left out."
)


def _table(found: Sequence[Lead]) -> Table:
    rows = []
    for lead in found:
        headline, behind = lead.headline, lead.behind
        points = "–" if behind is None else f"{lead.points:.{headline.digits}f}"
        rows.append(
            [
                Cell(f"{lead.network} on {lead.task}"),
                Cell(lead.kind),
                Cell(f"{lead.density:g}", lead.density),
                Cell(str(lead.best["method"])),
                Cell(str(lead.best["text"]), float(lead.best["mean"])),
                Cell("–" if behind is None else str(behind["method"])),
                Cell(points, lead.points, strong=lead.sure),
                Cell(lead.certainty),
            ]
        )
    titles = " or ".join(dict.fromkeys(lead.headline.title for lead in found))
    columns = ("network and task", "kind", "density", "first", titles, "second", "lead", "how sure")
    return Table.of("First and second by mean, over all grids; bold: shown by a declared test.", columns, rows)


def _plots(runs: pd.DataFrame, found: Sequence[Lead], data: Data) -> Panels | None:
    """For each network and task the methods that are first or second somewhere, beside the dense network."""
    charts: list[Chart] = []
    for network, task, headline, group in workloads(pruned(runs)):
        mine = [lead for lead in found if (lead.network, lead.task, lead.headline) == (network, task, headline)]
        rows = [row for lead in mine for row in (lead.best, lead.behind) if row is not None]
        counts = {row["method"]: sum(row["method"] == lead.best["method"] for lead in mine) for row in rows}
        names = sorted(counts, key=lambda name: -counts[name])[:SHOWN]
        if not names:
            continue
        some = group[group["method"].isin(names)]
        drawn = curves_of if group["density"].nunique() > 1 else dots_of
        key = f"best {network} {task} {headline.name}"
        panels = drawn(key, headline, some, means(some), [], dense_reference(runs, group), data)
        title = f"{network} on {task}"
        if drawn is dots_of:
            title += f", density {group['density'].iloc[0]:g}"
        charts += [replace(chart, title=title, width=0) for chart in panels.charts]
    if not charts:
        return None
    caption = (
        "Means over seeds with their 95 % intervals. Press a method to see it alone; point at a mark for its seeds. "
        "Dashed: the dense network."
    )
    return Panels(tuple(charts), caption)
