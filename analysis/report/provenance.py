"""What was run, and how each number was made."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.page import Block, Cell, Command, Listing, Section, Table, Text
from scratchcard.analysis.report.sources import Inputs
from scratchcard.words import counted, duration

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 400
"""Characters of an error that a table shows."""
CONSTANT = (
    ("machine", "machine"),
    ("device", "device"),
    ("python", "Python"),
    ("torch", "torch"),
    ("scratchcard", "scratchcard"),
    ("results_version", "results version"),
    ("engine", "training engine"),
    ("metric", "headline metric"),
    ("data_digest", "sha256 of the data"),
    ("scoring_examples", "scoring examples"),
    ("max_steps", "steps at most"),
)


def overview(inputs: Inputs) -> str:
    """What was run, in one line."""
    runs = inputs.runs
    failed = 0 if inputs.failures is None else len(inputs.failures)
    seconds = float(runs["wall_seconds"].fillna(runs["pruning_seconds"].fillna(0) + runs["training_seconds"]).sum())
    end = f", the last ended {max(runs['finished'])}" if runs["finished"].notna().any() else ""
    return (
        f"{counted(len(runs), 'finished run')} ({_networks(runs)}) of {counted(runs['method'].nunique(), 'method')} at "
        f"{counted(runs['density'].nunique(), 'density')}, seeds {ranges(runs['seed'])}; {failed or 'no'} failed. They "
        f"took {duration(seconds)}, added up over processes{end}."
    )


def _in_several(inputs: Inputs) -> str:
    """A run of two grids stands in both: the rows then add up to more than there is."""
    counts = Counter(digest for grid in inputs.grids for digest in set(grid.get("digests") or ()))
    several = sum(counts[str(digest)] > 1 for digest in inputs.runs["digest"])
    if not several:
        return ""
    return (
        f" {counted(several, 'run')} belong{'s' if several == 1 else ''} to several grids and stand"
        f"{'s' if several == 1 else ''} in each: no independent evidence there."
    )


def _networks(runs: pd.DataFrame) -> str:
    pairs = runs[["network", "task"]].drop_duplicates()
    return ", ".join(f"{network} on {task}" for network, task in pairs.itertuples(index=False))


def _grid_row(inputs: Inputs, grid: Mapping[str, Any]) -> list[Cell]:
    part = inputs.part(grid)
    sessions = [s for s in grid.get("sessions") or () if isinstance(s.get("seconds"), int | float)]
    seconds = sum(float(s["seconds"]) for s in sessions)
    ran = sum(int(s["runs"]) for s in sessions if isinstance(s.get("runs"), int))
    failed = 0 if part.failures is None else len(part.failures)
    wanted = len(set(grid.get("digests") or ()))
    return [
        Cell(str(grid["name"])),
        Cell(str(grid.get("title") or "")),
        Cell(str(len(part.runs)), float(len(part.runs))),
        Cell(str(wanted), float(wanted)),
        Cell(str(failed), float(failed)),
        Cell(str(part.runs["method"].nunique()), float(part.runs["method"].nunique())),
        Cell(str(part.runs["density"].nunique()), float(part.runs["density"].nunique())),
        Cell(ranges(part.runs["seed"]) or "–"),
        Cell(duration(seconds), seconds, f"for {counted(ran, 'run')}") if seconds else Cell("–", float("nan")),
    ]


def provenance(inputs: Inputs) -> list[Section]:
    """How each number was made: grids, settings, sessions, grid files; then the runs that failed."""
    text = (
        "Every number on this page comes from run records named by the sha256 of their whole configuration, the data's "
        "digest and the results version. A run finds one ticket, trains it and reads the test set once. Intervals are "
        "95 % by Student's t over seeds. Equal settings give equal runs on one machine; other machines and versions "
        "differ by rounding, which training amplifies."
    )
    blocks: list[Block] = []
    if inputs.grids:
        rows = [_grid_row(inputs, grid) for grid in inputs.grids]
        columns = ("grid", "title", "runs done", "of", "failed", "methods", "densities", "seeds", "sweeps took")
        blocks.append(Table.of("The grids that these runs belong to." + _in_several(inputs), columns, rows))
    sections = [Section("What was run", text, (*blocks, _settings(inputs.runs)), folded=False)]
    sections += [Section(f"Grid {grid['name']}", "", tuple(_grid(inputs, grid))) for grid in inputs.grids]
    if inputs.failures is not None and not inputs.failures.empty:
        sections.append(_failures(inputs.failures))
    return sections


def _settings(runs: pd.DataFrame) -> Table:
    rows = []
    for column, title in CONSTANT:
        if column not in runs:
            continue
        counts = runs[column].astype(object).where(runs[column].notna(), "not recorded").value_counts(sort=True)
        rows += [(title, Cell(_plain(value)), Cell(str(n), float(n))) for value, n in counts.items()]
    return Table.of("Settings, versions and machines of the runs.", ("what", "value", "runs"), rows)


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _grid(inputs: Inputs, grid: Mapping[str, Any]) -> list[Block]:
    part = inputs.part(grid)
    file = str(grid.get("file") or f"experiments/{grid['name']}.toml")
    folder = "results" if " " in inputs.source or inputs.source.endswith(".parquet") else inputs.source
    command = f"scratchcard sweep {shlex.quote(file)} --out {shlex.quote(folder)}"
    blocks: list[Block] = [
        Text(
            f"Grid {grid['name']}: {grid.get('title') or 'no title'}. {len(part.runs)} runs, seeds "
            f"{ranges(part.runs['seed']) or '–'}."
            + (f" Source: {str(grid['source']).rstrip('.')}." if grid.get("source") else "")
            + " The command that runs it again, where finished runs are reused:"
        ),
        Command(command),
    ]
    sessions = list(grid.get("sessions") or ())
    if sessions:
        columns = ("begin", "end", "runs", "failed", "jobs", "device", "seconds", "runs a minute", "machine")
        rows = [[_session(s, key) for key in _SESSION] for s in sessions]
        blocks.append(Table.of(f"Sessions in which {grid['name']} was run.", columns, rows))
    if grid.get("text"):
        blocks.append(Listing(f"Grid file {PurePath(file).name}", str(grid["text"])))
    return blocks


_SESSION = ("begin", "end", "runs", "failed", "jobs", "device", "seconds", "runs_per_minute", "machine")


def _session(session: Mapping[str, Any], key: str) -> Cell:
    value = session.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), float(value))
    if key in ("begin", "end", "device", "machine"):
        return Cell("–" if value is None else str(value))
    return Cell("–", float("nan"))


def _failures(failures: pd.DataFrame) -> Section:
    rows = [
        (
            Cell(str(row["label"])),
            Cell("–" if row["density"] != row["density"] else f"{row['density']:g}", float(row["density"])),
            Cell(str(row["seed"])),
            Cell(_short(str(row["error"]))),
            Cell(str(row["finished"])),
            Cell(str(row["digest"])[:12]),
        )
        for row in failures.astype({"seed": object}).to_dict("records")
    ]
    table = Table.of("Failed runs.", ("method", "density", "seed", "error", "when", "run"), rows)
    text = "These runs ended with an error and are in no other number of this page; the same sweep tries them again."
    return Section("Failed runs", text, (table,))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def ranges(numbers: pd.Series) -> str:
    """`0-4, 10` of whole numbers."""
    ordered = sorted({int(n) for n in numbers.dropna()})
    parts: list[list[int]] = []
    for number in ordered:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("–".join(map(str, part)) for part in parts)
