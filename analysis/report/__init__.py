"""The report: one HTML page of results that opens offline, in light and dark, on paper and on a phone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.accuracy import accuracy
from scratchcard.analysis.report.cost import cost
from scratchcard.analysis.report.material import Material, gather
from scratchcard.analysis.report.matrices import matrices
from scratchcard.analysis.report.origin import origin, summary
from scratchcard.analysis.report.page import Data, Section
from scratchcard.analysis.report.predictors import predictors
from scratchcard.analysis.report.render import render
from scratchcard.analysis.report.significance import significance
from scratchcard.analysis.report.tickets import tickets
from scratchcard.analysis.report.trainings import trainings
from scratchcard.artefacts.destination import check_destination
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.version import versions
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["report"]

ALONE: Mapping[str, Any] = {"name": "runs", "title": "Runs of no grid"}
"""Stands for a grid where runs belong to none."""


def report(source: str | Path, out: str | Path, *, title: str | None = None, anatomy: str | Path | None = None) -> Path:
    """Write the report of a folder of results as one HTML file; returns its path.

    Args:
        source: a folder of results, or a `.parquet` that `analysis.results.export` wrote (without learning curves).
        out: the file, ending in .html; written beside and renamed.
        title: of the page; by default the grid's title, where there is one grid.
        anatomy: `anatomy.parquet`; by default the one in the folder, if it is there.

    Raises:
        ValueError: another ending, no finished run, or the extra `report` is not installed.
        FileNotFoundError: nothing there.
    """
    out = Path(out)
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"a report's name must end in .html, got {out.name}")
    check_destination(out)
    text = page(gather(source, anatomy), title)
    with written_beside(out) as beside:
        beside.write_text(text, encoding="utf-8")
    return out


def page(material: Material, title: str | None = None) -> str:
    """The page's HTML."""
    data = Data()
    sections = [summary(material)]
    for grid in material.grids:
        sections += _grid(material.part(grid), grid, material.runs, data)
    known = {digest for grid in material.grids for digest in grid.get("digests") or ()}
    rest = material.runs[~material.runs["digest"].isin(known)]
    if not rest.empty:
        alone = dict(ALONE) | {"digests": list(rest["digest"])}
        sections += _grid(material.part(alone), alone, material.runs, data)
    sections += predictors(material.predictors, material.metrics, data)
    sections += tickets(material.anatomy, data)
    sections += origin(material)
    if title is None:
        titles = [str(grid.get("title") or grid["name"]) for grid in material.grids]
        title = titles[0] if len(titles) == 1 else "Results of pruning runs"
    return render(title, sections, data, Path(material.source).name, versions()["scratchcard"])


def _grid(material: Material, grid: Mapping[str, Any], everything: pd.DataFrame, data: Data) -> list[Section]:
    """A grid's sections, headed by its own."""
    name, runs = str(grid["name"]), material.runs
    heading = str(grid.get("title") or name)
    if runs.empty:
        return [Section(heading, f"No run of the grid {name} is finished.")]
    sections = accuracy(name, runs, everything, material.figures(grid), data)
    sections += significance(grid, runs)
    sections += matrices(name, runs, data)
    sections += cost(name, runs, data)
    sections += trainings(name, runs, material.histories, data)
    wanted = len(set(grid.get("digests") or ()))
    done = counted(len(runs), "run") if len(runs) == wanted else f"{len(runs)} of {counted(wanted, 'run')}"
    methods, seeds = counted(runs["method"].nunique(), "method"), counted(runs["seed"].nunique(), "seed")
    text = f"{f'Grid {name}: ' if grid.get('file') else ''}{done}, {methods}, {seeds}."
    if heading == ALONE["title"]:
        text += " No grid names them (any more): run by themselves, or for an earlier form of a grid."
    return [Section(heading, text), *sections]
