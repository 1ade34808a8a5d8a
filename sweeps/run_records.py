"""Records of runs in a folder of results: `<digest>.json` of a finished run, `<digest>.error.json` of a failed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.json_file import find_json, write_json
from scratchcard.clock import utc_now


def write_result(result: dict[str, Any], folder: Path) -> Path:
    """Write the record of a run that is done; written beside and renamed."""
    return write_json(folder / f"{result['digest']}.json", result)


def read_result(folder: Path, digest: str) -> dict[str, Any] | None:
    """The record of a run that is done, or None; a damaged file counts as not done."""
    return _of(find_json(folder / f"{digest}.json"), digest)


def write_failure(folder: Path, experiment: Experiment, *, error: str, traceback: str) -> Path:
    """Record that a run failed."""
    failure = {
        "digest": experiment.digest,
        "label": experiment.label,
        "configuration": experiment.describe(),
        "error": error,
        "traceback": traceback,
        "finished": utc_now(),
    }
    return write_json(_failure(folder, experiment.digest), failure)


def read_failure(folder: Path, digest: str) -> dict[str, Any] | None:
    """The error of a run, or None; a damaged file counts as none."""
    return _of(find_json(_failure(folder, digest)), digest)


def clear_failure(folder: Path, digest: str) -> None:
    """A run that succeeded has failed no more."""
    _failure(folder, digest).unlink(missing_ok=True)


def _failure(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.error.json"


def _of(found: dict[str, Any] | None, digest: str) -> dict[str, Any] | None:
    return found if found is not None and found.get("digest") == digest else None
