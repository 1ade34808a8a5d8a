"""What lies beside the records of a sweep: runs that failed, runs in flight, grids that were swept."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.files import written_beside

RUNNING = ".running"
GRIDS = "grids"
DAY_SECONDS = 24 * 3600


def write_failure(folder: Path, experiment: Experiment, *, error: str, traceback: str) -> Path:
    """Record that a run failed, as `<digest>.error.json`."""
    path = folder / f"{experiment.digest}.error.json"
    failure = {
        "digest": experiment.digest,
        "label": experiment.label,
        "configuration": experiment.describe(),
        "error": error,
        "traceback": traceback,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with written_beside(path) as beside:
        beside.write_text(json.dumps(failure, indent=1, sort_keys=True) + "\n")
    return path


def read_failure(folder: Path, digest: str) -> dict[str, Any] | None:
    """The error of a run, or None; a damaged file counts as none."""
    try:
        found = json.loads((folder / f"{digest}.error.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) and found.get("digest") == digest else None


def clear_failure(folder: Path, digest: str) -> None:
    """A run that succeeded has failed no more."""
    (folder / f"{digest}.error.json").unlink(missing_ok=True)


def mark(folder: Path, digest: str, process: int | None) -> None:
    """Note which process is at a run, or (None) that it is at an end. Only a note: nothing depends on its success."""
    path = folder / RUNNING / digest
    with contextlib.suppress(OSError):
        if process is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{process} {_begun(process)}")


def running(folder: Path) -> list[str]:
    """Digests of the runs that a process was at, whether it still lives or not."""
    return sorted(path.name for path in (folder / RUNNING).glob("*"))


def in_flight(folder: Path) -> list[str]:
    """Digests of the runs that a living process of this machine is at."""
    return [digest for digest in running(folder) if _lives(folder / RUNNING / digest)]


def interrupted(folder: Path) -> list[str]:
    """Digests of the runs whose process died at them."""
    return [digest for digest in running(folder) if not _lives(folder / RUNNING / digest)]


def forget(folder: Path) -> None:
    """Forget the runs of dead processes."""
    for digest in interrupted(folder):
        mark(folder, digest, None)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half written, here and in folders below, once it is a day old."""
    with contextlib.suppress(OSError):
        for path in folder.rglob(".*.part*"):
            if time.time() - path.stat().st_mtime > DAY_SECONDS:
                path.unlink(missing_ok=True)


def _lives(note: Path) -> bool:
    """Whether the process of a note lives: a later one with the same number began at another time."""
    try:
        process, _, begun = note.read_text().partition(" ")
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return begun in ("", _begun(int(process)))


def _begun(process: int) -> str:
    """When a process began, in ticks since the machine did; empty where the system does not say."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def read_grid_manifest(folder: Path, name: str) -> dict[str, Any]:
    """What is known of a grid that was swept into this folder; empty if it was not, or the file is damaged."""
    try:
        found = json.loads((folder / GRIDS / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def write_grid_manifest(folder: Path, name: str, manifest: Mapping[str, Any]) -> Path:
    """Write it; written beside and renamed."""
    path = folder / GRIDS / f"{name}.json"
    with written_beside(path) as beside:
        beside.write_text(json.dumps(dict(manifest), indent=1, sort_keys=True) + "\n")
    return path
