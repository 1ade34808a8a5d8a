"""Run a grid: fit its predictors, sweep its runs, note in the results folder what was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchcard.artefacts.json_file import declared, find_json, write_json
from scratchcard.artefacts.version import RESULTS_VERSION, machine, versions
from scratchcard.clock import utc_now
from scratchcard.sweeps.estimate import Estimate
from scratchcard.sweeps.fitted import Report
from scratchcard.sweeps.grid import Grid
from scratchcard.sweeps.noted_task import GRIDS, notes_of
from scratchcard.sweeps.results_folder import claim_results
from scratchcard.sweeps.run_records import read_failure
from scratchcard.sweeps.running import in_flight
from scratchcard.sweeps.runs import is_done
from scratchcard.sweeps.sweep import Each, Progress, Swept, sweep
from scratchcard.workloads.session import Session


@dataclass(frozen=True)
class Standing:
    """How far a grid is.

    Attributes:
        total: runs in all.
        done: runs with a record.
        failed: errors by digest, of runs that failed and were not done since.
        running: runs that a living process on this machine is at.
        seconds_left: estimated for the jobs that were asked about; None before any run is done.

    Examples:
        >>> now = Standing(total=20, done=15, failed={}, running=2, seconds_left=60.0)
        >>> now.done / now.total
        0.75
    """

    total: int
    done: int
    failed: dict[str, str]
    running: int
    seconds_left: float | None


def standing(grid: Grid, folder: str | Path, *, jobs: int = 1, keep_tickets: bool = False) -> Standing:
    """How far the grid is in a results folder; changes nothing.

    Examples:
        >>> from scratchcard.sweeps.grid import read_grid
        >>> from scratchcard.sweeps.grid_file import EXAMPLE
        >>> _ = Path("waiting.toml").write_text(EXAMPLE)
        >>> grid = read_grid("waiting.toml", "waiting")
        >>> now = standing(grid, "waiting")
        >>> now.total, now.done, now.seconds_left is None
        (2, 0, True)
    """
    folder = Path(folder)
    missing = [e for e in grid.experiments if not is_done(folder, e.digest, keep_tickets)]
    failures = {e.digest: read_failure(folder, e.digest) for e in missing}
    digests = {e.digest for e in grid.experiments}
    return Standing(
        total=len(grid.experiments),
        done=len(grid.experiments) - len(missing),
        failed={digest: str(failure["error"]) for digest, failure in failures.items() if failure is not None},
        running=len(digests & set(in_flight(folder))),
        seconds_left=Estimate.of(folder, grid.experiments).seconds(missing, jobs),
    )


def run_grid(
    grid: Grid,
    folder: str | Path,
    session: Session | None = None,
    *,
    together: int = 1,
    keep_tickets: bool = False,
    each: Each | None = None,
    report: Report = lambda *_: None,
    progress: Callable[[Progress], None] | None = None,
    **how: Any,
) -> Swept:
    """Build and fit what the grid's predictors need, run what is missing; see `sweep` for the arguments.

    `folder/grids/<name>.json` says what the grid is (its file's text, its runs' digests, its declared comparisons) and
    what each session of sweeping it took.

    Args:
        grid: from `read_grid`, with the same folder.
        folder, session, together, keep_tickets, each, progress, how: see `sweep`.
        report: called while tables are built and predictors are fitted.

    Raises:
        ValueError, OSError: as `sweep`.

    Examples:
        >>> from scratchcard.sweeps.grid import read_grid
        >>> from scratchcard.sweeps.grid_file import EXAMPLE
        >>> _ = Path("two_runs.toml").write_text(EXAMPLE)
        >>> grid = read_grid("two_runs.toml", "two_runs")
        >>> run_grid(grid, "two_runs").ran
        2
        >>> standing(grid, "two_runs").done
        2
    """
    folder, session = claim_results(folder), Session.of(session, **how)
    note = folder / GRIDS / f"{grid.name}.json"
    manifest = _noted(note)
    noted = {"begin": utc_now(), "jobs": session.jobs, "device": str(session.device), "machine": machine()}
    write_json(note, _described(grid, manifest) | {"sessions": manifest.get("sessions", [])})
    for name, spec, workload in grid.fitted:
        spec.make(name, workload, folder, session, report)
    begin, ran = time.perf_counter(), 0
    try:
        also: dict[str, Any] = {"together": together, "keep_tickets": keep_tickets, "each": each, "progress": progress}
        swept = sweep(grid.experiments, folder, session, **also)
        ran = swept.ran
    finally:
        # An interrupted session is noted too; what it ran is seen from the records.
        seconds = time.perf_counter() - begin
        noted |= {"end": utc_now(), "seconds": seconds}
        if ran:
            noted |= {"runs": ran, "failed": len(swept.failed), "runs_per_minute": 60 * ran / seconds}
        sessions = [*manifest.get("sessions", []), noted]
        write_json(note, _described(grid, manifest) | {"sessions": sessions})
    return swept


def _noted(note: Path) -> dict[str, Any]:
    """What earlier sweeps noted; nothing where it is not there, damaged or of another kind."""
    found = find_json(note) or {}
    try:
        declared(list[str], found.get("digests", []), "digests")
        declared(list[dict[str, Any]], found.get("sessions", []), "sessions")
    except ValueError:
        return {}
    return found


def _described(grid: Grid, earlier: Mapping[str, Any]) -> dict[str, Any]:
    digests = list(grid.digests)
    same = (earlier.get("text"), earlier.get("results_version")) == (grid.text, RESULTS_VERSION)
    if same and not grid.whole:  # its other tasks were swept in other sessions
        digests = list(dict.fromkeys((*earlier.get("digests", []), *digests)))
    return {
        "name": grid.name,
        "title": grid.file.title,
        "source": grid.file.source,
        "references": grid.file.references,
        "file": grid.path.name,
        "text": grid.text,
        "digests": digests,
        "tasks": notes_of(grid.experiments),
        "comparisons": [comparison.model_dump() for comparison in grid.file.comparisons],
        "results_version": RESULTS_VERSION,
        "versions": versions(),
    }
