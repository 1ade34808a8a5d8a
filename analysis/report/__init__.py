"""The report: one HTML page of results that opens offline, in light and dark, on paper and on a phone.

It begins with the verdict. Below it lies a folded part for each grid (accuracy against density, declared tests, ranks,
stacks, cost, training), then the predictors, the tickets' anatomy, and how each number was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.accuracy import accuracy
from scratchcard.analysis.report.cost import cost
from scratchcard.analysis.report.curves import training
from scratchcard.analysis.report.heat_maps import heat_maps
from scratchcard.analysis.report.page import Part, Section
from scratchcard.analysis.report.predictors import predictors
from scratchcard.analysis.report.provenance import overview, provenance
from scratchcard.analysis.report.render import render
from scratchcard.analysis.report.sources import Inputs, gather
from scratchcard.analysis.report.tests_and_ranks import ranks, tests
from scratchcard.analysis.report.tickets import tickets
from scratchcard.analysis.report.verdict import leads, outcome, sentences
from scratchcard.analysis.report.winners import winners
from scratchcard.artefacts.destination import check_destination
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.version import versions
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["report"]

ALONE: Mapping[str, Any] = {"name": "runs", "title": "Runs of no grid"}
"""Stands for a grid where runs belong to none."""


def report(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    title: str | None = None,
    anatomy: str | Path | None = None,
) -> Path:
    """Write the report of results as one HTML file; returns its path.

    Args:
        source: a folder of results, or a `.parquet` that `analysis.results.export` wrote (without learning curves); or
            several of them, whose runs are taken together.
        out: the file, ending in .html; written beside and renamed.
        title: of the page; by default the grid's title, where there is one grid.
        anatomy: `anatomy.parquet`; by default the one in a folder, if it is there.

    Raises:
        ValueError: another ending, no finished run, or the extra `report` is not installed.
        FileNotFoundError: nothing there.
    """
    out = Path(out)
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"a report's name must end in .html, got {out.name}")
    check_destination(out)
    text = page(gather([source] if isinstance(source, str | Path) else source, anatomy), title)
    with written_beside(out) as beside:
        beside.write_text(text, encoding="utf-8")
    return out


def page(inputs: Inputs, title: str | None = None) -> str:
    """The page's HTML."""
    grids = list(inputs.grids)
    known = {digest for grid in grids for digest in grid.get("digests") or ()}
    rest = inputs.runs[~inputs.runs["digest"].isin(known)]
    if not rest.empty:
        grids.append(dict(ALONE) | {"digests": list(rest["digest"])})
    tested = [_tested(grid, inputs.part(grid).runs) for grid in grids]
    parts = [_grid(inputs.part(grid), grid, inputs.runs, found) for grid, found in zip(grids, tested, strict=True)]
    parts += _rest(inputs)
    if title is None:
        titles = [str(grid.get("title") or grid["name"]) for grid in inputs.grids]
        title = titles[0] if len(titles) == 1 else "Results of pruning runs"
    first = Part("verdict", "Verdict", "")
    first.sections = winners(
        inputs.runs, [found for found in tested if found is not None], overview(inputs), first.data
    )
    return render(title, first, parts, inputs.source, versions()["scratchcard"], single=len(grids) == 1)


def _tested(grid: Mapping[str, Any], runs: pd.DataFrame) -> pd.DataFrame | str | None:
    """The declared comparisons, tested; or why they cannot be; None where there are none."""
    from scratchcard.analysis.significance import compare

    if runs.empty or not grid.get("comparisons"):
        return None
    try:
        return compare(runs, grid["comparisons"])
    except ValueError as error:
        return str(error)


def _grid(inputs: Inputs, grid: Mapping[str, Any], everything: pd.DataFrame, tested: pd.DataFrame | str | None) -> Part:
    name, runs = str(grid["name"]), inputs.runs
    anchor = "grid-" + re.sub(r"\W+", "-", name)
    part = Part(anchor, str(grid.get("title") or name), "")
    wanted = len(set(grid.get("digests") or ()))
    if runs.empty:
        part.summary = f"No run of the grid {name} is finished."
        part.sections = [Section("", part.summary)]
        return part
    done = counted(len(runs), "run") if len(runs) == wanted else f"{len(runs)} of {counted(wanted, 'run')}"
    methods, seeds = counted(runs["method"].nunique(), "method"), counted(runs["seed"].nunique(), "seed")
    if part.title == ALONE["title"]:
        methods += ", which no grid names (any more): run by themselves, or for an earlier form of a grid"
    part.summary = f"{_result(runs, tested)} {done}, {methods}, {seeds}."
    part.sections = accuracy(runs, everything, inputs.figures(grid), part.data)
    part.sections += tests(grid, runs, tested)
    part.sections += ranks(runs, part.data)
    part.sections += heat_maps(runs, part.data)
    part.sections += cost(runs, part.data)
    part.sections += training(runs, inputs.histories, part.data)
    return part


def _result(runs: pd.DataFrame, tested: pd.DataFrame | str | None) -> str:
    """What comes out of a grid, in one or two sentences."""
    if tested is None or isinstance(tested, str):
        return next((f"{place}: {text}" for place, text in sentences(leads(runs, []))), "")
    families = [(str(family), rows) for family, rows in tested.groupby("family", sort=False)]
    family, rows = families[0]
    more = f" ({counted(len(families) - 1, 'more family')} below.)" if len(families) > 1 else ""
    return f"{family}: {outcome(rows)}{more}"


def _rest(inputs: Inputs) -> Iterator[Part]:
    """The parts that are of no grid."""
    fitted = Part("predictors", "Predictors", "How well each finds the slow ticket.")
    fitted.sections = predictors(inputs.predictors, inputs.metrics, fitted.data)
    kept = Part("tickets", "Ticket anatomy", "What the tickets look like, measured on the stored masks and weights.")
    kept.sections = tickets(inputs.anatomy, kept.data)
    made = Part("provenance", "How each number was made", "Grids, settings, machines, failed runs.")
    made.sections = provenance(inputs)
    yield from (part for part in (fitted, kept, made) if part.sections)
