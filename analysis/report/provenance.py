"""What was run, and how each number was made."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import rows_of
from scratchcard.analysis.mixed import mixed
from scratchcard.analysis.report.cells import Cell, Table, number
from scratchcard.analysis.report.page import Block, Section, Text
from scratchcard.analysis.report.sources import Inputs, word
from scratchcard.words import counted, duration, listed

if TYPE_CHECKING:
    import pandas as pd

MOST_METHODS = 5
"""Methods that a row names."""
LONGEST = 400
"""Characters of an error that a table shows."""
CONSTANT = {
    **{"machine": "machine", "device": "device", "python": "Python", "torch": "torch", "scratchcard": "scratchcard"},
    **{"results_version": "results version", "engine": "training engine", "metric": "headline metric"},
    **{"data_digest": "sha256 of the data", "scoring_examples": "scoring examples", "max_steps": "steps at most"},
}
SESSION = ("begin", "end", "runs", "failed", "jobs", "device", "seconds", "runs_per_minute", "machine")


def overview(inputs: Inputs) -> str:
    """What was run, in one line.

    >>> from scratchcard.analysis.report.sources import gather
    >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
    >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
    >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, seed) for seed in (0, 1)], "overviewed")
    >>> overview(gather(["overviewed"])).partition(";")[0]
    '2 finished runs (Linear on own) of 1 method at 1 density, seeds 0–1'
    """
    runs = inputs.runs
    seconds = float(runs["wall_seconds"].fillna(runs["pruning_seconds"].fillna(0) + runs["training_seconds"]).sum())
    end = f", the last ended {max(runs['finished'])}" if runs["finished"].notna().any() else ""
    places = ", ".join(dict.fromkeys(runs["network"] + " on " + runs["task"]))
    methods, densities = (counted(runs[name].nunique(), name) for name in ("method", "density"))
    return (
        f"{counted(len(runs), 'finished run')} ({places}) of {methods} at {densities}, seeds {ranges(runs['seed'])}; "
        f"{len(inputs.failures) or 'none'} failed. They took {duration(seconds)}, added up over processes{end}."
    )


def provenance(inputs: Inputs) -> list[Section]:
    """How each number was made: grids, settings, sessions, grid files; then the runs that failed.

    >>> from scratchcard.analysis.report.sources import gather
    >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
    >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
    >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, 0)], "proven")
    >>> table = provenance(gather(["proven"]))[0].blocks[0]
    >>> [[cell.text for cell in row] for row in table.rows if row[0].text == "steps at most"]
    [['steps at most', '10', '1']]
    """
    text = (
        "Every number on this page comes from run records named by the sha256 of their whole configuration, the data's "
        "digest and the results version. A run finds one ticket, trains it and reads the test set once. Intervals are "
        "95 % by Student's t over seeds. Equal settings give equal runs on one machine; other machines and versions "
        "differ by rounding, which training amplifies."
    )
    text += "".join(f" Note: {told}." for told in mixed(inputs.runs))
    blocks: list[Block] = []
    parts = [(grid, inputs.part(grid)) for grid in inputs.grids]
    if parts:
        columns = ("grid", "title", "runs done", "of", "failed", "methods", "densities", "seeds", "sweeps took")
        caption = "The grids that these runs belong to." + _in_several(inputs)
        blocks.append(Table(caption, columns, [_grid_row(grid, part) for grid, part in parts]))
    settings: list[list[Cell | str]] = []
    for column, title in CONSTANT.items():
        counts = inputs.runs[column].astype(object).where(inputs.runs[column].notna(), "not recorded").value_counts()
        settings += [[title, word(value), number(n, "d")] for value, n in counts.items()]
    blocks.append(Table("Settings, versions and machines of the runs.", ("what", "value", "runs"), settings))
    blocks += _odd_tickets(inputs.runs)
    sections = [Section("What was run", text, blocks, folded=False)]
    sections += [Section(f"Grid {grid['name']}", "", _grid(grid, part)) for grid, part in parts]
    if inputs.failures.empty:
        return sections
    rows = [
        [f["label"], number(f["density"], "g"), str(f["seed"]), _short(f["error"]), f["finished"], f["digest"][:12]]
        for f in rows_of(inputs.failures)
    ]
    table = Table("Failed runs.", ("method", "density", "seed", "error", "when", "run"), rows)
    text = "These runs ended with an error and are in no other number of this page; the same sweep tries them again."
    return [*sections, Section("Failed runs", text, [table])]


def _in_several(inputs: Inputs) -> str:
    """A run of two grids stands in both: the rows then add up to more than there is."""
    counts = Counter(digest for grid in inputs.grids for digest in set(grid.get("digests") or ()))
    several = sum(counts[str(digest)] > 1 for digest in inputs.runs["digest"])
    belong, stand = ("belongs", "stands") if several == 1 else ("belong", "stand")
    told = f" {counted(several, 'run')} {belong} to several grids and {stand} in each: no independent evidence there."
    return told if several else ""


def _odd_tickets(runs: pd.DataFrame) -> list[Block]:
    """What the tickets' own checks found: how often, by whom, and one of the sentences."""
    found: dict[str, list[tuple[str, str]]] = {}
    told = runs[runs["checks"].notna()]
    for label, checks in zip(told["label"], told["checks"], strict=True):
        for kind, text in json.loads(checks).items():
            found.setdefault(kind, []).append((str(label), text))
    if not found:
        return []
    rows: list[list[Cell | str]] = []
    for kind, each in sorted(found.items(), key=lambda entry: -len(entry[1])):
        labels = Counter(label for label, _ in each)
        by = listed((f"{label} ({times})" for label, times in labels.most_common()), MOST_METHODS)
        rows.append([kind.replace("_", " "), number(len(each), "d"), by, each[0][1]])
    columns = ("what", "runs", "methods (runs)", "the first of them")
    return [Table("What tickets' own checks found odd (see Ticket.check).", columns, rows)]


def _grid_row(grid: Mapping[str, Any], part: Inputs) -> list[Cell | str]:
    sessions = [s for s in grid.get("sessions") or () if isinstance(s.get("seconds"), int | float)]
    seconds = sum(float(s["seconds"]) for s in sessions)
    ran = sum(int(s["runs"]) for s in sessions if isinstance(s.get("runs"), int))
    took = Cell(duration(seconds), seconds, f"for {counted(ran, 'run')}") if seconds else number(None)
    counts = [len(part.runs), len(set(grid.get("digests") or ())), len(part.failures)]
    counts += [part.runs[name].nunique() for name in ("method", "density")]
    texts = [str(grid["name"]), str(grid.get("title") or "")]
    return [*texts, *(number(count, "d") for count in counts), ranges(part.runs["seed"]) or "–", took]


def _grid(grid: Mapping[str, Any], part: Inputs) -> list[Block]:
    file, runs = str(grid.get("file") or f"experiments/{grid['name']}.toml"), part.runs
    folder = "results" if " " in part.source or part.source.endswith(".parquet") else part.source
    seeds = ranges(runs["seed"]) or "–"
    told = f"Grid {grid['name']}: {grid.get('title') or 'no title'}. {len(runs)} runs, seeds {seeds}."
    told += f" Source: {str(grid['source']).rstrip('.')}." if grid.get("source") else ""
    told += " The command that runs it again, where finished runs are reused:"
    command = f"scratchcard sweep {shlex.quote(file)} --out {shlex.quote(folder)}"
    blocks: list[Block] = [Text(told), Text(command, kind="command")]
    sessions = [[session.get(key) for key in SESSION] for session in grid.get("sessions") or ()]
    if sessions:
        rows = [
            [str(v) if isinstance(v, str) else number(v, "d" if isinstance(v, int) else ".4g") for v in values]
            for values in sessions
        ]
        columns = [key.replace("_per_", " a ") for key in SESSION]
        blocks.append(Table(f"Sessions in which {grid['name']} was run.", columns, rows))
    if grid.get("text"):
        blocks.append(Text(str(grid["text"]), f"Grid file {PurePath(file).name}", "listing"))
    return blocks


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def ranges(numbers: pd.Series) -> str:
    """`0-4, 10` of whole numbers.

    >>> import pandas as pd
    >>> ranges(pd.Series([0, 1, 2, 3, 10]))
    '0–3, 10'
    """
    parts: list[list[int]] = []
    for n in sorted({int(n) for n in numbers.dropna()}):
        if parts and n == parts[-1][-1] + 1:
            parts[-1][1:] = [n]
        else:
            parts.append([n])
    return ", ".join("–".join(map(str, part)) for part in parts)
