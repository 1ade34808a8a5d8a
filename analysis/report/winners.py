"""The first part of a page: the verdict in sentences, its plots, and the table of leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from scratchcard.analysis.groups import rows_of
from scratchcard.analysis.report.accuracy import drawing
from scratchcard.analysis.report.cells import Cell, Table, number
from scratchcard.analysis.report.density_rows import dense_reference, means, pruned, workloads
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section, Text
from scratchcard.analysis.report.verdict import Lead, leads, outcomes, sentences
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
"""Methods in a plot of the best."""
FEW = 8
"""Sentences of declared comparisons that the first part repeats; where there are more, each grid tells its own."""
_LEADS = (
    "The method with the highest mean at each density, the next one whose tickets are others, and the distance between "
    "them. Methods with fewer than half of a density's usual seeds are left out."
)
_PLOTS = (
    "Means over seeds with their 95 % intervals. Press a method to see it alone; point at a mark for its seeds. "
    "Dashed: the dense network."
)


def winners(runs: pd.DataFrame, tables: Sequence[pd.DataFrame], overview: str, data: Data) -> list[Section]:
    """Sentences, plots of the best methods, and a table of all leads.

    Args:
        runs: of all grids, with the column `method`.
        tables: rows of `compare` of each grid that declares comparisons.
        overview: what was run, in a line.
        data: takes the plots' data.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"label": ["snip", "snip", "random", "random"], "seed": [0, 1, 0, 1], "regime": "USS"})
        >>> runs = runs.assign(test_accuracy=[0.90, 0.94, 0.30, 0.40], validation_loss=[0.3, 0.2, 1.7, 1.6], kept=100)
        >>> runs = runs.assign(network="lenet", task="digits", density=0.1, effective_density=0.1, metric="accuracy")
        >>> runs = runs.assign(method=runs["label"], data_digest="ab12", max_steps=100, initial="given")
        >>> sections = winners(runs, [], "Four runs.", Data())
        >>> [section.title for section in sections]
        ['', 'The best methods', 'Every lead']
        >>> sections[0].blocks[1].text
        'No comparison was declared: all this describes the runs, and tests nothing.'
    """
    tests = [row for table in tables for row in rows_of(table)]
    found = leads(runs, tests)
    blocks: list[Block] = [Text(text, title) for table in tables for title, text in outcomes(table)]
    declared = len(blocks)
    if declared > FEW:
        counting = [row for row in tests if row["counted"]]
        families = sum(table["family"].nunique() for table in tables)
        told = (
            f"{counted(families, 'family')} of comparisons were declared before their runs, {len(counting):,} tests in "
            f"all: {sum(row['significant'] for row in counting):,} show a difference at 5 % after Holm's correction. "
            "Each grid below begins with what its own found."
        )
        blocks = [Text(told, "Declared comparisons")]
    blocks += [Text(text, title) for title, text in sentences(found)]
    if not declared:
        blocks.append(Text("No comparison was declared: all this describes the runs, and tests nothing."))
    elif any(lead.test is None and lead.behind is not None for lead in found):
        blocks.append(Text("What is not tested describes the runs: the best mean of many methods flatters its owner."))
    if not found:
        blocks.append(Text("No pruned network is among the runs, so that no method can be first."))
    sections = [Section("", "", [*blocks, Text(overview)])]
    if found:
        sections.append(Section("The best methods", "", [Panels(_plots(runs, found, data), _PLOTS)], folded=False))
        sections.append(Section("Every lead", _LEADS, [_table(found)], folded=len(found) > 6))
    return sections


def _table(found: Sequence[Lead]) -> Table:
    rows = []
    for lead in found:
        behind = "–" if lead.behind is None else str(lead.behind["method"])
        points = number(lead.points, f".{lead.headline.digits}f", strong=lead.sure)
        row = [f"{lead.network} on {lead.task}", lead.kind, number(lead.density, "g"), str(lead.best["method"])]
        rows.append([*row, Cell(str(lead.best["text"]), lead.best["mean"]), behind, points, lead.certainty])
    titles = " or ".join(dict.fromkeys(lead.headline.title for lead in found))
    columns = ("network and task", "kind", "density", "first", titles, "second", "lead", "how sure")
    return Table("First and second by mean, over all grids; bold: shown by a declared test.", columns, rows)


def _plots(runs: pd.DataFrame, found: Sequence[Lead], data: Data) -> list[Chart]:
    """For each network and task the methods that are first or second somewhere, beside the dense network."""
    charts: list[Chart] = []
    for network, task, headline, group in workloads(pruned(runs)):
        mine = [lead for lead in found if lead.place == (network, task, headline)]
        counts = Counter({row["method"]: 0 for lead in mine for row in (lead.best, lead.behind) if row is not None})
        counts.update(lead.best["method"] for lead in mine)
        names = [name for name, _ in counts.most_common(SHOWN)]
        if not names:
            continue
        some = group[group["method"].isin(names)]
        key, dense = f"best {network} {task} {headline.name}", dense_reference(runs, group)
        panels = drawing(key, headline, some, means(some), [], dense, data)
        title, one = f"{network} on {task}", some["density"].nunique() == 1
        title += f", density {some['density'].iloc[0]:g}" if one else ""
        charts += [replace(chart, title=title, width=0) for chart in panels.charts]
    return charts
