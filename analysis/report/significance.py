"""The grid's declared comparisons, tested, and the ranks of its methods."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.identical import identical, others, repeated
from scratchcard.analysis.report.groups import PER_CENT, pruned, workloads
from scratchcard.analysis.report.page import Block, Cell, Picture, Section, Table, Text
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

MANY = 40
"""Methods that a critical-difference diagram can still name."""


def significance(grid: Mapping[str, Any], runs: pd.DataFrame) -> list[Section]:
    """Tests of the comparisons that the grid file declares, and critical-difference diagrams."""
    sections = []
    comparisons = list(grid.get("comparisons") or ())
    if comparisons:
        sections.append(_tests(comparisons, runs, len(runs) < len(set(grid.get("digests") or ()))))
    ranks = _ranks(runs)
    if ranks:
        text = (
            "Mean ranks of the methods over blocks of density and seed (rank 1: the highest accuracy). Between methods "
            "that a bar joins Nemenyi's test after Friedman's shows no difference at 5 %, which does not make them "
            "equal. The blocks of one seed share initial weights, so that p is rather too small, and it speaks of "
            "these densities and this task alone."
        )
        sections.append(Section("Ranks of the methods", text, tuple(ranks), 3))
    return sections


def _tests(comparisons: list[Mapping[str, Any]], runs: pd.DataFrame, unfinished: bool) -> Section:
    from scratchcard.analysis.significance import compare

    text = (
        "The comparisons that the grid file declares, all of them. Welch's t test on test accuracies (or a paired one "
        "where the file says so); p is corrected by Holm over each family; g is Hedges' effect size; the difference "
        "has its 95 % interval, which is not corrected."
    )
    if unfinished:
        text += " The grid is not finished: every p here will change with the runs that are missing."
    try:
        tested = compare(runs, comparisons, resamples=0)
    except ValueError as error:
        return Section("Declared comparisons", text, (Text(f"They could not be tested yet: {error}"),), 3)
    blocks: list[Block] = []
    groups = identical(runs, "label")
    for family, rows in tested.groupby("family", sort=False):
        found, tests = int(rows["significant"].sum()), int(rows["counted"].sum())
        caption = f"{family}: {found} of {tests} differences are significant at 5 % after Holm's correction."
        if tests < len(rows):
            caption += f" {len(rows) - tests} more were declared but have too few runs; they do not count."
        blocks.append(_family(caption, rows))
        again = repeated(rows, groups)
        blocks += [Text(again)] if again else []
        notes = list(dict.fromkeys(str(note) for note in rows["note"] if note))
        blocks += [Text(f"({number}) {note}.") for number, note in enumerate(notes, 1)]
    return Section("Declared comparisons", text, tuple(blocks), 3)


def _family(caption: str, rows: pd.DataFrame) -> Table:
    from scratchcard.analysis.significance import p_text

    places = [name for name in ("network", "task") if rows[name].nunique(dropna=False) > 1]
    notes = list(dict.fromkeys(str(note) for note in rows["note"] if note))
    columns = ["method", "against", *places, "density", "accuracy, %", "against, %"]
    columns += ["difference, points", "g", "p", "p after Holm", "significant", "seeds"]
    cells = []
    for row in rows.to_dict("records"):
        significant = bool(row["significant"])
        low, high = PER_CENT * row["low"], PER_CENT * row["high"]
        line = [Cell(str(row["of"])), Cell(str(row["against"]))]
        line += [Cell(str(row[name])) for name in places]
        line += [
            _density(float(row["density"])),
            _number(PER_CENT * row["mean_of"]),
            _number(PER_CENT * row["mean_against"]),
            _number(
                PER_CENT * row["difference"],
                sign=True,
                small="" if math.isnan(low) else f"[{low:+.2f}, {high:+.2f}]",
                strong=significant,
            ),
            _number(row["hedges_g"], sign=True),
            Cell(p_text(row["p"]), float(row["p"])),
            Cell(p_text(row["p_adjusted"]), float(row["p_adjusted"]), strong=significant),
            Cell(
                "yes" if significant else "no" if row["p"] == row["p"] else "not tested",
                float(significant),
                f"({notes.index(str(row['note'])) + 1})" if row["note"] else "",
                strong=significant,
            ),
            Cell(f"{int(row['n_of'])}, {int(row['n_against'])}", float(min(row["n_of"], row["n_against"]))),
        ]
        cells.append(line)
    return Table.of(caption, columns, cells)


def _density(density: float) -> Cell:
    return Cell("–" if math.isnan(density) else f"{density:g}", density)


def _number(value: float, *, sign: bool = False, small: str = "", strong: bool = False) -> Cell:
    if math.isnan(value):
        return Cell("–", math.nan, small)
    text = f"{value:+.2f}" if sign else f"{value:.2f}"
    return Cell(text.replace("-", "−"), float(value), small.replace("-", "−"), strong=strong)


def _ranks(runs: pd.DataFrame) -> list[Block]:
    from scratchcard.analysis.ranks import critical_difference_diagram, friedman

    blocks: list[Block] = []
    for network, task, group in workloads(pruned(runs)):
        again = others(identical(group))
        group = group[~group["method"].isin(set(again))]
        methods = group["method"].nunique()
        if methods > MANY:
            blocks.append(Text(f"{network} on {task}: {methods} methods are too many for a diagram of ranks."))
        if not 3 <= methods <= MANY:
            continue
        try:
            ranked = friedman(group.assign(label=group["method"]))
        except ValueError as error:
            blocks.append(Text(f"{network} on {task}: the methods could not be ranked. {error}"))
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = critical_difference_diagram(ranked, Path(folder) / "ranks.svg")
            svg = path.read_text(encoding="utf-8")
        first, rank = next(iter(ranked.mean_ranks.items()))
        text = f"Critical-difference diagram of {methods} methods; {first} has the best mean rank, {rank:.2f}"
        about = f"{network} on {task}, {ranked.blocks} blocks, critical difference {ranked.critical_difference:.2f}."
        if again:
            about += f" {counted(len(again), 'method')} left out that another stands for, identical in every run."
        blocks.append(Picture(svg, about, f"{text}."))
    return blocks
