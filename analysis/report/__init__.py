"""The report: one HTML page of results that opens offline, in light and dark, on paper and on a phone.

It begins with the verdict. Below it lies a folded part for each grid (accuracy against density, declared tests, ranks,
stacks, cost, training), then the predictors, the tickets' anatomy, and how each number was made.

The file holds its style, its scripts and its data, and may load nothing. What is folded away is packed: gzip and base64
of JSON with the part's HTML, its charts and their data. So is Vega, the library that draws. The page's script unpacks
each when it is asked for.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.accuracy import accuracy
from scratchcard.analysis.report.cost import cost, training
from scratchcard.analysis.report.heat_maps import heat_maps
from scratchcard.analysis.report.page import Part, Section
from scratchcard.analysis.report.predictors import predictors
from scratchcard.analysis.report.provenance import overview, provenance
from scratchcard.analysis.report.sources import Inputs, gather
from scratchcard.analysis.report.tests_and_ranks import ranks, tests
from scratchcard.analysis.report.tickets import tickets
from scratchcard.analysis.report.verdict import leads, outcome, sentences
from scratchcard.analysis.report.winners import winners
from scratchcard.analysis.significance import compare
from scratchcard.artefacts.destination import check_destination
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.version import versions
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

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
        source: a folder of results, or a `.parquet` that `analysis.results.export` wrote; or
            several of them, whose runs are taken together.
        out: the file, ending in .html; written beside and renamed.
        title: of the page; by default the grid's title, where there is one grid.
        anatomy: `anatomy.parquet`; by default the one in a folder, if it is there.

    Raises:
        ValueError: another ending, no finished run, or the extra `report` is not installed.
        FileNotFoundError: nothing there.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, 0)], "reported")
        >>> report("reported", "report.html").name  # doctest: +SKIP
        'report.html'
    """
    out = Path(out)
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"a report's name must end in .html, got {out.name}")
    check_destination(out)
    text = _page(gather([source] if isinstance(source, str | Path) else source, anatomy), title)
    with written_beside(out) as beside:
        beside.write_text(text, encoding="utf-8")
    return out


def _page(inputs: Inputs, title: str | None = None) -> str:
    """The page's HTML."""
    grids = list(inputs.grids)
    known = {digest for grid in grids for digest in grid.get("digests") or ()}
    rest = inputs.runs.loc[~inputs.runs["digest"].isin(known), "digest"]
    if not rest.empty:
        grids.append({**ALONE, "digests": list(rest)})
    parts, tested = [], []
    for grid in grids:
        part = inputs.part(grid)
        found = _tested(grid, part.runs)
        parts.append(_grid(part, grid, inputs.runs, found))
        tested += [] if found is None or isinstance(found, str) else [found]
    fitted = Part("predictors", "Predictors", "How well each finds the slow ticket.")
    fitted.sections = predictors(inputs.predictors, inputs.metrics, fitted.data)
    kept = Part("tickets", "Ticket anatomy", "What the tickets look like, measured on the stored masks and weights.")
    kept.sections = tickets(inputs.anatomy, kept.data)
    made = Part("provenance", "How each number was made", "Grids, settings, machines, failed runs.")
    made.sections = provenance(inputs)
    parts += [part for part in (fitted, kept, made) if part.sections]
    if title is None:
        titles = [str(grid.get("title") or grid["name"]) for grid in inputs.grids]
        title = titles[0] if len(titles) == 1 else "Results of pruning runs"
    first = Part("verdict", "Verdict", "")
    first.sections = winners(inputs.runs, tested, overview(inputs), first.data)
    return _render(title, first, parts, inputs.source, versions()["scratchcard"], single=len(grids) == 1)


def _tested(grid: Mapping[str, Any], runs: pd.DataFrame) -> pd.DataFrame | str | None:
    """The declared comparisons, tested; or why they cannot be; None where there are none."""
    if runs.empty or not grid.get("comparisons"):
        return None
    try:
        return compare(runs, grid["comparisons"])
    except ValueError as error:
        return str(error)


def _grid(inputs: Inputs, grid: Mapping[str, Any], everything: pd.DataFrame, tested: pd.DataFrame | str | None) -> Part:
    name, runs = str(grid["name"]), inputs.runs
    part = Part("grid-" + re.sub(r"\W+", "-", name), str(grid.get("title") or name), "")
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
    for section in (ranks, heat_maps, cost):
        part.sections += section(runs, part.data)
    part.sections += training(runs)
    return part


def _result(runs: pd.DataFrame, tested: pd.DataFrame | str | None) -> str:
    """What comes out of a grid, in one or two sentences."""
    if tested is None or isinstance(tested, str):
        return next((f"{place}: {text}" for place, text in sentences(leads(runs, []))), "")
    family, rows = next(iter(tested.groupby("family", sort=False)))
    others = tested["family"].nunique() - 1
    return f"{family}: {outcome(rows)}" + (f" ({counted(others, 'more family')} below.)" if others else "")


def _render(title: str, first: Part, parts: Sequence[Part], source: str, version: str, *, single: bool = False) -> str:
    """Parts to HTML. Foreign texts are escaped; a script that is not ours would not run (content security policy).

    Args:
        title: of the page.
        first: the verdict, in plain HTML.
        parts: below it, folded and packed.
        source: what it is made from.
        version: of this package.
        single: whether the first of the parts stands open, as the only grid does.

    Raises:
        ValueError: Vega's bundle (vl-convert) or Jinja is not installed.
    """
    try:
        import jinja2
        import vl_convert
        from markupsafe import Markup
    except ImportError as error:
        raise ValueError("reports need Jinja and vl-convert: pip install 'scratchcard[report]'") from error
    library = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    script, style = _file("page.js"), _file("page.css")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_file("page.html"))

    def pack(part: Part, html: str) -> str:
        told = {"html": html, "charts": [chart.spec for chart in part.charts], "sets": part.data.sets}
        return packed(json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")))

    text: str = template.render(
        only=None,
        title=title,
        first=first,
        parts=parts,
        single=single,
        packs=[pack(first, ""), *(pack(part, template.render(only=part.sections).strip()) for part in parts)],
        source=source,
        version=version,
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        policy=_policy(library, script),
        style=Markup(style),  # noqa: S704  (our own files)
        script=Markup(script),  # noqa: S704
        library=packed(library),
    )
    return text


def packed(text: str) -> str:
    """gzip and base64 of a text, the same each time; no character of it can end an element of HTML.

    >>> packed("scratchcard") == packed("scratchcard")
    True
    """
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _policy(*scripts: str) -> str:
    """The content security policy: nothing from the network, no script but these, no `eval`."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _file(name: str) -> str:
    return files("scratchcard.analysis.report").joinpath(name).read_text(encoding="utf-8")
